"""The site in a browser without a window: it sorts, filters, opens cells, asks for nothing, complains of nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retable.bench.record import Measurement, Record
from retable.bench.report.chapter import Chapter
from retable.bench.report.site.write import write_site
from retable.bench.versions.archive import Archive
from retable.bench.versions.samples import find_samples
from retable.bench.versions.versions import Name, Version
from tests.bench.report.made_chapters import chapter, hostile_store, hostile_suite, png, wav
from tests.bench.report.made_tables import HOSTILE
from tests.tools import CHROMIUM

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium of the system ($BENCH_CHROMIUM names another), else the one that Playwright brought."""
    found = os.environ.get("BENCH_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with playwright.sync_playwright() as tool:
        try:
            made = tool.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(CHROMIUM.missing(f"does not start: {str(error).splitlines()[0]}"))
        yield made
        made.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two suites, one of them hostile in every text, with a picture and a sound."""
    folder = tmp_path_factory.mktemp("site")
    store = hostile_store(folder / "store")
    chapters = []
    for name, text in (("calm", "Plain text"), ("wild", HOSTILE)):
        made = chapter(hostile_suite(text, name), store, text)
        files = {"a.png": store.put_artefact("a.png", png()), "b.wav": store.put_artefact("b.wav", wav())}
        key = f"evaluate-{name}-0-0"
        records = {**made.records, key: replace(made.records[key], artefacts=files)}
        samples, _ = find_samples(made.suite, records.values(), store.read_artefact)
        chapters.append(replace(compared(made, records), samples=tuple(samples)))
    write_site(chapters, folder / "out")
    return folder / "out"


HITS = ("11110000", "11001100")
"""What the two rows have right of eight samples: each has two that the other lacks."""


def compared(made: Chapter, records: dict[str, Record]) -> Chapter:
    """With right and wrong by sample, and an older version in which every number was one less."""

    def judged(record: Record, less: float = 0.0) -> Record:
        if record.stage != "evaluate" or not record.ok:
            return record
        score = record.metrics["score"]
        method = {"use": "linear", "params": {"level": 1.0 + int(record.entry[1]), "width": 4}}
        samples = tuple(float(digit) for digit in HITS[int(record.entry[1])])
        hit = Measurement(value=0.5, direction="higher", samples=samples, n=8)
        metrics = {"score": replace(score, value=(score.value or 0) - less), "hit": hit}
        return replace(record, metrics=metrics, ingredients={**record.ingredients, "method": method})

    old = [judged(record, less=1.0) for record in records.values() if record.ok]
    manifest = {"files": {}, "published": "2026-01-02T00:00:00Z"}
    version = Version(name=Name(made.suite.name, 1), profile="mini", manifest=manifest, records=tuple(old))
    held = {key: judged(record) for key, record in records.items()}
    return replace(made, records=held, past=(Archive(version, Path()),))


BROKEN = """async () => {
  const images = [...document.images];
  images.forEach((image) => (image.loading = "eager"));
  const shown = await Promise.all(images.map((image) => image.decode().then(() => true, () => false)));
  return images.filter((image, i) => !shown[i]).map((image) => image.src);
}"""
"""The images of a page that cannot be shown, once all are there."""


WITHIN = "(element) => element.getBoundingClientRect().right <= window.innerWidth"


class Visit:
    """A page of the site with what it asked for and what it complained of."""

    def __init__(self, browser: Any, address: Path, **options: Any) -> None:
        self.page = browser.new_context(**options).new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address.as_uri())  # until it is loaded: with a sound on it, the network may never be called idle

    def column(self, table: str, column: int) -> list[str]:
        rows = self.page.locator(f"#{table} tbody tr:visible")
        return [rows.nth(i).locator("th, td").nth(column).inner_text() for i in range(rows.count())]


@pytest.mark.parametrize("page", ["index.html", "calm/index.html", "wild/index.html", "wild/compare.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 360])
def test_pages_open_from_a_file_without_a_request_or_a_complaint(
    browser: Any, site: Path, page: str, scheme: str, width: int
) -> None:
    visit = Visit(browser, site / page, color_scheme=scheme, viewport={"width": width, "height": 900})
    assert visit.complaints == []
    assert all(address.startswith(site.as_uri()) for address in visit.requests), visit.requests
    assert visit.page.evaluate(BROKEN) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width, "the page itself scrolls sideways"
    assert visit.complaints == []
    dark = visit.page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


def test_a_heading_sorts_up_down_and_back_with_absent_numbers_last(browser: Any, site: Path) -> None:
    visit = Visit(browser, site / "calm" / "index.html")
    heading = visit.page.locator("#table-t th", has=visit.page.get_by_role("button", name="Here", exact=True))
    button = heading.get_by_role("button")
    before = visit.column("table-t", 4)
    for order, expected in (("ascending", ["1.", "2.", "—"]), ("descending", ["2.", "1.", "—"])):
        button.focus()
        visit.page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == order
        assert [
            text[: len(start)] for text, start in zip(visit.column("table-t", 4), expected, strict=True)
        ] == expected
        assert visit.page.locator("#table-t [aria-sort=ascending], #table-t [aria-sort=descending]").count() == 1
    visit.page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "none"
    assert visit.column("table-t", 4) == before


def test_rows_are_filtered_by_words_type_and_what_was_measured(browser: Any, site: Path) -> None:
    visit = Visit(browser, site / "calm" / "index.html")
    controls = visit.page.locator(".controls[data-for=table-t]")
    assert controls.locator("output").inner_text() == "3 rows"
    controls.get_by_label("Filter").fill("b plain")
    assert visit.column("table-t", 0) == ["B Plain text"]
    assert controls.locator("output").inner_text() == "1 of 3 rows"
    controls.get_by_label("Filter").fill("")
    controls.get_by_label("Type").select_option("ours")
    assert visit.column("table-t", 0) == ["Plain text", "C"]
    controls.get_by_label("measured here only").check()
    assert visit.column("table-t", 0) == ["Plain text"]


def test_a_cell_opens_its_records_by_keyboard_and_gives_the_focus_back(browser: Any, site: Path) -> None:
    for name, text in (("calm", "Plain text"), ("wild", "<img onerror=x>")):
        visit = Visit(browser, site / name / "index.html")
        cell = visit.page.locator("#table-t button.cell").first
        cell.focus()
        visit.page.keyboard.press("Enter")
        dialog = visit.page.get_by_role("dialog")
        assert text in dialog.get_by_role("heading").first.inner_text()
        body = dialog.inner_text()
        assert "The 3 records behind it" in body
        assert f"bench show {name}/e0/mini" in body
        assert dialog.locator("[data-key]").count() == 6, "three evaluations, three fits"
        dialog.locator("summary").first.click()
        body = dialog.inner_text()
        for expected in (f"evaluate-{name}-0-0", "100", "1.5 s", "1 MiB", "Ingredients of its key", "Environment"):
            assert expected in body
        for expected in (", 2 cores", "CPython 3.11, torch 2.14.1", "commit 0123456789ab, with changes", "2026-01-01"):
            assert expected in dialog.locator("dl").first.inner_text(), "where it is from is told at once"
        assert "undefined" not in body
        visit.page.keyboard.press("Escape")
        assert not dialog.is_visible()
        assert cell.evaluate("(element) => element === document.activeElement")
        assert visit.complaints == []


def test_a_claim_opens_its_evidence_and_the_scorecard_leads_to_it(browser: Any, site: Path) -> None:
    visit = Visit(browser, site / "index.html")
    controls = visit.page.locator(".controls[data-for=claims]")
    controls.get_by_label("Verdict").select_option("contradicted")
    assert len(visit.column("claims", 0)) == 2
    visit.page.locator("#score a.sign.no").first.click()
    visit.page.wait_for_url("**/calm/index.html#claim-fails")
    row = visit.page.locator("tr#claim-fails")
    assert row.is_visible()
    row.locator("button.cell").click()
    assert "ordering of score" in visit.page.get_by_role("dialog").inner_text()


def test_a_claim_about_two_rows_and_a_number_lead_to_their_comparison(browser: Any, site: Path) -> None:
    visit = Visit(browser, site / "calm" / "index.html")
    assert visit.page.locator("#claim-holds").get_by_role("link", name="compare its rows").count() == 0
    visit.page.locator("#claim-fails").get_by_role("link", name="compare its rows").click()
    visit.page.wait_for_url("**/calm/compare.html#**")
    chosen = [visit.page.locator(f"#{name}").input_value() for name in ("row-a", "row-b", "history-metric")]
    assert chosen == ["e1", "e0", "score"]
    visit.page.go_back()
    visit.page.locator("#cell-t-e1-score button").click()
    visit.page.get_by_role("dialog").get_by_role("link", name="Compare it").click()
    visit.page.wait_for_url("**/calm/compare.html#**")
    assert visit.page.locator("#row-a").input_value() == "e1"
    assert visit.complaints == []


def test_the_scorecard_fits_a_screen_and_its_signs_have_names(browser: Any, site: Path) -> None:
    visit = Visit(browser, site / "index.html", viewport={"width": 1280, "height": 900})
    assert visit.page.locator("#score").evaluate("(table) => table.scrollWidth <= table.parentElement.clientWidth")
    visit.page.get_by_role("button", name="Contradicted").click()
    assert visit.page.locator("#score [aria-sort=ascending]").inner_text().startswith("✗")


def test_a_plot_keeps_the_size_of_its_letters_in_a_narrow_window(browser: Any, site: Path) -> None:
    shown = "(image) => [image.currentSrc.split('/calm/')[1], image.clientWidth / image.naturalWidth]"
    for width, file in ((390, "plots/narrow/p.svg"), (1280, "plots/p.svg")):
        visit = Visit(browser, site / "calm" / "index.html", viewport={"width": width, "height": 900})
        image = visit.page.locator("#plot-p img")
        assert visit.page.evaluate(BROKEN) == []
        source, scale = image.evaluate(shown)
        assert source == file
        assert scale > 0.8


def test_text_stands_out_from_its_ground_in_both_schemes(browser: Any, site: Path) -> None:
    """WCAG's contrast of at least 4.5 to 1 for the colours that carry text."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    look = "(element) => { const s = getComputedStyle(element); return [s.color, s.backgroundColor]; }"
    for scheme in ("light", "dark"):
        visit = Visit(browser, site / "index.html", color_scheme=scheme)
        page = visit.page.locator("body").evaluate(look)[1]
        for part in (
            ".lead",
            ".under",
            "a",
            ".badge.yes",
            ".badge.no",
            ".badge.open",
            ".remark",
            "caption",
            "thead th",
        ):
            colour, ground = visit.page.locator(part).first.evaluate(look)
            one, other = sorted((luminance(colour), luminance(page if ground.endswith(", 0)") else ground)))
            assert (other + 0.05) / (one + 0.05) >= 4.5, (scheme, part)


def test_print_leaves_out_the_controls_and_is_black_on_white(browser: Any, site: Path) -> None:
    visit = Visit(browser, site / "calm" / "index.html", color_scheme="dark")
    visit.page.emulate_media(media="print")
    assert visit.page.locator(".controls:visible").count() == 0
    assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert visit.page.locator("#table-t tbody tr:visible").count() == 3


def test_a_cell_has_an_address_of_its_own_that_opens_it_again(browser: Any, site: Path) -> None:
    visit = Visit(browser, site / "calm" / "index.html")
    visit.page.locator("#table-t button.cell").first.click()
    address = visit.page.get_by_role("dialog").get_by_role("link", name="#cell").inner_text()
    assert address.endswith("calm/index.html#cell-t-e0-score")
    again = browser.new_context().new_page()
    again.goto(address)
    assert "Plain text" in again.get_by_role("dialog").get_by_role("heading").first.inner_text()
    claim = Visit(browser, site / "calm" / "index.html")
    claim.page.locator("#claim-holds a.anchor").click()
    assert claim.page.url.endswith("#claim-holds")


class TestCompare:
    def visit(self, browser: Any, site: Path, choice: str = "", page: str = "calm") -> Visit:
        made = Visit(browser, site / page / "compare.html")
        if choice:
            made.page.goto(f"{(site / page / 'compare.html').as_uri()}#{choice}")
            made.page.reload()
        return made

    def test_two_rows_side_by_side_with_their_paired_difference(self, browser: Any, site: Path) -> None:
        visit = self.visit(browser, site, "a=e0@the store&b=e1@the store")
        row = visit.page.locator("#numbers-table tbody tr", has_text="score")
        assert [cell.inner_text() for cell in row.locator("td").all()] == [
            "1.10 ± 0.17",
            "2.13 ± 0.26",
            "1.033 ± 0.097",
            "B is higher, worse (90 % interval, 3 seeds)",
        ]
        visit.page.set_viewport_size({"width": 390, "height": 900})
        for cell in visit.page.locator("#numbers-table td").all():
            assert cell.evaluate(WITHIN), "both are seen at once in a narrow window too"
        visit.page.get_by_role("button", name="Swap").click()
        assert row.locator("td").nth(2).inner_text() == "-1.033 ± 0.097"
        assert "a=e1%40the%20store" in visit.page.url, "the address keeps what is chosen"
        assert visit.complaints == []

    def test_two_versions_of_a_row_and_its_history(self, browser: Any, site: Path) -> None:
        visit = self.visit(browser, site, "a=e0@v1&b=e0@the store")
        row = visit.page.locator("#numbers-table tbody tr", has_text="score")
        assert row.locator("td").first.inner_text() == "0.10 ± 0.17"
        assert row.locator("td").nth(2).inner_text() == "1"
        visit.page.locator("#history-metric").select_option("score")
        assert visit.page.locator("#history-plot circle").count() == 12, "two rows chosen, two versions, three seeds"
        texts = visit.page.locator("#history-plot text").all_inner_texts()
        assert "v1 (2026-01-02)" in visit.page.locator("#history-plot svg").evaluate("(svg) => svg.textContent")
        assert texts is not None

    def test_what_two_rows_declare_otherwise(self, browser: Any, site: Path) -> None:
        visit = self.visit(browser, site, "a=e0@the store&b=e1@the store")
        rows = visit.page.locator("#declared-table tbody tr")
        assert [row.inner_text().split() for row in rows.all()] == [["method.level", "1.0", "2.0"]]
        assert visit.page.locator("#declared-told").inner_text() == "2 other parameters are equal."
        visit.page.locator("#row-b").select_option("e0")
        assert not visit.page.locator("#declared-table").is_visible()

    def test_samples_are_filtered_by_disagreement(self, browser: Any, site: Path) -> None:
        visit = self.visit(browser, site, "a=e0@the store&b=e1@the store")
        shown = visit.page.locator("#tiles li")
        for filter_, expected in (("differ", 4), ("a", 2), ("b", 2), ("neither", 2), ("both", 2), ("all", 8)):
            visit.page.locator("#sample-filter").select_option(filter_)
            assert shown.count() == expected, filter_
            assert visit.page.locator("#sample-count").inner_text() == f"{expected} of 8"
        told = visit.page.locator("#sample-told").inner_text()
        assert "2 are right only in A and 2 only in B: McNemar's exact p = 1." in told

    def test_training_curves_and_what_rows_left(self, browser: Any, site: Path) -> None:
        visit = self.visit(browser, site, "a=e0@the store&b=e1@the store", page="wild")
        assert visit.page.locator("#training-plot path").count() == 6, "a line a seed and row"
        assert visit.page.locator("#left-a img").count() == 1
        assert visit.page.locator("#left-a audio").count() == 1
        assert "No picture" in visit.page.locator("#left-b").inner_text()
        assert visit.complaints == []

    def test_a_choice_that_is_not_there_falls_back(self, browser: Any, site: Path) -> None:
        visit = self.visit(browser, site, "a=nobody@v9&b=<img>@x")
        assert visit.page.locator("#row-a").input_value() == "e0"
        assert visit.complaints == []
