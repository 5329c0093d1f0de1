"""The site in a browser without a window: it sorts, filters, opens cells, asks for nothing, complains of nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retable.bench.report.site.write import write_site
from retable.bench.versions.samples import find_samples
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
    from dataclasses import replace

    folder = tmp_path_factory.mktemp("site")
    store = hostile_store(folder / "store")
    chapters = []
    for name, text in (("calm", "Plain text"), ("wild", HOSTILE)):
        made = chapter(hostile_suite(text, name), store, text)
        files = {"a.png": store.put_artefact("a.png", png()), "b.wav": store.put_artefact("b.wav", wav())}
        key = f"evaluate-{name}-0-0"
        records = {**made.records, key: replace(made.records[key], artefacts=files)}
        samples, _ = find_samples(made.suite, records.values(), store.read_artefact)
        chapters.append(replace(made, records=records, samples=tuple(samples)))
    write_site(chapters, folder / "out")
    return folder / "out"


class Visit:
    """A page of the site with what it asked for and what it complained of."""

    def __init__(self, browser: Any, address: Path, **options: Any) -> None:
        self.page = browser.new_context(**options).new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address.as_uri())
        self.page.wait_for_load_state("networkidle")

    def column(self, table: str, column: int) -> list[str]:
        rows = self.page.locator(f"#{table} tbody tr:visible")
        return [rows.nth(i).locator("th, td").nth(column).inner_text() for i in range(rows.count())]


@pytest.mark.parametrize("page", ["index.html", "calm/index.html", "wild/index.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 360])
def test_pages_open_from_a_file_without_a_request_or_a_complaint(
    browser: Any, site: Path, page: str, scheme: str, width: int
) -> None:
    visit = Visit(browser, site / page, color_scheme=scheme, viewport={"width": width, "height": 900})
    assert visit.complaints == []
    assert all(address.startswith(site.as_uri()) for address in visit.requests), visit.requests
    visit.page.evaluate("document.querySelectorAll('img').forEach((image) => (image.loading = 'eager'))")
    visit.page.wait_for_load_state("networkidle")
    broken = "[...document.images].filter((image) => !(image.complete && image.naturalWidth)).length"
    visit.page.wait_for_function(f"{broken} === 0")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width, "the page itself scrolls sideways"
    assert visit.complaints == []
    dark = visit.page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


def test_a_heading_sorts_up_down_and_back_with_absent_numbers_last(browser: Any, site: Path) -> None:
    visit = Visit(browser, site / "calm" / "index.html")
    heading = visit.page.locator("#table-1 th", has=visit.page.get_by_role("button", name="Here", exact=True))
    button = heading.get_by_role("button")
    before = visit.column("table-1", 4)
    for order, expected in (("ascending", ["1.", "2.", "—"]), ("descending", ["2.", "1.", "—"])):
        button.focus()
        visit.page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == order
        assert [
            text[: len(start)] for text, start in zip(visit.column("table-1", 4), expected, strict=True)
        ] == expected
        assert visit.page.locator("#table-1 [aria-sort=ascending], #table-1 [aria-sort=descending]").count() == 1
    visit.page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "none"
    assert visit.column("table-1", 4) == before


def test_rows_are_filtered_by_words_type_and_what_was_measured(browser: Any, site: Path) -> None:
    visit = Visit(browser, site / "calm" / "index.html")
    controls = visit.page.locator(".controls[data-for=table-1]")
    assert controls.locator("output").inner_text() == "3 rows"
    controls.get_by_label("Filter").fill("b plain")
    assert visit.column("table-1", 0) == ["B Plain text"]
    assert controls.locator("output").inner_text() == "1 of 3 rows"
    controls.get_by_label("Filter").fill("")
    controls.get_by_label("Type").select_option("ours")
    assert visit.column("table-1", 0) == ["Plain text", "C"]
    controls.get_by_label("measured here only").check()
    assert visit.column("table-1", 0) == ["Plain text"]


def test_a_cell_opens_its_records_by_keyboard_and_gives_the_focus_back(browser: Any, site: Path) -> None:
    for name, text in (("calm", "Plain text"), ("wild", "<img onerror=x>")):
        visit = Visit(browser, site / name / "index.html")
        cell = visit.page.locator("#table-1 button.cell").first
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
    assert visit.page.locator("#table-1 tbody tr:visible").count() == 3
