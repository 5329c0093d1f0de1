"""Every Eval Ever 0.3.0: a file a row of what was measured, and one of what the paper documents."""

from __future__ import annotations

import json
import math
from calendar import timegm
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from statistics import stdev
from time import strptime
from typing import Any
from uuid import UUID

from retable.bench.errors import BenchError
from retable.bench.judge import stats
from retable.bench.record import Measurement, Record, canonical
from retable.bench.suite import Component, Entry, Suite
from retable.bench.versions.versions import Version

SCHEMA = "0.3.0"
UNBOUNDED = "-Infinity", "Infinity"


def files(version: Version, suite: Suite) -> dict[str, str]:
    """JSON by path, as the format wants it: `data/BENCHMARK/DEVELOPER/MODEL/UUID.json`."""
    found: dict[str, str] = {}
    for entry in suite.entries:
        for kind, results in (("evaluation_run", _measured(entry, version)), ("documentation", _documented(entry))):
            if results:
                content = _file(version, suite, entry, kind, results)
                text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
                name = UUID(bytes=sha256(text.encode()).digest()[:16], version=4)
                found[f"data/{suite.name}/retable/{entry.name}/{name}.json"] = text
    return found


def problems(text: str) -> list[str]:
    """What the published schema finds wrong. Raises BenchError without jsonschema."""
    try:
        from jsonschema import Draft7Validator
    except ModuleNotFoundError as error:
        raise BenchError('the schema is checked by jsonschema: pip install "retable[exchange]"') from error
    found = Draft7Validator(_schema()).iter_errors(json.loads(text))
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


@cache
def _schema() -> dict[str, Any]:
    path = Path(__file__).parent / "schemas" / f"every-eval-ever-{SCHEMA}.json"
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


def _file(version: Version, suite: Suite, entry: Entry, kind: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    published = str(timegm(strptime(version.manifest["published"], "%Y-%m-%dT%H:%M:%SZ")))
    identity = f"retable/{suite.name}/{entry.name}"
    measured = kind == "evaluation_run"
    return {
        "schema_version": SCHEMA,
        "evaluation_id": f"{suite.name}/{entry.name}/{published}",
        "retrieved_timestamp": published,
        "source_metadata": {
            "source_name": suite.title if measured or not suite.paper else suite.paper,
            "source_type": kind,
            "source_organization_name": "Retable" if measured else suite.paper or suite.title,
            **(
                {"source_organization_url": f"https://arxiv.org/abs/{suite.arxiv}"}
                if suite.arxiv and not measured
                else {}
            ),
            "evaluator_relationship": "third_party" if measured else "other",
            "additional_details": {"version": str(version.name), "profile": version.profile},
        },
        "eval_library": {"name": "retable", "version": str(version.manifest["bench"])},
        "model_info": {
            "name": entry.label,
            "id": identity,
            "additional_details": {
                "deployment_type": "self_deployed" if measured else "unknown",
                "model_availability": "unknown",
                **({"method": _told(entry.method)} if entry.method else {}),
            },
        },
        "evaluation_results": results,
    }


def _measured(entry: Entry, version: Version) -> list[dict[str, Any]]:
    records = [version.results[entry.name, n] for n in entry.repetitions if (entry.name, n) in version.results]
    metrics = dict.fromkeys(name for record in records for name in record.metrics)
    return [result for metric in metrics for result in _result(metric, entry, records)]


def _result(metric: str, entry: Entry, records: list[Record]) -> Iterator[dict[str, Any]]:
    """Mean over seeds with its uncertainty; nothing where no seed has a number."""
    found = [(record, record.metrics[metric]) for record in records if metric in record.metrics]
    pairs = [(record, one) for record, one in found if one.value is not None]
    if not pairs:
        return
    values = [one.value for _, one in pairs if one.value is not None]
    details = {f"seed {record.seed}": repr(one.value) for record, one in pairs}
    details |= {f"record of seed {record.seed}": record.key for record, _ in pairs}
    yield {
        "evaluation_name": f"{entry.task.use if entry.task else entry.name}: {metric}",
        "source_data": _data(entry),
        "evaluation_timestamp": max(record.created for record, _ in pairs),
        "metric_config": _metric(metric, pairs[0][1]),
        "score_details": {"score": sum(values) / len(values), "details": details, **_uncertainty(pairs[0][1], values)},
    }


def _uncertainty(measured: Measurement, values: list[float]) -> dict[str, Any]:
    """Between seeds; `num_samples` is how many seeds."""
    if len(values) < 2 or measured.exact:
        return {}
    try:
        limits = stats.interval(values)
    except ValueError:
        return {}
    spread = stdev(values)
    error = {"value": spread / math.sqrt(len(values)), "method": "analytic, between seeds"}
    found: dict[str, Any] = {"standard_error": error, "standard_deviation": spread, "num_samples": len(values)}
    if limits.low is not None and limits.high is not None:
        found["confidence_interval"] = {
            "lower": limits.low,
            "upper": limits.high,
            "confidence_level": 1 - 2 * stats.ALPHA,
            "method": "Student's t over seeds",
        }
    return {"uncertainty": found}


def _documented(entry: Entry) -> list[dict[str, Any]]:
    from retable.bench.declare.params import build_metric

    results = []
    for metric, reported in entry.reported.items():
        if reported.value is None:
            continue
        component = type(build_metric(metric))
        meaning = Measurement(value=reported.value, unit=component.UNIT, direction=component.DIRECTION)
        results.append(
            {
                "evaluation_name": metric,
                "source_data": _data(entry),
                "metric_config": _metric(metric, meaning),
                "score_details": {"score": reported.value, "details": {"as printed": reported.text}},
            }
        )
    return results


def _metric(metric: str, measured: Measurement) -> dict[str, Any]:
    low, high = (0, 100) if measured.unit == "%" else UNBOUNDED
    return {
        "metric_id": metric,
        "metric_name": metric,
        **({"metric_unit": measured.unit} if measured.unit else {}),
        "lower_is_better": measured.direction == "lower",
        "score_type": "continuous",
        "min_score": low,
        "max_score": high,
        "additional_details": {"version": measured.version, "direction": measured.direction},
    }


def _data(entry: Entry) -> dict[str, Any]:
    if entry.dataset is None:
        return {"dataset_name": "not told by the suite", "source_type": "other"}
    details = {"parameters": canonical(entry.dataset.params)}
    return {"dataset_name": entry.dataset.use, "source_type": "other", "additional_details": details}


def _told(component: Component) -> str:
    return f"{component.use} {canonical(component.params)}"
