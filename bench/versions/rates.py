"""Rates: how often each layer fires at each time step, from what an evaluation's accountant left (`account.json`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from retable.bench.errors import StoreError
from retable.bench.record import Record
from retable.bench.versions.samples import Read

FILE = "rates.json"
ACCOUNT = "account.json"
DIGITS = 4
Rates = Mapping[str, Mapping[str, list[float]]]
"""By row and layer, in the order in which they fire: spikes a neuron, step by step. One seed: the first that counted."""


def rates(records: Iterable[Record], read: Read) -> dict[str, dict[str, list[float]]]:
    """The rates of every row whose account can be read and has neurons."""
    found: dict[str, dict[str, list[float]]] = {}
    for record in sorted(records, key=lambda record: record.repetition):
        if record.entry in found or ACCOUNT not in record.artefacts:
            continue
        with suppress(StoreError, ValueError, KeyError, TypeError):
            if layers := _layers(json.loads(read(record.artefacts[ACCOUNT]))):
                found[record.entry] = layers
    return found


def _layers(account: Mapping[str, Any]) -> dict[str, list[float]]:
    """A neuron that took one step has no list of its own, and its mean is that step's."""
    return {
        str(row["layer"]): [round(float(rate), DIGITS) for rate in row["rate_by_step"] or [row["rate"]]]
        for row in account["neurons"]
    }


def read_rates(content: bytes) -> dict[str, dict[str, list[float]]]:
    """What a version holds of them. Raises ValueError, TypeError or AttributeError for anything else."""
    raw = json.loads(content)
    return {
        str(row): {str(layer): [float(rate) for rate in steps] for layer, steps in layers.items()}
        for row, layers in raw.items()
    }
