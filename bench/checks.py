"""Checks: everything a gate looks at, one outcome each, and as the files that CI systems read (JUnit XML, Markdown, JSON)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from bench.errors import CONTRADICTED, OK, UNMEASURED
from bench.gate import Judgement, explain
from bench.report.escape import clean
from bench.report.escape import markdown as escape

Kind = Literal["claim", "rule", "frozen", "case"]
Outcome = Literal["passed", "failed", "unmeasured", "skipped"]
NOUNS = {"claim": "Claims", "rule": "Rules", "frozen": "Frozen numbers", "case": "Cases without a result"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """`name` is unique within its kind; `text` says what is held, `detail` what came out.

    unmeasured: it had to be measured and was not. skipped: nothing was to be measured here, for the reason in `detail`.
    """

    kind: Kind
    name: str
    outcome: Outcome
    text: str
    detail: str
    where: str = ""


def of_judgement(judged: Judgement) -> Check:
    """A claim as expected has passed, whatever its verdict; one that cannot be seen here, as expected, is skipped."""
    outcome: Outcome
    if judged.as_expected:
        outcome = "skipped" if judged.verdict == "not measured" else "passed"
    else:
        outcome = "unmeasured" if judged.verdict == "not measured" else "failed"
    claim = judged.claim
    return Check(
        kind="claim",
        name=claim.name,
        outcome=outcome,
        text=f"{claim.text} ({claim.source})",
        detail=f"{judged.verdict}: {explain(judged)}",
        where=claim.where,
    )


def of_case(line: str) -> Check:
    """A case without a result; `line` is `name: why`, as `bench.results.unmeasured` gives it."""
    name, _, why = line.partition(": ")
    return Check(kind="case", name=name, outcome="unmeasured", text="has a result", detail=why)


def status(checks: Sequence[Check]) -> int:
    """0 as expected; 1 something measured is not; 3 something had to be measured and was not."""
    outcomes = {check.outcome for check in checks}
    return CONTRADICTED if "failed" in outcomes else UNMEASURED if "unmeasured" in outcomes else OK


def counted(checks: Sequence[Check]) -> str:
    """`3 passed, 1 failed`, in a fixed order."""
    counts = Counter(check.outcome for check in checks)
    return ", ".join(f"{counts[word]} {word}" for word in get_args(Outcome) if counts[word]) or "nothing to check"


def to_json(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Plain data."""
    return [asdict(check) for check in checks]


def junit(suite: str, profile: str, checks: Sequence[Check]) -> str:
    """JUnit XML: a test suite a kind, a test case a check; failed is a failure, unmeasured an error."""
    from xml.etree import ElementTree as Xml

    words = {"failed": "failure", "unmeasured": "error", "skipped": "skipped"}
    root = Xml.Element("testsuites", {"name": f"bench gate {suite}", **_totals(checks)})
    for kind in NOUNS:
        chosen = [check for check in checks if check.kind == kind]
        if not chosen:
            continue
        group = Xml.SubElement(root, "testsuite", {"name": f"{suite}.{kind}", **_totals(chosen), "time": "0"})
        properties = Xml.SubElement(group, "properties")
        Xml.SubElement(properties, "property", name="profile", value=profile)
        for check in chosen:
            place = {} if not check.where else dict(zip(("file", "line"), check.where.rsplit(":", 1), strict=False))
            names = {"classname": f"{suite}.{kind}", "name": _xml(clean(check.name)), "time": "0"}
            case = Xml.SubElement(group, "testcase", {**names, **place})
            text = _xml(f"{check.text}\n{check.detail}")
            if check.outcome in words:
                sign = Xml.SubElement(case, words[check.outcome], message=_xml(clean(check.detail)))
                if check.outcome != "skipped":
                    sign.set("type", check.outcome)
                    sign.text = text
            else:
                Xml.SubElement(case, "system-out").text = text
    Xml.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{Xml.tostring(root, encoding="unicode")}\n'


def markdown(suite: str, profile: str, checks: Sequence[Check]) -> str:
    """A summary for a pull request: what needs a look in the open, the rest folded away."""
    marks = {"passed": "✅", "failed": "❌", "unmeasured": "⚠️", "skipped": "➖"}
    verdict = {OK: "as expected", CONTRADICTED: "not as expected", UNMEASURED: "not measured"}[status(checks)]
    lines = [f"### {escape(suite)} at {escape(profile)}: {verdict}", "", f"{counted(checks)}.", ""]
    for title, kinds in NOUNS.items():
        chosen = [check for check in checks if check.kind == title]
        loud = [check for check in chosen if check.outcome in ("failed", "unmeasured")]
        quiet = [check for check in chosen if check.outcome not in ("failed", "unmeasured")]
        for rows, folded in ((loud, False), (quiet, True)):
            if rows:
                head = f"{kinds}: {counted(rows)}"
                lines += [f"<details><summary>{head}</summary>", ""] if folded else [f"**{head}**", ""]
                lines += ["| | What is held | What came out |", "| --- | --- | --- |"]
                lines += [
                    f"| {marks[check.outcome]} | {escape(clean(f'{check.name}: {check.text}'))} | {escape(clean(check.detail))} |"
                    for check in rows
                ]
                lines += ["", "</details>", ""] if folded else [""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _totals(checks: Sequence[Check]) -> dict[str, str]:
    counts = Counter(check.outcome for check in checks)
    return {
        "tests": str(len(checks)),
        "failures": str(counts["failed"]),
        "errors": str(counts["unmeasured"]),
        "skipped": str(counts["skipped"]),
    }


def _xml(text: str) -> str:
    """Without what XML 1.0 cannot hold."""
    return "\n".join(clean(line) for line in text.split("\n")).translate({0xFFFE: "\ufffd", 0xFFFF: "\ufffd"})
