"""Attest: a version as an in-toto statement: digests of its records, lock, code and claims, and how its claims came out.

The statement is a test-result (https://in-toto.io/attestation/test-result/v0.1) in an in-toto Statement v1, unsigned: whoever
publishes it signs it with the tool of their choice. Equal content gives equal bytes, so it can be made again and compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from retable.bench.declare import strict_yaml
from retable.bench.errors import BenchError
from retable.bench.record import digest

STATEMENT = "https://in-toto.io/Statement/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
FILE = "attestation.json"
"""Where a version keeps its own statement."""


def statement(suite: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The statement about a version's files, which are its subjects; `FILE` itself is none of them."""
    verdicts = json.loads(files["verdicts.json"])
    passed = [one["claim"] for one in verdicts if one["as_expected"]]
    open_ = [one["claim"] for one in verdicts if not one["as_expected"] and one["verdict"] == "not measured"]
    failed = [one["claim"] for one in verdicts if one["claim"] not in (*passed, *open_)]
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": name, "digest": {"sha256": sha256(content).hexdigest()}}
            for name, content in sorted(files.items())
            if name != FILE
        ],
        "predicateType": TEST_RESULT,
        "predicate": {
            "result": "FAILED" if failed else "WARNED" if open_ else "PASSED",
            "configuration": list(_configuration(suite, files)),
            "passedTests": passed,
            "warnedTests": open_,
            "failedTests": failed,
        },
    }


def damage(suite: str, files: Mapping[str, bytes]) -> list[str]:
    """One sentence for everything that a version's statement says and its files do not; nothing where it has none."""
    if FILE not in files:
        return []
    try:
        told = json.loads(files[FILE])
        found = statement(suite, files)
    except (ValueError, KeyError, TypeError, BenchError) as error:
        return [f"{FILE} cannot be compared with the files: {error}"]
    lines = []
    for what in ("_type", "predicateType"):
        if told.get(what) != found[what]:
            lines.append(f"{FILE} is not a test-result in an in-toto statement: its {what} is {told.get(what)!r}")
    lines += _differing("subject", told.get("subject"), found["subject"])
    predicate = told.get("predicate") or {}
    lines += _differing("configuration", predicate.get("configuration"), found["predicate"]["configuration"])
    for what in ("result", "passedTests", "warnedTests", "failedTests"):
        if predicate.get(what) != found["predicate"][what]:
            lines.append(f"{FILE} says another {what} than the verdicts")
    return lines


def _differing(what: str, told: Any, found: list[dict[str, Any]]) -> list[str]:
    claimed = {one.get("name"): one.get("digest") for one in told} if isinstance(told, list) else {}
    lines = []
    for one in found:
        if claimed.pop(one["name"], None) != one["digest"]:
            lines.append(f"{FILE} has another digest for the {what} {one['name']}")
    return [*lines, *(f"{FILE} has a {what} {name} that is not there" for name in claimed)]


def _configuration(suite: str, files: Mapping[str, bytes]) -> Iterable[dict[str, Any]]:
    """What the numbers rest on, as resource descriptors: declaration, claims, code, lock, commits."""
    declared = files.get(f"{suite}.yaml", b"")
    yield {"name": f"{suite}.yaml", "digest": {"sha256": sha256(declared).hexdigest()}}
    yield {"name": "claims", "digest": {"sha256": claims_digest(declared, suite)}}
    records = [json.loads(line) for line in files["records.jsonl"].decode().split("\n") if line]
    sources = sorted({source for record in records for source in _sources(record["ingredients"])})
    yield {"name": "code", "digest": {"sha256": digest(sources)}}
    machines = json.loads(files["environments.json"]).values()
    software = [machine.get("software", {}) for machine in machines]
    locks = {lock["digest"] for one in software if isinstance(lock := one.get("lock"), dict) and "digest" in lock}
    yield from ({"name": "requirements/lock.txt", "digest": {"sha256": lock}} for lock in sorted(locks)[:1])
    commits = {commit["id"] for one in software if isinstance(commit := one.get("commit"), dict) and "id" in commit}
    yield from ({"name": "commit", "digest": {"gitCommit": commit}} for commit in sorted(commits)[:1])


def claims_digest(declared: bytes, suite: str) -> str:
    """Of what the claims say, whatever stands beside them in the file and however it is written."""
    root = strict_yaml.loads(declared, f"{suite}.yaml").plain() if declared else {}
    return digest(root.get("claims") or [])


def _sources(ingredients: Mapping[str, Any]) -> Iterable[str]:
    """Digests of the code of every component of a record."""
    for name, value in ingredients.items():
        if isinstance(value, Mapping):
            yield from _sources(value)
        elif name == "source" and isinstance(value, str):
            yield value
