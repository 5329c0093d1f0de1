"""Agreement: whether this machine computes the bits that others do: digests of operators and short fits, and known ones.

`digests.json` holds the digest of every calculation, the versions of the packages that computed them, and the types of
processors that were seen to agree with all of them. A fresh process computes, since portable numerics have to be settled
before a library is loaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retable.bench.errors import BenchError
from retable.bench.probes.hardware import not_portable, processor
from retable.bench.run.numerics import adjust, environment, establish

PACKAGES = ("torch", "numpy", "scipy", "numba")
KNOWN = Path(__file__).with_name("digests.json")
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What differs from the known digests, what has none, what could not be computed (with the reason), and where.

    `versions` are packages of another version than that of the digests, which promise nothing then.
    """

    processor: str
    compared: int
    differ: tuple[str, ...]
    unknown: tuple[str, ...]
    failed: Mapping[str, str]
    versions: tuple[str, ...]
    agreed: tuple[str, ...]

    @property
    def whole(self) -> bool:
        return not (self.differ or self.unknown or self.failed)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def compare(names: Iterable[str] = (), without: Iterable[str] = ()) -> Agreement:
    """Compute in a process of its own and compare; `names` are parts of names, all unless said.

    `without` leaves variables of portable numerics out, to show that the comparison sees it. Raises BenchError on a machine
    that has no portable numerics, or when the process dies.
    """
    return _agreement(*_computed(names, without))


def _agreement(found: Mapping[str, str], failed: Mapping[str, str]) -> Agreement:
    known = json.loads(KNOWN.read_text())
    return Agreement(
        processor=processor(),
        compared=len(found),
        differ=tuple(name for name, digest in found.items() if known["digests"].get(name, digest) != digest),
        unknown=tuple(name for name in found if name not in known["digests"]),
        failed=failed,
        versions=versions(),
        agreed=tuple(known["processors"]),
    )


def record() -> Agreement:
    """Compute everything and write it down as known; processors that agreed with other digests are forgotten."""
    known = json.loads(KNOWN.read_text()) if KNOWN.exists() else {"digests": {}, "processors": []}
    found, failed = _computed()
    if failed:
        name, reason = next(iter(failed.items()))
        raise BenchError(f"nothing is recorded, since {name} cannot be computed: {reason}")
    kept = known["processors"] if found == known["digests"] else []
    processors = sorted({*kept, processor()})
    content = {"packages": installed(), "processors": processors, "digests": dict(sorted(found.items()))}
    KNOWN.write_text(json.dumps(content, indent=1) + "\n")
    return _agreement(found, failed)


def render(found: Agreement) -> str:
    """The same for a person."""
    lines = [f"{name}: differs" for name in found.differ]
    lines += [f"{name}: no digest is known" for name in found.unknown]
    lines += [f"{name}: cannot be computed: {reason}" for name, reason in found.failed.items()]
    lines += [f"the digests are of other versions: {one}" for one in found.versions]
    state = "all agree" if found.whole else f"{len(found.differ)} differ"
    lines.append(f"{found.compared} calculations on {found.processor}: {state}")
    lines += ["types of processors that agreed", *(f"  {name}" for name in found.agreed)]
    return "\n".join(lines)


def versions() -> tuple[str, ...]:
    """The packages that are not of the digests' versions."""
    known = json.loads(KNOWN.read_text())["packages"]
    return tuple(f"{name} {here} instead of {known[name]}" for name, here in installed().items() if here != known[name])


def installed() -> dict[str, str]:
    """Versions of the packages that compute."""
    return {name: version(name) for name in PACKAGES}


def _computed(names: Iterable[str] = (), without: Iterable[str] = ()) -> tuple[dict[str, str], dict[str, str]]:
    """Digests by name, and reasons by name for what failed."""
    if why := not_portable():
        raise BenchError(f"there are no portable numerics to compare: {why}")
    left_out = tuple(without)
    variables = {name: value for name, value in environment("portable").items() if name not in left_out}
    command = [sys.executable, "-P", "-m", "retable.bench.run.agreement", json.dumps(list(names)), *left_out]
    path = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command,
        env={**variables, **THREADS, "PYTHONHASHSEED": "0", "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"the process that computes ended with exit status {done.returncode}")
    answer = json.loads(done.stdout)
    return answer["digests"], answer["failed"]


def main(arguments: list[str]) -> int:
    """In the fresh process: digests of the calculations whose names hold one of the parts, as JSON on stdout."""
    parts, unset = json.loads(arguments[0]), arguments[1:]
    if unset:
        adjust()
    else:
        establish("portable")
    import torch

    from retable.bench.run.operators import operators
    from retable.bench.run.short_fits import short_fits

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    digests, failed = {}, {}
    for name, calculation in {**operators(), **short_fits()}.items():
        if parts and not any(part in name for part in parts):
            continue
        try:
            digests[name] = digest(calculation())
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
    print(json.dumps({"digests": digests, "failed": failed}))
    return 0


def digest(values: Any) -> str:
    """SHA-256 of all bits, shapes and dtypes, in 32 hexadecimal digits."""
    whole = sha256()
    for part in _bytes(values):
        whole.update(part)
    return whole.hexdigest()[:32]


def _bytes(values: Any) -> Iterator[bytes]:
    import numpy as np
    import torch

    if isinstance(values, list | tuple):
        for value in values:
            yield from _bytes(value)
        return
    array = values.detach().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    yield f"{array.dtype}{array.shape}".encode()
    yield np.ascontiguousarray(array).tobytes()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
