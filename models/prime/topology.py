"""Topology optimisation: random synapses that never change, and a learned score for each that says whether it is connected.

    W_eff = W scale M(|S|),   M keeps the |S| that are not below the k-th smallest, k = 1 + round((n - 1) sparsity)
    dL/dS = dL/dW_eff W scale sign(S), of every synapse, the masked ones too (straight through M)

One threshold a layer; ties with it are kept; `round` is to even. Layers map (N, ...) as torch's do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.common.operators import operator
from retable.models.prime.config import Array


def kept(scores: Tensor, sparsity: float) -> Tensor:
    """M(|S|), 0 or 1 in the scores' shape and dtype."""
    size = scores.abs()
    k = 1 + round((size.numel() - 1) * sparsity)
    flat = size.flatten()
    # torch takes kthvalue on CUDA for nondeterministic, because of the index that is not needed here
    smallest = flat.sort().values[k - 1] if flat.is_cuda else flat.kthvalue(k).values
    return (size >= smallest).to(scores.dtype)


@operator("topology")
def _topology(weight: Tensor, scores: Tensor, scale: float, sparsity: float) -> Tensor:
    """W scale M(|S|)."""
    return weight * scale * kept(scores, sparsity)


@_topology.register_fake
def _(weight: Tensor, scores: Tensor, scale: float, sparsity: float) -> Tensor:
    return torch.empty_like(weight)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    weight, scores, ctx.scale, ctx.sparsity = inputs
    ctx.save_for_backward(weight, scores)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
    weight, scores = ctx.saved_tensors
    needs_weight, needs_scores, *_ = ctx.needs_input_grad
    dweight = grad * ctx.scale * kept(scores, ctx.sparsity) if needs_weight else None
    return dweight, grad * weight * ctx.scale * scores.sign() if needs_scores else None, None, None


_topology.register_autograd(_differentiate, setup_context=_keep)


class Synapses(nn.Module):
    """What the three layers share: W (and, where the array is masked, S), a bias, and how they are read."""

    scores: nn.Parameter | None

    def __init__(self, array: Array, shape: tuple[int, ...], bias: int | None) -> None:
        super().__init__()
        self.array, self.read_noise = array, array.read_noise
        masked = array.kind != "weights"
        self.weight = nn.Parameter(torch.empty(shape), requires_grad=not masked)
        self.scores = nn.Parameter(torch.empty(shape), requires_grad=array.kind == "topology") if masked else None
        self.bias = None if bias is None else nn.Parameter(torch.empty(bias))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Conductances from a normal law; scores, trained weights and biases as torch starts its layers."""
        for tensor in (self.weight, self.scores):
            if tensor is not None:
                nn.init.kaiming_uniform_(tensor, a=math.sqrt(5))
        if self.array.kind != "weights":
            nn.init.normal_(self.weight, 0.0, self.array.sigma)
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())  # torch's fan-in, of transposed convolutions too
            nn.init.uniform_(self.bias, -bound, bound)

    def effective(self) -> Tensor:
        """W_eff as one read of the array gives it; the noise is drawn from torch's own generator, anew in every call."""
        W: Tensor = self.weight
        if self.read_noise:
            W = W + self.read_noise * torch.randn_like(W) * W
        if self.scores is None:
            return W
        connected: Tensor = _topology(W, self.scores, self.array.scale, self.array.sparsity)
        return connected

    def mask(self) -> Tensor:
        """Which synapses are connected, 0 or 1."""
        return torch.ones_like(self.weight) if self.scores is None else kept(self.scores, self.array.sparsity)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, {self.array.kind}, sparsity={self.array.sparsity}"


class Linear(Synapses):
    """(N, c_in) -> (N, c_out)."""

    def __init__(self, array: Array, c_in: int, c_out: int, bias: bool = True) -> None:
        super().__init__(array, (c_out, c_in), c_out if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.effective(), self.bias)


class Conv2d(Synapses):
    """(N, c_in, H, W) -> (N, c_out, H', W')."""

    def __init__(
        self, array: Array, c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__(array, (c_out, c_in, kernel, kernel), c_out if bias else None)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.effective(), self.bias, self.stride, self.padding)


class ConvTranspose2d(Synapses):
    """(N, c_in, H, W) -> (N, c_out, H', W'); with a stride of 2 the sides double."""

    def __init__(self, array: Array, c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(array, (c_in, c_out, kernel, kernel), c_out)
        self.stride, self.padding = stride, kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.effective(), self.bias, self.stride, self.padding, self.stride - 1)


@contextmanager
def reading(network: nn.Module, noise: float) -> Iterator[None]:
    """Inside the block every read of an array of `network` has this relative noise; its own comes back after it."""
    arrays = [module for module in network.modules() if isinstance(module, Synapses)]
    before = [array.read_noise for array in arrays]
    for array in arrays:
        array.read_noise = noise
    try:
        yield
    finally:
        for array, own in zip(arrays, before, strict=True):
            array.read_noise = own


def trained_or_scored(network: nn.Module) -> Iterator[nn.Parameter]:
    """All parameters but the conductances of masked arrays."""
    arrays = (module for module in network.modules() if isinstance(module, Synapses))
    conductances = {id(array.weight) for array in arrays if array.scores is not None}
    return (parameter for parameter in network.parameters() if id(parameter) not in conductances)
