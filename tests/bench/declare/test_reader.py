"""Suite files: what they come to mean, and that every mistake is one sentence with file and line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import tests.bench.tiny  # noqa: F401 - registers the components that the corpus and the example use
from retable.bench.declare.reader import check_suite, load_suite
from retable.bench.errors import BenchError, DeclarationError, UnknownNameError
from retable.bench.suite import Component, Reported, Suite

PROJECT = Path(__file__).parents[3]
SHIPPED = sorted((PROJECT / "suites").glob("*.yaml"))
CORPUS = sorted(Path(__file__).with_name("bad_suites").glob("*.yaml"))
EXAMPLE = """\
suite: example
title: >
  Everything that
  a suite can say
paper: None
arxiv: "2408.12245"
version: 2
profiles:
  mini: {repetitions: [0, 1, 2], limits: {timeout: 5 min, memory: 4 GiB}}
  paper: {repetitions: [7], device: cuda, dtype: bfloat16, limits: {timeout: 1.5 h, memory: 80 GB, threads: 8}}
methods:
  base: {use: tiny, with: {level: {mini: 1e-3, paper: 2}, noise: 0.5}}
  high: {extends: base, with: {level: 5}}
  stack: {use: tiny-on-top, needs: {base: high}, with: {level: 1}}
  stack-low: {extends: stack, needs: {base: base}}
  only-paper: {paper: {use: tiny}}
datasets:
  data: {mini: {use: tiny-data}, paper: {use: tiny-data, with: {size: 64}}}
tasks:
  read: {use: read-weight, with: {scale: 2}}
defaults:
  dataset: data
  task: read
  metrics: {mini: [weight], paper: [weight, nowhere]}
entries:
  - {name: cited, label: Cited, group: Theirs, reported: {params: 148M, fid: 3.60, weight: not found}}
  - {name: base, method: base, reported: {weight: 62.5k}}
  - {name: stack, method: stack-low, task: {extends: read, with: {scale: 3}}, repetitions: {mini: [4], paper: [5, 6]}}
  - {name: inline, method: {use: tiny}, dataset: {use: tiny-data}, metrics: [weight]}
  - {name: large, profiles: [paper], method: only-paper}
claims:
  - name: everywhere
    text: Base weighs nothing
    source: Table 1
    value: {entry: base, metric: weight, equals: -200, tolerance: 0.5 %}
  - name: at-mini
    text: Base weighs less than the stack
    source: Table 2
    ordering: {metric: weight, increasing: [base, stack]}
    profiles: [mini]
    min_seeds: 2
    expect: {mini: {verdict: contradicted, because: of the noise}}
  - name: at-paper
    text: Large is as heavy as the base
    source: Table 3
    ratio: {metric: nowhere, of: large, to: base, at_least: 1}
    profiles: [paper]
    expect: {verdict: not measured, because: no counter}
tables:
  - name: first
    title: First
    rows: ["*", "!large"]
    columns: [{label: W, metric: weight, show: measured, format: .2f}, {label: P, metric: params, format: si}]
    note: A note
"""


def write(folder: Path, text: str, stem: str = "example") -> Path:
    path = folder / f"{stem}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def suites(tmp_path: Path) -> tuple[Suite, Suite]:
    mini, paper = check_suite(write(tmp_path, EXAMPLE))
    return mini, paper


# Suites that ship


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_suites_are_as_they_should_be(path: Path) -> None:
    suites = check_suite(path)
    assert {suite.profile.name for suite in suites} == {"mini", "paper", "rehearsal"}
    assert all(suite.name == path.stem and suite.cases() for suite in suites)


# What a file means


def test_profiles(suites: tuple[Suite, Suite]) -> None:
    mini, paper = (suite.profile for suite in suites)
    assert suites[0].profiles == ("mini", "paper")
    assert (mini.repetitions, mini.device, mini.dtype) == ((0, 1, 2), "cpu", "float32")
    assert (mini.limits.timeout, mini.limits.memory, mini.limits.threads) == (300, 4 * 2**30, 1)
    assert (paper.repetitions, paper.device, paper.dtype) == ((7,), "cuda", "bfloat16")
    assert (paper.limits.timeout, paper.limits.memory, paper.limits.threads) == (5400, 80 * 10**9, 8)


def test_choices_extends_and_needs(suites: tuple[Suite, Suite]) -> None:
    mini, paper = suites
    base = mini.entry("base").method
    assert base == Component(use="tiny", params={"level": 0.001, "noise": 0.5})
    assert paper.entry("base").method == Component(use="tiny", params={"level": 2, "noise": 0.5})
    assert mini.entry("stack").method == Component(use="tiny-on-top", params={"level": 1}, needs={"base": base})
    assert mini.entry("stack").task == Component(use="read-weight", params={"scale": 3})
    assert paper.entry("base").dataset == Component(use="tiny-data", params={"size": 64})
    assert base.where.endswith("example.yaml:12")


def test_defaults_are_for_entries_with_a_method(suites: tuple[Suite, Suite]) -> None:
    mini, paper = suites
    assert mini.entry("base").metrics == ("weight",)
    assert paper.entry("base").metrics == ("weight", "nowhere")
    assert paper.entry("inline").metrics == ("weight",)
    assert mini.entry("inline").dataset == Component(use="tiny-data")
    cited = mini.entry("cited")
    assert (cited.method, cited.task, cited.dataset, cited.metrics, cited.repetitions) == (None, None, None, (), ())
    assert mini.entry("base").repetitions == (0, 1, 2)
    assert (mini.entry("stack").repetitions, paper.entry("stack").repetitions) == ((4,), (5, 6))
    assert (mini.entry("base").label, cited.label, cited.group) == ("base", "Cited", "Theirs")


def test_rows_are_limited_to_their_profiles(suites: tuple[Suite, Suite]) -> None:
    mini, paper = suites
    assert [entry.name for entry in mini.entries] == ["cited", "base", "stack", "inline"]
    assert [entry.name for entry in paper.entries] == ["cited", "base", "stack", "inline", "large"]


def test_reported_values_keep_their_text(suites: tuple[Suite, Suite]) -> None:
    assert suites[0].entry("cited").reported == {
        "params": Reported(value=148e6, text="148M"),
        "fid": Reported(value=3.6, text="3.60"),
        "weight": Reported(value=None, text="not found"),
    }
    assert suites[0].entry("base").reported["weight"] == Reported(value=62500.0, text="62.5k")


@pytest.mark.parametrize(
    ("text", "number"),
    [("1.3B", 1.3e9), ("0.1G", 1e8), ("4.35M", 4350000), ("1.1k", 1100), ("2 T", 2e12), ("-3", -3), ("'82.10'", 82.1)],
)
def test_reported_numbers_are_exact(tmp_path: Path, text: str, number: float) -> None:
    suite = load_suite(write(tmp_path, EXAMPLE.replace("62.5k", text)))
    assert suite.entry("base").reported["weight"] == Reported(value=number, text=text.strip("'"))


def test_claims(suites: tuple[Suite, Suite]) -> None:
    mini, paper = suites
    everywhere, at_mini, at_paper = mini.claims
    assert [claim.name for claim in paper.claims] == ["everywhere", "at-mini", "at-paper"]
    assert everywhere.bound is not None
    assert (everywhere.kind, everywhere.entries, everywhere.profiles) == ("value", ("base",), ("mini", "paper"))
    assert (everywhere.bound.equals, everywhere.bound.tolerance, everywhere.min_seeds) == (-200, 1, 3)
    assert (at_mini.kind, at_mini.entries, at_mini.bound, at_mini.min_seeds) == ("ordering", ("base", "stack"), None, 2)
    assert at_paper.bound is not None
    assert (at_paper.kind, at_paper.entries, at_paper.bound.at_least) == ("ratio", ("large", "base"), 1)
    assert (at_paper.bound.equals, at_paper.bound.at_most) == (None, None)


def test_a_mean_is_of_what_each_row_measures_and_nothing_else_is(tmp_path: Path) -> None:
    mean = 'mean: {metric: "weight[*]", of: [base, stack], at_least: 1}'
    text = EXAMPLE.replace("value: {entry: base, metric: weight, equals: -200, tolerance: 0.5 %}", mean)
    with pytest.raises(DeclarationError, match=r"'base' does not measure 'weight\[\*\]'"):
        load_suite(write(tmp_path, text))
    plain = load_suite(write(tmp_path, text.replace("weight[*]", "weight"))).claims[0]
    assert (plain.kind, plain.metric, plain.entries) == ("mean", "weight", ("base", "stack"))
    with pytest.raises(DeclarationError, match="weight"):
        load_suite(
            write(tmp_path, EXAMPLE.replace("{entry: base, metric: weight,", '{entry: base, metric: "weight[*]",'))
        )


def test_a_correlation_has_two_metrics_three_rows_and_a_bound_between_its_ends(tmp_path: Path) -> None:
    def declared(said: str) -> str:
        return EXAMPLE.replace(
            "value: {entry: base, metric: weight, equals: -200, tolerance: 0.5 %}", f"correlation: {said}"
        )

    rows = "of: [base, stack, large]"
    for said, wrong in {
        "{metric: weight, against: params, of: [base, stack], at_most: 0}": "'of' of 'correlation' .* at least 3 items",
        f"{{metric: weight, against: weight, {rows}, at_most: 0}}": "'weight' always goes with itself",
        f"{{metric: weight, against: params, {rows}, at_most: -1.5}}": "between -1 and 1, not at -1.5",
        f"{{metric: weight, against: params, scale: loge, {rows}, at_most: 0}}": "did you mean 'log'",
        f"{{metric: weight, {rows}, at_most: 0}}": "needs the key 'against'",
    }.items():
        with pytest.raises(DeclarationError, match=wrong):
            load_suite(write(tmp_path, declared(said)))


def test_expected_verdicts(suites: tuple[Suite, Suite]) -> None:
    mini, paper = ([(claim.expect.verdict, claim.expect.because) for claim in suite.claims] for suite in suites)
    assert mini == [("reproduced", ""), ("contradicted", "of the noise"), ("not measured", "needs profile paper")]
    assert paper == [("reproduced", ""), ("not measured", "needs profile mini"), ("not measured", "no counter")]


def test_tables(suites: tuple[Suite, Suite]) -> None:
    (layout,) = suites[0].layouts
    assert (layout.name, layout.title, layout.rows, layout.note) == ("first", "First", ("*", "!large"), "A note")
    columns = [(column.label, column.metric, column.show, column.format) for column in layout.columns]
    assert columns == [("W", "weight", "measured", ".2f"), ("P", "params", "both", "si")]
    assert suites[0].title == "Everything that a suite can say"


def test_an_unknown_profile_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'paper'"):
        load_suite(write(tmp_path, EXAMPLE), "papr")


def test_a_broken_profile_does_not_hide_the_other(tmp_path: Path) -> None:
    path = write(tmp_path, EXAMPLE.replace("{size: 64}", "{sise: 64}"))
    assert load_suite(path, "mini").entries
    with pytest.raises(DeclarationError, match="has no parameter 'sise'; did you mean 'size'"):
        check_suite(path)


def test_needs_are_only_required_where_the_task_fits(tmp_path: Path) -> None:
    text = EXAMPLE.replace("needs: {base: high}, ", "").replace(
        "{extends: stack, needs: {base: base}}", "{extends: stack}"
    )
    with pytest.raises(DeclarationError, match=r"example\.yaml:15: method 'tiny-on-top' needs a 'base'"):
        load_suite(write(tmp_path, text))
    fitless = text.replace("task: {extends: read, with: {scale: 3}}", "task: {use: nothing}")
    assert load_suite(write(tmp_path, fitless)).entry("stack").method is not None


# The corpus: the first line of each file is `# line: fragment of the message`


def expected(path: Path) -> tuple[int, str]:
    line, _, fragment = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").partition(": ")
    return int(line), fragment


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_bad_suites_are_refused_in_one_sentence(path: Path) -> None:
    line, fragment = expected(path)
    with pytest.raises(DeclarationError) as caught:
        check_suite(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    assert fragment in message
    assert "\n" not in message
    assert len(message.removeprefix(str(path))) < 300


def test_the_corpus_covers_what_it_must() -> None:
    assert len(CORPUS) >= 50


def test_checking_imports_nothing_heavy() -> None:
    program = """
import sys
from pathlib import Path
import tests.bench.tiny
from retable.bench.declare.reader import check_suite
from retable.bench.errors import BenchError
refused = 0
for path in sys.argv[1:]:
    try:
        check_suite(path)
    except BenchError as error:
        assert error.exit_status == 2
        refused += "bad_suites" in path
print(refused, sorted({"torch", "numpy", "scipy", "pandas", "sklearn", "rich"} & set(sys.modules)))
"""
    files = [str(path) for path in [*CORPUS, *SHIPPED]]
    command = [sys.executable, "-c", program, *files]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == f"{len(CORPUS)} []", done.stdout + done.stderr


# Mutations


@st.composite
def mutations(draw: st.DrawFn, text: str) -> str:
    """A suite file with up to three lines deleted, doubled, moved, indented or given another's scalars."""
    lines = text.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        index, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        line, words = lines[index], lines[index].split()
        deed = draw(st.sampled_from(["delete", "double", "move", "indent", "swap", "replace", "erase"]))
        if deed == "delete" and len(lines) > 2:
            del lines[index]
        elif deed == "double":
            lines.insert(index, line)
        elif deed == "move":
            lines[index], lines[other] = lines[other], line
        elif deed == "indent":
            lines[index] = draw(st.sampled_from(["  " + line, line.lstrip(), "\t" + line, line[2:]]))
        elif deed == "swap" and words and lines[other].split():
            lines[index] = line.replace(draw(st.sampled_from(words)), draw(st.sampled_from(lines[other].split())), 1)
        elif deed == "replace" and words:
            odd = st.sampled_from(
                ["null", "[]", "{}", "true", "-1", "1e-3", "''", "*a", "&a", "!!int", "9" * 99, "{mini: 1}", "x: y"]
            )
            lines[index] = line.replace(draw(st.sampled_from(words)), draw(odd), 1)
        elif line:
            at = draw(st.integers(0, len(line) - 1))
            lines[index] = line[:at] + line[at + 1 :]
    return "\n".join(lines) + "\n"


def check_mutant(folder: Path, text: str, stem: str) -> None:
    message = None
    try:
        check_suite(write(folder, text, stem))
    except BenchError as error:
        message = str(error)
    assert message is None or (message.startswith(str(folder)) and "\n" not in message)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=mutations(EXAMPLE))
def test_mutants_of_the_example(tmp_path: Path, text: str) -> None:
    check_mutant(tmp_path, text, "example")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_mutants_of_what_ships(tmp_path: Path, path: Path, data: st.DataObject) -> None:
    text = path.read_text(encoding="utf-8")
    mutant = data.draw(mutations(text))
    assume(mutant != text)
    check_mutant(tmp_path, mutant, path.stem)
