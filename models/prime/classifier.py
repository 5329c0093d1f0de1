"""The classifier with the preparation of its input: counts of events, grouped into T steps, neither binarised nor normalised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from torch import nn

from retable.models.prime.network import Network
from retable.models.prime.topology import reading, trained_or_scored
from retable.models.vision.classifier import Classifier


class PrimeClassifier(Classifier):
    """Its logits are the readout's potentials."""

    network: Network

    def __init__(self, network: Network, T: int) -> None:
        super().__init__(network, network.in_shape[0], T)

    def reading(self, noise: float) -> AbstractContextManager[None]:
        """Inside the block every read of the arrays has this relative noise, drawn from torch's own generator."""
        return reading(self.network, noise)

    def parameters_counted(self) -> Iterator[nn.Parameter]:
        """One number a synapse: the score of a masked one, whose conductance nobody chose."""
        return trained_or_scored(self.network)
