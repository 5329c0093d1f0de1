"""The names of the accounting rules, for whoever declares one; `rules` holds what they stand for."""

from __future__ import annotations

from typing import Literal

RuleName = Literal[
    "full",
    "literature",
    "literature-ac",
    "literature-once",
    "syops",
    "neurobench",
    "fsvae",
    "simple-memory",
    "lemaire",
    "lemaire-authors",
    "lemaire-piecewise",
    "neuromc",
    "neuromc-spikingjelly",
    "spikesim",
    "spikesim-event",
    "prime-macro",
    "loihi",
    "keras-spiking-cpu",
    "keras-spiking-gpu",
    "keras-spiking-arm",
    "keras-spiking-loihi",
    "keras-spiking-spinnaker",
    "keras-spiking-spinnaker2",
    "yan",
]
"""The rules with their usual options."""
