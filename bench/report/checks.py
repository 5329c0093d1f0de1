"""A gate's checks as the files that CI systems read: JUnit XML, Markdown, JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from retable.bench.errors import CONTRADICTED, OK, UNMEASURED
from retable.bench.judge.checks import NOUNS, Background, Check, counted, status, total
from retable.bench.report.escape import clean
from retable.bench.report.escape import markdown as escape


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


def markdown(suite: str, profile: str, checks: Sequence[Check], background: Background = Background()) -> str:  # noqa: B008
    """A summary for a pull request: what needs a look in the open and what is behind it, the rest folded away."""
    marks = {"passed": "✅", "failed": "❌", "unmeasured": "⚠️", "skipped": "➖"}
    verdict = {OK: "as expected", CONTRADICTED: "not as expected", UNMEASURED: "not measured"}[status(checks)]
    lines = [f"### {escape(suite)} at {escape(profile)}: {verdict}", "", f"{total(checks)}.", ""]
    for title, kinds in NOUNS.items():
        chosen = [check for check in checks if check.kind == title]
        loud = [check for check in chosen if check.outcome in ("failed", "unmeasured")]  # also those that are let pass
        quiet = [check for check in chosen if check.outcome not in ("failed", "unmeasured")]
        for rows, folded in ((loud, False), (quiet, True)):
            if rows:
                head = f"{kinds}: {counted(rows)}"
                lines += [f"<details><summary>{head}</summary>", ""] if folded else [f"**{head}**", ""]
                lines += ["| | What is held | What came out |", "| --- | --- | --- |"]
                lines += [
                    f"| {marks[check.outcome]} | {escape(clean(f'{check.name}{_tier(check)}: {check.text}'))} | {escape(clean(check.detail))} |"
                    for check in rows
                ]
                lines += ["", "</details>", ""] if folded else [""]
        if title == "frozen" and loud and background.lines():
            lines += ["**Why frozen numbers moved**", ""]
            lines += [f"- {escape(clean(line))}" for line in background.lines()] + [""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _tier(check: Check) -> str:
    return "" if check.tier == "critical" else f" ({check.tier})"


ANNOTATIONS = 10
"""So many of one kind GitHub shows of a step; the rest are counted in the last."""


def github(suite: str, checks: Sequence[Check], background: Background = Background()) -> str:  # noqa: B008
    """Workflow commands that GitHub shows at the lines of the suite's file: what stops the gate as errors, what it lets pass as
    warnings, and the outcome as a notice.
    """
    blocking = [check for check in checks if check.blocks]
    passed = [check for check in checks if check.outcome in ("failed", "unmeasured") and not check.blocks]
    lines = []
    for level, found in (("error", blocking), ("warning", passed)):
        lines += [_annotation(level, check) for check in found[:ANNOTATIONS]]
        if len(found) > ANNOTATIONS:
            more = f"{len(found) - ANNOTATIONS} more are in the step's summary"
            lines[-1] += _escaped(f" ({more})")
    told = "; ".join([total(checks), *background.lines()])
    return "\n".join([*lines, f"::notice title={_property(f'bench gate {suite}')}::{_escaped(told)}"])


def _annotation(level: str, check: Check) -> str:
    file, _, line = check.where.rpartition(":")
    place = f"file={_property(file)},line={line}," if file and line.isdigit() else ""
    title = f"{check.kind} {check.name}: {check.outcome}"
    return f"::{level} {place}title={_property(title)}::{_escaped(f'{check.text}. {check.detail}')}"


def _escaped(text: str) -> str:
    return clean(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


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
