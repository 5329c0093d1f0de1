"""Probes: what is observed of the machine and of a running stage; what cannot be observed is absent with a reason."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def environment() -> dict[str, Any]:
    """Hardware and software of this machine, observed once a process; the same facts on every run until they change."""
    from retable.bench.probes.hardware import hardware
    from retable.bench.probes.software import software

    return {"hardware": hardware(), "software": software()}


def absent(reason: str) -> dict[str, str]:
    """The stand-in for a fact that could not be observed."""
    return {"absent": reason}
