"""Retable: the tables of papers, rebuilt, with a verdict for every claim.

`retable` is the one import name that an installation owns; `bench/` and `models/` of the repository are its packages
`retable.bench` and `retable.models`. A plug-in may say `from bench.registry import register` as the repository's folders
suggest, as long as its own project has no `bench`; `from retable import register` always works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retable import names

if TYPE_CHECKING:
    from retable.bench.record import Measurement as Measurement
    from retable.bench.registry import register as register
    from retable.bench.report.frame import Loaded as Loaded
    from retable.bench.report.frame import load as load

__version__ = "0.1.0"
_PUBLIC = {
    "Loaded": "retable.bench.report.frame",
    "Measurement": "retable.bench.record",
    "load": "retable.bench.report.frame",
    "register": "retable.bench.registry",
    "spikes": "retable.models.spiking.marks",
}
__all__ = ["Loaded", "Measurement", "__version__", "load", "register", "spikes"]

names.install()


def __getattr__(name: str) -> Any:
    """Public names, imported when they are first used."""
    from importlib import import_module

    if name not in _PUBLIC:
        raise AttributeError(f"module 'retable' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
