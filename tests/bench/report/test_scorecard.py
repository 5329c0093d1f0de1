"""The scorecard answers a reviewer's three questions by itself, in every form: numbers, directions, contradictions."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from pathlib import Path

import pytest

from retable.bench.cli.main import main
from retable.bench.judge.claims import judge
from retable.bench.judge.history import Change
from retable.bench.judge.judgement import UnderRule
from retable.bench.report import claims as all_claims
from retable.bench.report.chapter import Chapter
from retable.bench.report.scorecard import Line, markdown, render
from retable.bench.report.site.pages import index_page
from retable.bench.suite import Claim, Erratum
from tests.bench.judge.test_claims import bounded, ordering, results, suite

PROJECT = Path(__file__).parents[3]
README = PROJECT / "README.md"


def four_claims() -> tuple[Claim, ...]:
    return (
        replace(bounded("ratio", "b", "a", equals=2.0, tolerance=0.1), name="as-printed", text="B is twice A."),
        replace(bounded("ratio", "c", "a", equals=12.9, tolerance=0.05), name="not-so", text="C is 12.9 times A."),
        replace(ordering("a", "c"), name="only-up", text="C is above A.", weakens="not-so", because="small"),
        replace(bounded("value", "a", equals=1.0, tolerance=0.1), name="elsewhere", text="Open.", profiles=("paper",)),
    )


@pytest.fixture
def line() -> Line:
    made = replace(suite(*four_claims()), name="made", paper="A paper")
    found = results(a=[1.0, 1.01, 0.99], b=[2.0, 2.01, 1.99], c=[8.8, 8.81, 8.79])
    return Line(suite=made, judgements=tuple(judge(made, found)), source="v1")


def page(line: Line) -> str:
    return index_page(
        [Chapter(suite=line.suite, tables=(), judgements=line.judgements, plots=(), records={}, environments={})]
    )


@pytest.mark.parametrize("form", [render, lambda lines: markdown(lines), lambda lines: page(*lines)])
def test_a_reviewers_questions_are_answered_on_the_front_page(line: Line, form: object) -> None:
    text = form([line])  # type: ignore[operator]
    numbers = text.split("numbers of the paper")[1].split("exact properties")[0]
    directions = text.split("only in direction")[1].split("Contradicted here")[0]
    contradicted = text.split("Contradicted here")[1]
    assert "B is twice A" in numbers
    assert "C is above A" not in numbers
    assert "C is above A" in directions
    assert "is contradicted here: ratio 8.8" in directions
    assert "C is 12.9 times A" in contradicted.split("C is above A.")[0]


@pytest.mark.parametrize("form", [render, markdown, lambda lines: page(*lines)])
def test_a_papers_energy_claims_stand_on_the_front_page_by_rule(line: Line, form: object) -> None:
    asked = replace(
        line.judgements[2],
        rules=(
            UnderRule(rule="literature", verdict="reproduced", reason=""),
            UnderRule(rule="lemaire", verdict="contradicted", reason="", twin=True),
            UnderRule(rule="loihi", verdict="not measured", reason="", measured=False),
        ),
    )
    text = html.unescape(form([replace(line, judgements=(*line.judgements[:2], asked, line.judgements[3]))]))  # type: ignore[operator]
    told = "a < c: holds under 1 of 2 rules (literature); fails under lemaire*; not measured under loihi"
    assert told in text.replace("\\*", "*")
    assert "1 of 2; fails under lemaire" in text.split("Energy claims by rule")[0]


def test_a_readme_tells_what_was_found_of_numbers_and_contradictions_and_names_the_rest(line: Line) -> None:
    exact = replace(line.judgements[0].claim, name="exactly-two", text="Twice, exactly.", stated="property")
    exactly = replace(line.judgements[0], claim=exact)
    text = markdown([replace(line, judgements=(*line.judgements, exactly))])
    assert "- `made`: B is twice A: ratio 2 in" in text
    assert "- `made`: C is 12.9 times A: ratio 8.8 in" in text
    assert "`exactly-two`" in text
    assert "Twice, exactly." not in text
    assert "Table" not in text  # sources are in the table of all claims


def test_strengths_are_counted_apart(line: Line) -> None:
    row = next(text for text in markdown([line]).splitlines() if text.startswith("| made"))
    assert [cell.strip() for cell in row.split("|")[2:5]] == ["1 / 1 / 1", "", "1 / 0 / 0"]


def test_errata_stand_beside_a_paper(line: Line) -> None:
    wrong = Erratum(sentence="The stem is counted as an accumulate.", source="released sheet")
    told = replace(line.suite, errata=(wrong,))
    text = render([replace(line, suite=told)])
    assert "made: The stem is counted as an accumulate." in text
    assert "The stem is counted as an accumulate." in page(replace(line, suite=told))


def test_bench_list_tells_every_claim_with_its_predicate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "table_stfn.yaml").write_bytes((PROJECT / "suites" / "table_stfn.yaml").read_bytes())
    assert main(["list", str(tmp_path), "--claims", "--json", "--results", str(PROJECT / "results")]) == 0
    found = {row["claim"]: row for row in json.loads(capsys.readouterr().out)}
    nonzero = found["cheaper-nonzero"]
    assert (nonzero["strength"], nonzero["said"]) == ("direction", "direction contradicted")
    assert nonzero["predicate"] == "graph_energy_mj[nonzero]: cora-gc-snn < cora-gcn"
    assert nonzero["source"].startswith("Abstract")
    assert nonzero["comes_again"] > 0.95


def test_the_table_of_all_claims_says_how_many_changed_and_why(line: Line) -> None:
    one, other, *rest = line.judgements
    said = "B is twice A. [score of b / of a = 2 ± 0.1{}; 3 seeds at least; at mini]"
    revised = replace(one.claim, revised="any row met it")
    changed = replace(one, claim=revised, changed=Change(before=said.format(""), now=said.format("; not of c")))
    added = replace(other, changed=Change(before=None, now="anything"))
    text = all_claims.markdown([replace(line, judgements=(changed, added, *rest))])
    rows = [row for row in text.splitlines() if row.startswith("| `")]
    assert [row.count(" | ") for row in rows] == [4] * 4
    assert "only-up` | C is above A. (s) | direction: score: a &lt; c, weaker than not-so: small | direction" in rows[2]
    assert "- as-printed: changed after its first result (control); it said: B is twice A." in text
    assert "Why: any row met it." in text
    counts = "1 claims changed after their first result (1 in their control), 1 were added after it; why is said of 1."
    assert text.splitlines()[-1] == counts


def test_the_readme_has_the_scorecard_of_the_newest_versions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make scorecard` writes it there."""
    monkeypatch.chdir(PROJECT)
    assert main(["list", "--verdicts", "--markdown"]) == 0
    assert capsys.readouterr().out.strip() in README.read_text(encoding="utf-8")
