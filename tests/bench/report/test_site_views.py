"""What the site's views are made from: curves, words of metrics, heat maps, values by sample."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.record import Artefact, Measurement, Record
from retable.bench.report.draw import describe, draw
from retable.bench.report.plot import build_plots
from retable.bench.report.site.changes import changes
from retable.bench.report.site.curves import curves
from retable.bench.report.site.explore import SAMPLES, explore
from retable.bench.report.site.pages import suite_page
from retable.bench.report.words import with_unit, words
from retable.bench.suite import Column, Component, Layout, Sketch
from retable.bench.versions.archive import Archive
from retable.bench.versions.rates import rates, read_rates
from retable.bench.versions.versions import Name, Version
from tests.bench.report.made_chapters import chapter, hostile_store, hostile_suite, png
from tests.bench.report.made_tables import HOSTILE, entry, record, suite


class TestCurves:
    def test_of_points_of_plain_lists_and_of_parts(self) -> None:
        log = {
            "curve": [{"step": 0, "loss": 3.0, "vq_loss": 1.0}, {"step": 10, "loss": 2.0, "vq_loss": 0.5}],
            "task": {"curve": [{"epoch": 1, "loss": 5.0}, {"epoch": 2, "loss": 4.0}]},
            "train_accuracy": [10.0, 20.0, 30.0],
            "loss": 2.0,
            "names": ["a", "b"],
        }
        assert curves(log) == {
            "loss": ("step", [0.0, 10.0], [3.0, 2.0]),
            "vq loss": ("step", [0.0, 10.0], [1.0, 0.5]),
            "task: loss": ("epoch", [1.0, 2.0], [5.0, 4.0]),
            "train accuracy": ("epoch", [1, 2, 3], [10.0, 20.0, 30.0]),
        }

    def test_an_epoch_counts_where_it_grows_and_is_never_a_quantity(self) -> None:
        steps = [{"step": 10 * n, "epoch": n / 4, "loss": 3.0 - n} for n in range(3)]
        assert curves({"curve": steps}) == {"loss": ("epoch", [0.0, 0.25, 0.5], [3.0, 2.0, 1.0])}
        same = [{**point, "epoch": 1} for point in steps]
        assert curves({"curve": same}) == {"loss": ("step", [0.0, 10.0, 20.0], [3.0, 2.0, 1.0])}

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
            max_leaves=12,
        ).filter(lambda value: isinstance(value, dict))
    )
    def test_any_log_gives_as_many_xs_as_ys(self, log: Any) -> None:
        for _, xs, ys in curves(log).values():
            assert len(xs) == len(ys) >= 2


class TestWords:
    made = replace(
        suite([]),
        layouts=(
            Layout(
                name="t",
                title="T",
                rows=("*",),
                columns=(
                    Column(label="Top-1 (%)", metric="accuracy"),
                    Column(label="lemaire", metric="crossover_rate[lemaire]"),
                    Column(label="after 1 step", metric="accuracy_at_step[1]"),
                ),
            ),
        ),
    )

    @pytest.mark.parametrize(
        ("metric", "unit", "expected"),
        [
            ("accuracy", "%", "Top-1 (%)"),
            ("crossover_rate[lemaire]", "", "Crossover rate, lemaire"),
            ("accuracy_at_step[1]", "%", "Accuracy at step, 1 (%)"),
            ("energy_mj[full]", "mJ/sample", "Energy, full (mJ per sample)"),
            ("firing_rate", "spikes/neuron/step", "Firing rate (spikes per neuron and step)"),
            ("params", "parameters", "Parameters"),
            ("graph_energy_mj[all]", "mJ/sample", "Graph energy, all (mJ per sample)"),
            ("decision_step", "steps", "Decision step"),
            ("map50", "", "mAP at IoU 0.5"),
            ("acs[full]", "AC/sample", "ACs, full (AC/sample)"),
        ],
    )
    def test_a_metric_in_words_with_its_unit_once(self, metric: str, unit: str, expected: str) -> None:
        assert with_unit(words(self.made, metric), unit) == expected


class TestHeat:
    sketch = Sketch(name="h", title="H", kind="heat", y="score", prefix="layer ", rows=("*",))
    details: ClassVar[dict[str, float]] = {"layer 1 network.first": 0.25, "layer 2 network.second": 0.5}

    def plot(self, by_step: dict[str, Any] | None = None, label: str = "Row") -> Any:
        made = replace(suite([entry(0, label), entry(1, "Empty")]), sketches=(self.sketch,))
        score = Measurement(value=0.3, unit="spikes/neuron/step", details=self.details)
        (plot,) = build_plots(made, {("e0", seed): record(0, seed, score=score) for seed in range(3)}, by_step)
        return plot

    def test_layers_by_time_step_where_an_account_knows_them_else_their_means(self) -> None:
        (heat,) = self.plot().heats
        assert (heat.places, heat.values) == (("first", "second"), ((0.25,), (0.5,)))
        (heat,) = self.plot({"e0": {"network.first": [0.0, 0.5], "network.second": [1.0]}}).heats
        assert (heat.values, heat.steps) == (((0.0, 0.5), (1.0,)), 2)
        assert self.plot().missing == ("Empty: not run",)

    @pytest.mark.parametrize("by_step", [None, {"e0": {HOSTILE: [0.0, 0.5, 0.2], "b": [1.0, 0.0, 0.1]}}])
    def test_it_is_drawn_and_told(self, by_step: Any) -> None:
        plot = self.plot(by_step, label=HOSTILE)
        assert [name for name, _ in draw(plot)] == ["h.svg", "h.pdf"]
        assert draw(plot) == draw(plot)
        assert ("first: 0.250" in describe(plot)) is (by_step is None)

    def test_rates_of_the_first_repetition_that_counted(self) -> None:
        account = {
            "neurons": [
                {"layer": "a", "rate": 0.12345, "rate_by_step": []},
                {"layer": "b", "rate": 0.5, "rate_by_step": [0.25, 0.75]},
            ]
        }
        file = Artefact(path="x", sha256="0", bytes=1)
        records = [replace(record(0, seed), artefacts={"account.json": file}) for seed in (1, 0)]
        found = rates(records, lambda artefact: json.dumps(account).encode())
        assert found == {"e0": {"a": [0.1235], "b": [0.25, 0.75]}}
        assert read_rates(json.dumps(found).encode()) == found
        assert rates(records, lambda artefact: b"{}") == {}


class TestChanges:
    def changed(self, tmp_path: Path, numbers: tuple[int, ...], source: str) -> Any:
        """Versions in which every number is less by 1 for each that followed; in the first a claim had another verdict."""
        made = replace(chapter(hostile_suite("x"), hostile_store(tmp_path)), source=source)

        def less(one: Record, by: int) -> Record:
            score = one.metrics.get("score")
            return replace(one, metrics={"score": replace(score, value=score.value - by)}) if score else one  # type: ignore[operator]

        past = []
        for number in numbers:
            records = tuple(less(one, numbers[-1] + 1 - number) for one in made.records.values() if one.ok)
            verdicts = ({"claim": "holds", "verdict": "contradicted"}, {"claim": "gone", "verdict": "reproduced"})
            version = Version(
                name=Name("x", number), profile="mini", manifest={"files": {}}, records=records, verdicts=verdicts
            )
            past.append(Archive(version, tmp_path))
        return changes(replace(made, past=tuple(past)))

    def test_verdicts_claims_and_numbers_with_the_reason(self, tmp_path: Path) -> None:
        found = self.changed(tmp_path, (1, 2), "the store")
        assert found.before == "x/v2"
        assert found.verdicts == (("holds", "contradicted", "reproduced"),)
        assert (dict(found.added), found.removed) == ({"contradicted": 1, "not measured": 1}, ("gone",))
        assert [(one.row, one.before, one.after) for one in found.moved] == [
            ("x", "0.1", "1.1"),
            ("B x", "1.1333", "2.1333"),
        ]
        assert "environment.hardware" in found.moved[0].why

    def test_a_version_is_told_beside_the_one_before_it(self, tmp_path: Path) -> None:
        assert self.changed(tmp_path, (1, 2), "x/v2").before == "x/v1"
        assert self.changed(tmp_path, (1,), "x/v1") is None
        assert self.changed(tmp_path, (), "the store") is None


def test_a_map_keeps_its_colours_whatever_the_scheme(tmp_path: Path) -> None:
    plot = TestHeat().plot()
    page = suite_page(replace(chapter(hostile_suite("x"), hostile_store(tmp_path)), plots=(plot,)), [])
    assert 'class="plot map"' in page
    assert ".plot:not(.map) img { filter" in page


class TestExplore:
    def data(self, tmp_path: Path, samples: tuple[float, ...]) -> Any:
        made = chapter(hostile_suite("x"), hostile_store(tmp_path))
        held = {
            key: replace(one, metrics={"score": replace(one.metrics["score"], samples=samples)}) if one.metrics else one
            for key, one in made.records.items()
        }
        text, files = explore(replace(made, records=held))
        assert files == {}
        return json.loads(text)

    def test_right_and_wrong_take_a_digit_and_numbers_only_the_first_seed(self, tmp_path: Path) -> None:
        (side,) = self.data(tmp_path / "a", (100.0, 0.0, 100.0))["sides"]
        assert side["rows"]["e0"]["s"] == {"score": {"0": "101", "1": "101", "2": "101"}}
        (side,) = self.data(tmp_path / "b", (1.23456, 2.0))["sides"]
        assert side["rows"]["e0"]["s"] == {"score": {"0": [1.23, 2.0]}}

    def test_values_by_sample_stay_within_their_budget(self, tmp_path: Path) -> None:
        (side,) = self.data(tmp_path, (1.0, 0.0) * (SAMPLES // 5))["sides"]
        kept = sum(len(one) for row in side["rows"].values() for seeds in row["s"].values() for one in seeds.values())
        assert 0 < kept <= SAMPLES

    def test_what_rows_left_is_shown_of_every_version(self, tmp_path: Path) -> None:
        made = chapter(hostile_suite("x"), hostile_store(tmp_path / "store"))
        content = png(3)
        picture = Artefact(path="x.png", sha256=sha256(content).hexdigest(), bytes=len(content))
        (tmp_path / f"sample-{picture.sha256[:16]}.png").write_bytes(content)
        old = [replace(one, artefacts={"a.png": picture}) for one in made.records.values() if one.entry == "e0"]
        manifest = {"files": {f"sample-{picture.sha256[:16]}.png": {}}, "published": "2026-01-02T00:00:00Z"}
        version = Version(name=Name("x", 1), profile="mini", manifest=manifest, records=tuple(old))
        text, files = explore(replace(made, past=(Archive(version, tmp_path),)))
        (shown,) = json.loads(text)["files"]["v1"]["e0"]
        assert files[shown["file"].removeprefix("samples/")] == content
        assert json.loads(text)["files"].keys() == {"v1"}

    def test_samples_are_shown_only_of_the_data_that_were_judged(self) -> None:
        from retable.bench.declare.params import build
        from retable.bench.report.site.exhibits import exhibits

        digits = Component(use="digits", params={"size": 8})
        now = build("dataset", digits).digest()
        rows = [
            entry(0, "A", dataset=digits, task=Component(use="classify")),
            entry(1, "B", dataset=digits, task=Component(use="generate")),
        ]
        (shown,) = exhibits(suite(rows), {"e0": now, "e1": now})
        assert shown.rows == ["e0"], "what a generator is judged on are its own images"
        assert shown.tile == (8, 8)
        assert exhibits(suite(rows), {"e0": "0" * 64}) == []

    def test_rows_on_parts_of_one_data_set_show_their_own_sentences(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from retable.bench.datasets.texts.glue import Glue
        from retable.bench.rehearsal.texts import glue
        from retable.bench.report.site.exhibits import exhibits

        monkeypatch.setenv("BENCH_DATA", str(tmp_path))
        glue(Glue(task="mnli"), tmp_path)
        mnli = Component(use="glue", params={"task": "mnli"})
        tasks = [Component(use="finetune-text", params=params) for params in ({}, {"part": "mm"})]
        rows = [entry(i, f"R{i}", dataset=mnli, task=task) for i, task in enumerate(tasks)]
        digest, data = Glue(task="mnli").digest(), Glue(task="mnli").load()
        matched, mismatched = exhibits(suite(rows), {"e0": digest, "e1": digest})
        assert (matched.rows, mismatched.rows) == (["e0"], ["e1"])
        assert matched.texts[0].startswith(data.held_out.first[0])
        assert mismatched.texts[0].startswith(data.parts["mm"].first[0])
