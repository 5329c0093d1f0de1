"""Rank-order coding (eq. 14): a neuron fires once, and a later spike of an ensemble weighs less.

    V_i = sum over j in Q of r^order(j) w_ij,  Q the presynaptic neurons that have fired, 0 < r < 1

Three rules for what the equation does not say: neurons of one step share a rank, and a rank is the number of neurons of the
ensemble that fired in earlier steps; a neuron that never fires contributes nothing; where no output neuron reaches the
threshold, the largest potential decides. Of output neurons that fire in the same step the one with the larger potential wins.
"""

from __future__ import annotations

import torch
from torch import Tensor


def first_spikes(H_TNC: Tensor) -> Tensor:
    """H_TNC with the first spike of every neuron alone."""
    before_TNC = H_TNC.detach().cumsum(0) - H_TNC.detach()
    return H_TNC * (before_TNC == 0)


def order(H_TNC: Tensor) -> Tensor:
    """(T, N, 1): the rank that a spike has which is its neuron's first and comes at step t, in the ensemble of its node."""
    fired_TN1 = first_spikes(H_TNC.detach()).sum(-1, keepdim=True)
    return fired_TN1.cumsum(0) - fired_TN1


def rank_order(H_TNC: Tensor, penalty: float) -> Tensor:
    """What the next layer's weights meet at each step: r^order for a first spike, else 0. Gradients pass the spikes alone."""
    return first_spikes(H_TNC) * penalty ** order(H_TNC)


def decide(V_TNK: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Winner takes all: the class after each step, int64 (T, N), and the step of the decision counted from 1, (N,), T + 1 for none.

    The first output neuron to reach the threshold names the class from then on; until one does, the largest potential does.
    """
    T = len(V_TNK)
    largest_TN, class_TN = V_TNK.max(-1)
    fires_TN = largest_TN >= threshold
    step_TN = torch.arange(T, device=V_TNK.device)[:, None].expand_as(class_TN)
    at_N = step_TN.masked_fill(~fires_TN, T).amin(0)
    winner_1N = class_TN.gather(0, at_N.clamp(max=T - 1)[None])
    return torch.where(step_TN >= at_N, winner_1N, class_TN), at_N + 1
