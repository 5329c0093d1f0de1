"""The site: nothing hostile gets out of its text or its folder, every cell leads to its records, equal stores equal bytes."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retable.bench.errors import BenchError
from retable.bench.record import Artefact
from retable.bench.report.chapter import Chapter
from retable.bench.report.escape import clean
from retable.bench.report.files import put, safe_name
from retable.bench.report.site.pages import index_page, suite_page
from retable.bench.report.site.view import WIDTH, chart
from retable.bench.report.site.write import write_site
from retable.bench.store.store import Store
from retable.bench.versions.samples import find_samples
from tests.bench.conftest import Bench
from tests.bench.report.made_chapters import chapter, hostile_store, hostile_suite, png, wav
from tests.bench.report.made_tables import HOSTILE

VOID = {"meta", "input", "img", "source", "rect", "line", "circle"}


class Page(HTMLParser):
    """A page taken apart: its elements with attributes, its texts by element, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self) -> Any:
        return json.loads(next(text for tag, text in self.texts if tag == "script" and text.startswith("{")))


def pages(made: Chapter) -> list[Page]:
    return [Page(suite_page(made, ["tables.csv"])), Page(index_page([made]))]


class TestCommand:
    def test_without_arguments_the_site_has_every_suite(self, bench: Bench) -> None:
        other = (
            bench.suite.read_text().replace("suite: tiny", "suite: other").replace("title: A tiny", "title: Another")
        )
        (bench.folder / "suites" / "other.yaml").write_text(other)
        assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
        done = bench("report")
        assert done.returncode == 0, done.stderr
        assert done.stdout == "reports/out/index.html\n"
        out = bench.folder / "reports" / "out"
        page = Page((out / "index.html").read_text())
        links = {attributes["href"].partition("#")[0] for attributes in page.all("a")}
        assert {"tiny/index.html", "other/index.html", "tables.tex", "numbers.tex"} <= links
        assert all((out / link).is_file() for link in links if link)
        for name in ("tiny", "other"):
            page = Page((out / name / "index.html").read_text())
            links = {attributes["href"].partition("#")[0] for attributes in page.all("a")}
            assert all((out / name / link).is_file() for link in links if link and not link.startswith("https://arxiv"))
        assert "0 of 6" in (out / "index.html").read_text()

    def test_every_measured_cell_leads_to_its_records_and_the_fits_behind_them(self, bench: Bench) -> None:
        assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
        assert bench("report", "tiny").returncode == 0
        page = Page((bench.folder / "reports" / "out" / "tiny" / "index.html").read_text())
        opened = [attributes["data-opens"] for attributes in page.all("button") if "data-opens" in attributes]
        assert len(opened) == 3, "two cells and a claim"
        data = page.data
        assert set(opened) == set(data["cells"])
        for identity in opened:
            assert data["cells"][identity]["records"]
            for key in data["cells"][identity]["records"]:
                record = data["records"][key]
                assert record["metrics"]["weight"]["value"] > 0
                assert record["environment"] in data["environments"]
                assert {"task", "fit", "seed"} <= set(record["ingredients"])
                (fit,) = record["needs"]
                assert data["pool"][data["records"][fit]["ingredients"]["method"]]["use"] == "tiny"

    def test_json_names_the_pages(self, bench: Bench) -> None:
        told = bench.json("report")
        assert list(told["suites"]) == ["tiny"]
        assert all((bench.folder / path).is_file() for path in (told["index"], *told["suites"].values()))

    def test_an_unknown_suite_is_one_sentence(self, bench: Bench) -> None:
        done = bench("report", "tinny")
        assert (done.returncode, done.stdout) == (2, "")
        assert "no suite file tinny" in done.stderr

    def test_a_store_without_records_gives_a_site_that_says_so(self, bench: Bench) -> None:
        assert bench("report").returncode == 0
        text = (bench.folder / "reports" / "out" / "tiny" / "index.html").read_text()
        assert "No record is stored" in text
        assert "not measured: not run" in text
        assert not (bench.folder / "results").exists()


class TestHostileText:
    @given(text=st.text(max_size=30) | st.sampled_from([HOSTILE, "</script><script>alert(1)</script>", "<!--", "]]>"]))
    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_it_stays_text(self, tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
        text = text.encode(errors="replace").decode()  # a store refuses lone surrogates
        store = hostile_store(tmp_path_factory.mktemp("store"))
        shown, calm = pages(chapter(hostile_suite(text), store, text)), pages(chapter(hostile_suite("x"), store, "x"))
        for page, other in zip(shown, calm, strict=True):
            handlers = [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
            assert not handlers
            assert page.all("script") == other.all("script")
            assert [tag for tag, _ in page.elements if tag in ("img", "iframe", "object", "link", "base")] == [
                tag for tag, _ in other.elements if tag in ("img", "iframe", "object", "link", "base")
            ]

    def test_it_is_shown_as_it_is(self, tmp_path: Path) -> None:
        page, _ = pages(chapter(hostile_suite(), hostile_store(tmp_path)))
        rows = [text.strip() for tag, text in page.texts if tag == "th"]
        assert clean(HOSTILE).strip() in rows
        assert any(told["facts"].get("Claim") == clean(HOSTILE) for told in page.data["cells"].values())
        assert not any(ord(char) < 32 and char not in "\n" for _, text in page.texts for char in text)

    def test_no_address_leads_to_a_network_but_the_papers_own(self, tmp_path: Path) -> None:
        for page in pages(chapter(hostile_suite(), hostile_store(tmp_path))):
            for tag, attributes in page.elements:
                for name in ("src", "href", "action", "data", "poster", "srcset"):
                    address = attributes.get(name, "")
                    remote = re.match(r"[a-z+]+:|//", address, re.IGNORECASE)
                    assert not remote or (tag == "a" and address.startswith("https://arxiv.org/abs/")), address
            assert "@import" not in "".join(text for tag, text in page.texts if tag == "style")

    def test_the_policy_lets_only_the_pages_own_script_and_style_run(self, tmp_path: Path) -> None:
        for page in pages(chapter(hostile_suite(), hostile_store(tmp_path))):
            policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
            assert policy.startswith("default-src 'none';")
            for tag, directive in (("script", "script-src"), ("style", "style-src")):
                text = next(
                    text for kind, text in page.texts if kind == tag and not text.startswith("{") and text.strip()
                )
                digest = base64.b64encode(sha256(text.encode()).digest()).decode()
                assert f"{directive} 'sha256-{digest}';" in policy

    @given(
        name=st.text(max_size=40) | st.sampled_from(["../x", "/etc/x", "a/b", "..", ".", "", "con", "x" * 300, "a\0b"])
    )
    def test_any_name_is_one_name_of_a_file(self, name: str) -> None:
        safe = safe_name(name)
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", safe)
        assert Path(safe).name == safe
        assert safe.partition(".")[0] not in ("con", "nul", "prn", "aux")
        assert safe_name(safe) == safe

    def test_hostile_names_of_suites_and_plots_stay_in_the_folder(self, tmp_path: Path) -> None:
        made = hostile_suite(name="../../out")
        made = replace(made, sketches=(replace(made.sketches[0], name="../p"),))
        out = tmp_path / "a" / "out"
        store = hostile_store(tmp_path / "store")
        before = set(tmp_path.rglob("*"))
        write_site([chapter(made, store)], out)
        created = {path for path in tmp_path.rglob("*") if path not in before} - {out, out.parent}
        assert created
        assert all(path.is_relative_to(out) for path in created)
        assert len([path for path in created if path.suffix == ".svg"]) == 2, (
            "one for a wide window, one for a narrow one"
        )


class TestFiles:
    def test_a_link_in_place_of_a_file_is_replaced_not_followed(self, tmp_path: Path) -> None:
        outside, out = tmp_path / "outside.txt", tmp_path / "out"
        outside.write_text("mine")
        out.mkdir()
        (out / "x.txt").symlink_to(outside)
        put(out, "x.txt", content="theirs")
        assert outside.read_text() == "mine"
        assert (out / "x.txt").read_text() == "theirs"

    def test_a_folder_that_leads_out_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "outside").mkdir()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "s").symlink_to(tmp_path / "outside")
        with pytest.raises(BenchError, match="leads out of"):
            put(tmp_path / "out", "s", "x.txt", content="x")
        assert not list((tmp_path / "outside").iterdir())

    def test_equal_chapters_give_equal_bytes_and_leave_nothing_unfinished(self, tmp_path: Path) -> None:
        store = hostile_store(tmp_path / "store")
        made = chapter(hostile_suite(), store)
        contents = []
        for name in ("a", "b"):
            write_site([made], tmp_path / name)
            files = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
            contents.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
        assert contents[0] == contents[1]
        assert not [path for path in contents[0] if path.name.startswith(".")]


def test_certificates_of_repeated_cases_stand_on_the_page(tmp_path: Path) -> None:
    made = chapter(hostile_suite(), hostile_store(tmp_path))
    assert "No case was run again" in suite_page(made, [])
    page = suite_page(replace(made, certificates=((HOSTILE, "repeat, 2 runs: bit-exact"),)), [])
    assert "2 runs: bit-exact" in page
    assert any(clean(HOSTILE) in text for tag, text in Page(page).texts if tag == "strong")


class TestSamples:
    def found(self, store: Store, files: dict[str, Artefact]) -> tuple[list[Any], list[str]]:
        made = chapter(hostile_suite(), store)
        records = [
            replace(record, artefacts=files) if (record.entry, record.stage) == ("e0", "evaluate") else record
            for record in made.records.values()
        ]
        return find_samples(made.suite, records, store.read_artefact)

    def test_pictures_and_sounds_of_the_first_repetition(self, tmp_path: Path) -> None:
        store = hostile_store(tmp_path)
        files = {
            "b.png": store.put_artefact("b.png", png()),
            "a.wav": store.put_artefact("a.wav", wav()),
            "c.json": store.put_artefact("c.json", b"{}"),
            "d.png": store.put_artefact("d.png", png()),  # equal to b.png
        }
        samples, problems = self.found(store, files)
        assert [(sample.name, sample.kind, sample.repetition) for sample in samples] == [
            ("a.wav", "audio", 0),
            ("b.png", "image", 0),
        ]
        assert problems == []
        made = chapter(hostile_suite(), store)
        page = Page(suite_page(replace(made, samples=tuple(samples), problems=tuple(problems)), []))
        (picture,) = [image for image in page.all("img") if image["src"].startswith("samples/")]
        assert clean(HOSTILE) in picture["alt"]
        assert page.all("audio")[0]["aria-label"].startswith("a.wav of ")

    def test_what_is_no_picture_or_damaged_or_too_large_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = hostile_store(tmp_path)
        lie = store.put_artefact("lie.png", b"<svg onload=alert(1)>")
        lost = replace(store.put_artefact("lost.png", png(3)), path="0" * 64 + ".png")
        samples, problems = self.found(store, {"lie.png": lie, "lost.png": lost})
        assert samples == []
        assert "neither a picture nor a sound" in problems[0]
        assert "cannot be read" in problems[1]
        assert str(tmp_path) not in "".join(problems)
        monkeypatch.setattr("retable.bench.versions.samples.BUDGET", 10)
        _, problems = self.found(store, {"a.png": store.put_artefact("a.png", png())})
        assert "too large" in problems[0]


class TestViews:
    def test_an_absent_number_is_a_dash_with_a_note_and_sorts_last(self, tmp_path: Path) -> None:
        page, _ = pages(chapter(hostile_suite("x"), hostile_store(tmp_path), "broken"))
        cells = [attributes for attributes in page.all("td") if "here" in attributes.get("class", "")]
        absent = [attributes for attributes in cells if "absent" in attributes["class"]]
        assert len(absent) == 2
        assert not any("data-sort" in attributes for attributes in absent)
        assert ("button", "—") in page.texts
        assert any(text.startswith("not measured: failed: broken") for tag, text in page.texts if tag == "li")
        assert any(text.startswith("not found: ") for tag, text in page.texts if tag == "li")

    def test_the_small_drawing_of_a_claim_stays_inside_and_in_order(self, tmp_path: Path) -> None:
        made = chapter(hostile_suite(), hostile_store(tmp_path))
        drawn = [chart(judged) for judged in made.judgements]
        assert drawn[2] is None, "nothing was measured"
        for one in drawn[:2]:
            assert one is not None
            assert 0 <= one.low < one.mean < one.high <= WIDTH
            assert 0 <= one.bound[0] < one.bound[1] <= WIDTH
        holds, fails = drawn[:2]
        assert holds.bound[0] < holds.low  # type: ignore[union-attr]
        assert fails.high < fails.bound[0]  # type: ignore[union-attr]

    def test_every_table_has_a_caption_and_every_heading_a_scope(self, tmp_path: Path) -> None:
        for page in pages(chapter(hostile_suite(), hostile_store(tmp_path))):
            assert len(page.all("caption")) == len(page.all("table"))
            assert all("scope" in attributes for attributes in page.all("th"))
            assert all("alt" in attributes for attributes in page.all("img"))
            ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
            assert len(ids) == len(set(ids))
            for attributes in page.all("a"):
                assert not attributes["href"].startswith("#") or attributes["href"][1:] in ids
