"""Tables and verdicts as plain data for `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from retable.bench.judge.history import digest
from retable.bench.judge.judgement import Judgement
from retable.bench.judge.predicate import predicate, statement
from retable.bench.report.table import Table


def tables_to_json(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Every cell with its value (null with a reason), the paper's value, and the keys of its records."""
    return [asdict(table) for table in tables]


def judgements_to_json(judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Claim, strength, predicate, verdict, expectation, reason, probability of coming again, estimate and the keys of the records it rests on."""
    return [
        {
            "claim": judged.claim.name,
            "text": judged.claim.text,
            "source": judged.claim.source,
            "strength": judged.claim.strength,
            "predicate": predicate(judged.claim),
            "weakens": judged.claim.weakens,
            "verdict": judged.verdict,
            "expected": str(judged.claim.expect),
            "as_expected": judged.as_expected,
            "reason": judged.reason,
            "comes_again": judged.again,
            "seeds_needed": judged.outlook.seeds if judged.outlook and not judged.settled else None,
            "elsewhere": judged.elsewhere,
            "digest": digest(statement(judged.claim)),
            "rules": [asdict(one) for one in judged.rules],
            "changed": asdict(judged.changed) if judged.changed else None,
            "estimate": asdict(judged.estimate) if judged.estimate else None,
            "evidence": list(judged.evidence),
        }
        for judged in judgements
    ]
