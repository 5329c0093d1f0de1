"""`bench new`: a suite, or a component with a suite that puts it to work, as files that run as they are."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from retable.bench import registry
from retable.bench.declare.scalars import NAME
from retable.bench.errors import OK, BenchError
from retable.bench.report.files import write

TEMPLATES = Path(__file__).parent / "templates"
SMALL = (
    "{use: rsc-snn, with: {coding: direct, T: 4, plan: [8, A, 16, A], hidden: [], tau: 0.5, epochs: 3, batch_size: 64, "
    "lr: 1e-2}}"
)
TWIN = "{extends: spiking, with: {spiking: false}}"
DIGITS = "{use: digits, with: {size: 8}}"


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a suite puts to work, line by line of its template."""

    methods: tuple[str, ...] = (f"spiking: {SMALL}", f"twin: {TWIN}")
    rows: tuple[str, ...] = (
        "{name: spiking, label: Spiking network, method: spiking}",
        "{name: twin, label: Its ANN twin, method: twin}",
    )
    dataset: str = DIGITS
    task: str = "{use: classify}"
    metrics: str = '[accuracy, params, "energy_mj[full]"]'


def main(arguments: Namespace) -> int:
    """Write the files, none over another one, and say what to run."""
    kind, name = arguments.kind, arguments.name
    if not re.fullmatch(NAME.pattern, name):
        raise BenchError(f"{name!r} is no name for a {kind}: it must be {NAME.noun}")
    if kind != "suite" and name in registry.names(kind):
        raise BenchError(f"{kind} {name!r} is there already; take another name")
    folder = Path("suites") if Path("suites").is_dir() else Path()
    files = {folder / f"{name}.yaml": _suite(kind, name)}
    plugin = Path(f"{re.sub(r'[^a-z0-9]', '_', name)}.py")
    if kind != "suite":
        files[plugin] = _component(kind, name)
    if there := [path for path in files if path.exists()]:
        raise BenchError(f"{there[0]} is there already; nothing was written")
    for path, text in files.items():
        write(path, text)
    _tell([*files], kind, plugin, as_json=arguments.json)
    return OK


def _component(kind: str, name: str) -> str:
    text = (TEMPLATES / f"{kind}.py").read_text(encoding="utf-8")
    words = re.split(r"[^a-z0-9]+", name)
    own = "".join(word.capitalize() for word in words)
    return text.replace("my-name", name).replace("MyName", own if own[:1].isalpha() else f"My{own}")


def _suite(kind: str, name: str) -> str:
    work = {
        "suite": Work(),
        "method": Work(
            methods=(f"mine: {{use: {name}, with: {{sharpness: 4.0}}}}", f"spiking: {SMALL}"),
            rows=(
                f"{{name: mine, label: {name}, method: mine}}",
                "{name: spiking, label: A spiking network, method: spiking}",
            ),
        ),
        "dataset": Work(dataset=f"{{use: {name}, with: {{size: 8}}}}"),
        "metric": Work(metrics=f"[accuracy, {name}]"),
        "task": Work(task=f"{{use: {name}, with: {{shift: 1}}}}", metrics="[accuracy]"),
    }[kind]
    filled = {
        "METHODS": "\n".join(f"  {line}" for line in work.methods),
        "ROWS": "\n".join(f"  - {line}" for line in work.rows),
        "DATASET": work.dataset,
        "TASK": work.task,
        "METRICS": work.metrics,
        "TITLE": f"The {kind} {name}" if kind != "suite" else f"What {name} measures",
        "NAME": name,
    }
    text = (TEMPLATES / "suite.yaml").read_text(encoding="utf-8")
    return re.sub(r"\b[A-Z]{4,7}\b", lambda found: filled.get(found[0], found[0]), text)


def _tell(files: list[Path], kind: str, plugin: Path, *, as_json: bool) -> None:
    command = f"bench run {files[0]}" + (f" --plugin {plugin}" if kind != "suite" else "")
    if as_json:
        print(json.dumps({"files": [str(path) for path in files], "run": command}, indent=2))
        return
    print("\n".join(f"wrote {path}" for path in files))
    print(f"run it: {command}")
    if kind != "suite":
        print(f'or list it once in pyproject.toml: [tool.retable], plugins = ["{plugin}"]')
