"""Published numbers in place of the store's, and stored numbers whose data are not at hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from retable.bench.record import Artefact
from retable.bench.store.store import Store
from retable.bench.versions.archive import open_archive
from retable.bench.versions.samples import BUDGET, find_samples
from tests.bench.conftest import Bench
from tests.bench.report.made_chapters import chapter, hostile_store, hostile_suite, png, wav

PUBLISHED = Path(__file__).parents[3] / "results"


@pytest.fixture
def published(bench: Bench) -> Bench:
    """A folder with `tiny/v1` and without a store, as a fresh clone has it."""
    assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
    assert bench("freeze", "tiny").returncode == 0
    bench.store = bench("table", "tiny").stdout  # type: ignore[attr-defined]
    shutil.rmtree(bench.folder / "results" / "work")
    return bench


class TestFromAVersion:
    def test_tables_are_those_of_the_store_that_was_frozen(self, published: Bench) -> None:
        assert "not run" in published("table", "tiny").stdout
        for version in ("v1", "newest", "tiny/v1", "results/tiny/v1"):
            assert published("table", "tiny", "--from", version).stdout == published.store  # type: ignore[attr-defined]
        assert (published.folder / "results/tiny/v1/table.txt").read_text().startswith(published.store.rstrip())  # type: ignore[attr-defined]

    def test_show_has_every_record_and_names_the_version_where_there_is_none(self, published: Bench) -> None:
        shown = published("show", "tiny/low", "--from", "v1").stdout
        assert shown.count("evaluate ") == 3
        assert shown.count("fit ") >= 3
        key = published.json("show", "tiny/low", "--from", "v1")[0]["key"]
        assert key in published("show", key[:16], "--from", "tiny/v1").stdout
        missing = published("show", "tiny/nobody", "--from", "v1")
        assert (missing.returncode, missing.stderr) == (2, "bench: tiny/v1 holds no record of 'tiny/nobody'\n")

    def test_verdicts_are_judged_by_the_claims_of_now(self, published: Bench) -> None:
        assert published("gate", "tiny").returncode == 3
        assert published("gate", "tiny", "--from", "v1", "--against", "v1").returncode == 0
        published.edit("increasing: [low, high]", "increasing: [high, low]")
        assert published("gate", "tiny", "--from", "v1").returncode == 1

    def test_a_row_declared_otherwise_since_shows_no_number_and_says_what_differs(self, published: Bench) -> None:
        published.edit("{extends: low, with: {level: 2.0}}", "{extends: low, with: {level: 3.0}}")
        done = published("table", "tiny", "--from", "v1")
        assert "method.level: 2.0 -> 3.0" in done.stdout
        assert done.stdout.count("±") == 2, "the other row stands, and what ± means"
        assert "declared otherwise than in tiny/v1" in done.stderr
        assert published("gate", "tiny", "--from", "v1").returncode == 3
        own = published("table", "results/tiny/v1/tiny.yaml", "--from", "v1")
        assert own.stdout == published.store  # type: ignore[attr-defined]

    def test_a_parameter_that_came_later_with_its_default_changes_nothing(self, published: Bench) -> None:
        from retable.bench import registry
        from retable.bench.versions.archive import _parameters

        use = {"use": "tiny"}
        published("check", "suites/tiny.yaml")
        assert registry.resolve("method", "tiny")
        then, now = {**use, "params": {"level": 1.0}}, {"level": 1.0, "noise": 0.01}
        assert _parameters("method", then, {**use, "params": now}) == []
        (changed,) = _parameters("method", then, {**use, "params": {**now, "noise": 0.5}})
        assert changed == "method.noise: not known -> 0.5"

    def test_a_row_that_came_later_is_named(self, published: Bench) -> None:
        published.edit("datasets:", "  late: {extends: low, with: {level: 4.0}}\ndatasets:")
        published.edit("  - {name: cited", "  - {name: late, label: Late, method: late}\n  - {name: cited")
        done = published("table", "tiny", "--from", "v1")
        assert done.stderr == "bench: not in tiny/v1: late\n"

    def test_a_site_of_all_suites_says_which_have_no_version(self, published: Bench) -> None:
        other = (
            published.suite.read_text().replace("suite: tiny", "suite: other").replace("title: A tiny", "title: Its")
        )
        (published.folder / "suites" / "other.yaml").write_text(other)
        assert published("report", "--from", "newest").returncode == 0
        out = published.folder / "reports" / "out"
        assert "3 of 3" not in (out / "other" / "index.html").read_text()
        assert "no version of other is published" in (out / "other" / "index.html").read_text()
        assert "numbers of tiny/v1" in (out / "tiny" / "index.html").read_text()
        named = published("report", "other", "--from", "newest")
        assert (named.returncode, named.stdout) == (2, "")
        assert "no version of other is published" in named.stderr

    @pytest.mark.parametrize("version", ["v2", "v0", "nothing/v1", "../x"])
    def test_what_is_not_there_is_one_sentence(self, published: Bench, version: str) -> None:
        done = published("table", "tiny", "--from", version)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)

    def test_a_damaged_version_is_refused(self, published: Bench) -> None:
        records = published.folder / "results" / "tiny" / "v1" / "records.jsonl"
        records.chmod(0o644)
        records.write_text(records.read_text().replace("1.0", "1.1", 1))
        done = published("table", "tiny", "--from", "v1")
        assert done.returncode != 0
        assert "damaged" in done.stderr


def test_what_this_repository_published_shows_by_its_own_declaration() -> None:
    from retable.bench.declare.reader import load_suite
    from retable.bench.judge.results import unmeasured
    from retable.bench.versions.archive import held

    for suite in ("table2_aim", "table_spikelm"):
        archive = open_archive(PUBLISHED, suite, "newest")
        own = load_suite(archive.folder / f"{suite}.yaml")
        found = held(own, archive)
        assert unmeasured(own, found.results) == archive.version.manifest["unmeasured"]
        assert len(found.results) == archive.version.manifest["cases"] - len(archive.version.manifest["unmeasured"])


class TestDataThatAreNotAtHand:
    def test_stored_numbers_show_with_their_state(self, bench: Bench) -> None:
        assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
        before = bench("table", "tiny").stdout
        bench.environment["TINY_NO_DATA"] = "1"
        done = bench("table", "tiny")
        assert done.stdout == before
        assert "data were at hand" in done.stderr
        assert "tiny data are missing" in done.stderr
        assert bench("gate", "tiny").returncode == 0

    def test_a_run_without_the_data_does_not_hide_them(self, bench: Bench) -> None:
        assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
        before = bench("table", "tiny").stdout
        bench.environment["TINY_NO_DATA"] = "1"
        bench("run", "tiny", "--jobs", "0", "--quiet")
        assert bench("table", "tiny").stdout == before

    def test_a_number_of_another_declaration_does_not_come_back(self, bench: Bench) -> None:
        assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
        bench.environment["TINY_NO_DATA"] = "1"
        bench.edit("level: 2.0", "level: 3.0")
        shown = bench("table", "tiny").stdout
        assert shown.count("±") == 2, "the other row stands, and what ± means"
        assert "not run" in shown


class TestSamples:
    def test_a_version_keeps_pictures_and_sounds_for_its_site(self, bench: Bench) -> None:
        assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
        _leave(bench, {"a.png": png(), "b.wav": wav()})
        assert bench("freeze", "tiny").returncode == 0
        assert bench("verify").returncode == 0
        folder = bench.folder / "results" / "tiny" / "v1"
        told = json.loads((folder / "samples.json").read_text())
        assert told["budget"] == BUDGET
        assert sorted(file["name"] for file in told["files"].values()) == ["a.png", "b.wav"]
        assert {(folder / name).read_bytes() for name in told["files"]} == {png(), wav()}
        shutil.rmtree(bench.folder / "results" / "work")
        assert bench("report", "tiny", "--from", "v1").returncode == 0
        assert len(list((bench.folder / "reports" / "out" / "tiny" / "samples").iterdir())) == 2

    def test_every_row_shows_one_before_any_shows_two(self, tmp_path: Path) -> None:
        from dataclasses import replace

        store = hostile_store(tmp_path)
        made = chapter(hostile_suite("x"), store)
        files = {row: {f"{row}{i}.png": _put(store, png(2 + i + 4 * row)) for i in range(3)} for row in (0, 1)}
        records = [
            replace(record, artefacts=files[int(record.entry[1])])
            if record.stage == "evaluate" and record.ok
            else record
            for record in made.records.values()
        ]
        room = sum(files[row][f"{row}0.png"].bytes for row in (0, 1))
        samples, problems = find_samples(made.suite, records, store.read_artefact, budget=room)
        assert [sample.entry for sample in samples] == ["e0", "e1"]
        assert len(problems) == 4

    def test_a_large_picture_is_kept_as_a_smaller_copy(self, tmp_path: Path) -> None:
        import io
        from dataclasses import replace

        import numpy as np
        from PIL import Image

        noise = np.random.default_rng(0).integers(0, 60, (250, 250, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).save(file, "PNG")
        store = hostile_store(tmp_path)
        made = chapter(hostile_suite("x"), store)
        records = [
            replace(record, artefacts={"n.png": _put(store, file.getvalue())}) for record in made.records.values()
        ]
        ((sample,), _) = find_samples(made.suite, records, store.read_artefact)
        assert sample.copied
        assert len(sample.content) < len(file.getvalue()) / 2
        assert Image.open(io.BytesIO(sample.content)).size == (250, 250)


def _put(store: Store, content: bytes) -> Artefact:
    return store.put_artefact("x.png", content)


def _leave(bench: Bench, files: dict[str, bytes]) -> None:
    """As if the first evaluation had left these files."""
    from dataclasses import replace

    store = Store(bench.folder / "results" / "work")
    record = next(r for r in store.records("tiny") if r.stage == "evaluate" and r.repetition == 0)
    kept = {name: store.put_artefact(name, content) for name, content in files.items()}
    store.append(replace(record, artefacts={**record.artefacts, **kept}))
