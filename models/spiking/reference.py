"""The neurons' definition in plain torch, forward and backward, for any device and floating-point dtype.

    charge   h_t = v_{t-1} + k (x_t - (v_{t-1} - v_r))        decay_input
             h_t = v_{t-1} - k (v_{t-1} - v_r) + x_t          otherwise; k = 1 / tau, 0 for IF; v_r = 0 for a soft reset
    fire     s_t = [h_t >= th]                                strict: [h_t > th]
             s_t = round(clip(h_t / th, 0, levels))           I-LIF, half to even (arXiv 2407.20708)
    reset    v_t = v_r where s_t, else h_t                    hard
             v_t = h_t - s_t th                               soft

Backward: d s / d h is the surrogate's derivative at h - th, for I-LIF 1 / th where 0 <= h / th <= levels; with
`detach_reset` the s of the reset carries no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from retable.models.spiking.surrogates import DERIVATIVES

LEAK = 0.25
"""Of the elastic neuron: u_t = 0.25 u_{t-1} (alpha_{t-1} - s_{t-1}) + x_t (arXiv 2406.03287, released code)."""
LEAST_ALPHA = 1e-5


@dataclass(frozen=True)
class Neuron:
    """What an integrate-and-fire neuron is, but for its k; `str` writes it for an operator's argument, `parse` reads it."""

    threshold: float
    v_reset: float | None
    decay_input: bool
    strict: bool
    levels: int
    detach_reset: bool
    surrogate: str
    alpha: float

    def __str__(self) -> str:
        numbers = f"{self.threshold} {self.v_reset} {self.decay_input} {self.strict} {self.levels} {self.detach_reset}"
        return f"{numbers} {self.surrogate} {self.alpha}"

    def charge(self, v: Tensor, x: Tensor, k: Tensor) -> Tensor:
        """h_t."""
        off = v - (self.v_reset or 0.0)
        return v + (x - off) * k if self.decay_input else v - off * k + x

    def fire(self, h: Tensor) -> Tensor:
        """s_t; NaN where h is."""
        if self.levels:
            return (h / self.threshold).clamp(0, self.levels).round()
        s = (h > self.threshold if self.strict else h >= self.threshold).to(h.dtype)
        return torch.where(h.isnan(), h, s)

    def reset(self, h: Tensor, s: Tensor) -> Tensor:
        """v_t."""
        return h - s * self.threshold if self.v_reset is None else torch.where(s > 0, self.v_reset, h)

    def derivative(self, h: Tensor) -> Tensor:
        """d s_t / d h_t."""
        if self.levels:
            scaled = h / self.threshold
            return ((scaled >= 0) & (scaled <= self.levels)).to(h.dtype) / self.threshold
        return DERIVATIVES[self.surrogate](h - self.threshold, self.alpha)

    def reset_derivative(self, h: Tensor, s: Tensor, ds: Tensor) -> Tensor:
        """d v_t / d h_t."""
        direct = torch.ones_like(h) if self.v_reset is None else 1 - (s > 0).to(h.dtype)
        if self.detach_reset:
            return direct
        return direct - ds * self.threshold if self.v_reset is None else direct + ds * (self.v_reset - h)


@cache
def parse(text: str) -> Neuron:
    """The neuron that `str` wrote."""
    threshold, v_reset, decay_input, strict, levels, detach_reset, surrogate, alpha = text.split()
    decay, above, detach = (value == "True" for value in (decay_input, strict, detach_reset))
    rest = None if v_reset == "None" else float(v_reset)
    return Neuron(float(threshold), rest, decay, above, int(levels), detach, surrogate, float(alpha))


def forward(neuron: Neuron, x: Tensor, v: Tensor, k: Tensor, potentials: int) -> tuple[Tensor, Tensor]:
    """Spikes (T, ...) and potentials after the reset: all T, the last as (1, ...), or none of them as (0, ...).

    `v` (1, ...) is the potential before the first step, (0, ...) for neurons at rest.
    """
    spikes = torch.empty_like(x)
    v_seq = x.new_empty(potentials, *x.shape[1:])
    v = first_potential(neuron, x, v)
    for t, x_t in enumerate(x.unbind()):
        h = neuron.charge(v, x_t, k)
        spikes[t] = s = neuron.fire(h)
        v = neuron.reset(h, s)
        if potentials:
            v_seq[min(t, potentials - 1)] = v
    return spikes, v_seq


def first_potential(neuron: Neuron, x: Tensor, v: Tensor) -> Tensor:
    """(...), from the state handed in or the neuron's rest."""
    return v[0] if len(v) else x.new_full(x.shape[1:], neuron.v_reset or 0.0)


def backward(
    neuron: Neuron, x: Tensor, v: Tensor, k: Tensor, grad_s: Tensor, grad_v: Tensor, need_k: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, of v as it is and of k (0 unless needed), from those of the spikes and of the potentials.

    Both are (T, ...), or (0, ...) where there are none; grad_v also (1, ...), of the last potential.
    """
    before, charged = [first_potential(neuron, x, v)], []
    for x_t in x.unbind():
        h = neuron.charge(before[-1], x_t, k)
        charged.append(h)
        before.append(neuron.reset(h, neuron.fire(h)))
    T = len(x)
    dx, dk = torch.empty_like(x), torch.zeros_like(k)
    dv = torch.zeros_like(x[0])
    for t in reversed(range(T)):
        if len(grad_v) == T or (len(grad_v) == 1 and t == T - 1):
            dv = dv + grad_v[t % len(grad_v)]
        h = charged[t]
        ds = neuron.derivative(h)
        dh = dv * neuron.reset_derivative(h, neuron.fire(h), ds)
        if len(grad_s):
            dh = dh + grad_s[t] * ds
        dx[t] = dh * k if neuron.decay_input else dh
        if need_k:
            off = before[t] - (neuron.v_reset or 0.0)
            dk = dk + (dh * (x[t] - off if neuron.decay_input else -off)).sum()
        dv = dh * (1 - k)
    return dx, dv[None][: len(v)].clone(), dk


def elastic_forward(x: Tensor, alpha: Tensor, binary: bool, whole_u: bool) -> tuple[Tensor, Tensor]:
    """Spikes (T, ...) and the potentials before the reset, (T, ...) or none of them."""
    spikes = torch.empty_like(x)
    u_seq = torch.empty_like(x if whole_u else x[:0])
    for t, (u, s) in enumerate(_elastic_steps(x, alpha, binary)):
        spikes[t] = s
        if whole_u:
            u_seq[t] = u
    return spikes, u_seq


def elastic_backward(x: Tensor, alpha: Tensor, grad: Tensor, binary: bool) -> tuple[Tensor, Tensor]:
    """Gradients of x and alpha; s and alpha of the recursion carry none, alpha's is divided by sqrt(numel)."""
    steps = list(_elastic_steps(x, alpha, binary))
    dx, dalpha = torch.empty_like(x), torch.empty_like(alpha)
    du = torch.zeros_like(x[0])
    for t in reversed(range(len(x))):
        u, s = steps[t]
        a = alpha[t].clamp(min=LEAST_ALPHA)
        q = u / a
        inside = (q >= -1) & (q <= 1)
        du = du * (LEAK * (a - s)) + grad[t] * inside.to(u.dtype)
        dx[t] = du
        slope = u.sign() if binary else torch.where(inside, q.round() - q, u.sign())
        dalpha[t] = (grad[t] * slope).sum() / max(1, u.numel()) ** 0.5
    return dx, dalpha


def _elastic_steps(x: Tensor, alpha: Tensor, binary: bool) -> list[tuple[Tensor, Tensor]]:
    """(u_t, s_t) of every step."""
    steps: list[tuple[Tensor, Tensor]] = []
    for t, x_t in enumerate(x.unbind()):
        u = x_t
        if steps:
            before, s = steps[-1]
            u = LEAK * before * (alpha[t - 1].clamp(min=LEAST_ALPHA) - s) + x_t
        a = alpha[t].clamp(min=LEAST_ALPHA)
        s = u.sign() * a if binary else (u / a).round().clamp(-1, 1) * a
        steps.append((u, torch.where(u.isnan(), u, s)))
    return steps
