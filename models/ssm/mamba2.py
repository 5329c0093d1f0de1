"""The Mamba-2 mixer (arXiv 2405.21060, section 7), with the parameter names and shapes of the official checkpoints.

z | xBC | dt = W_in u                                   in_proj
x | B | C    = silu(causal_conv(xBC))                   conv1d, width 4
y            = SSD(x, dt, A = -exp(A_log), B, C) + D x  dt = clamp(softplus(dt + dt_bias))
out          = W_out RMSNorm(y * silu(z))               norm, out_proj: gate first, then norm
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.common.precision import compute_dtype
from retable.models.common.shapes import check_shape
from retable.models.ssm import conv
from retable.models.ssm.linear import few_row_linear
from retable.models.ssm.norm import RMSNormGated
from retable.models.ssm.ssd import NO_LIMIT, ssd_scan, ssd_step


@dataclass
class Cache:
    """What decoding keeps of one mixer; the two states are updated in place.

    The projections are those of the mixer when the cache was made (see `few_row_linear`): changed weights need a new
    cache.
    """

    conv_state: Tensor
    """The last d_conv inputs of the convolution, (B, C, d_conv)."""
    ssm_state: Tensor
    """(B, H, P, N); for Mamba-1 (B, D, N)."""
    in_proj: Callable[[Tensor], Tensor]
    out_proj: Callable[[Tensor], Tensor]


def new_cache(mixer: Any, batch: int, state_shape: tuple[int, ...], dtype: Any, device: Any) -> Cache:
    """The zero cache before the first token; in the weights' dtype and on their device by default."""
    weight = mixer.in_proj.weight
    where = {"dtype": dtype or weight.dtype, "device": device or weight.device}
    return Cache(
        conv_state=conv.conv_state(batch, *mixer.conv1d.weight.shape[::2], **where),
        ssm_state=torch.zeros(batch, *state_shape, **where),
        in_proj=few_row_linear(mixer.in_proj.weight, mixer.in_proj.bias, batch),
        out_proj=few_row_linear(mixer.out_proj.weight, mixer.out_proj.bias, batch),
    )


class Mamba2(nn.Module):
    """u (B, L, d_model) -> (B, L, d_model); H = expand d_model / headdim heads, each with a state headdim x d_state."""

    def __init__(
        self,
        d_model: int,
        d_state: int = 128,
        d_conv: int = 4,
        conv_init: float | None = None,
        expand: int = 2,
        headdim: int = 64,
        d_ssm: int | None = None,
        ngroups: int = 1,
        A_init_range: Sequence[float] = (1, 16),
        D_has_hdim: bool = False,
        rmsnorm: bool = True,
        norm_before_gate: bool = False,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init_floor: float = 1e-4,
        dt_limit: Sequence[float] = NO_LIMIT,
        bias: bool = False,
        conv_bias: bool = True,
        chunk_size: int = 256,
        use_mem_eff_path: bool = True,
        layer_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Arguments and defaults as in the official module; `use_mem_eff_path` and `layer_idx` change nothing here."""
        super().__init__()
        where = {"device": device, "dtype": dtype}
        self.d_model, self.d_state, self.headdim, self.ngroups = d_model, d_state, headdim, ngroups
        self.d_inner = expand * d_model
        if d_ssm not in (None, self.d_inner):
            raise ValueError(f"d_ssm = {d_ssm}: only the whole inner width {self.d_inner} is implemented")
        if self.d_inner % headdim or (self.d_inner // headdim) % ngroups:
            raise ValueError(f"headdim {headdim} and ngroups {ngroups} do not divide the inner width {self.d_inner}")
        if len(dt_limit) != 2:
            raise ValueError(f"dt_limit must be a pair, not {dt_limit}")
        self.nheads = self.d_inner // headdim
        self.dt_limit = (float(dt_limit[0]), float(dt_limit[1]))
        self.chunk_size, self.D_has_hdim = chunk_size, D_has_hdim
        d_xBC = self.d_inner + 2 * ngroups * d_state
        self.in_proj = nn.Linear(d_model, self.d_inner + d_xBC + self.nheads, bias=bias, **where)
        self.conv1d = nn.Conv1d(d_xBC, d_xBC, d_conv, groups=d_xBC, padding=d_conv - 1, bias=conv_bias, **where)
        self.dt_bias = nn.Parameter(initial_dt_bias(self.nheads, dt_min, dt_max, dt_init_floor, device).to(dtype))
        A = torch.empty(self.nheads, device=device).uniform_(*A_init_range)
        self.A_log = nn.Parameter(A.log().to(dtype))
        self.D = nn.Parameter(torch.ones(self.d_inner if D_has_hdim else self.nheads, **where))
        self.norm = (
            RMSNormGated(self.d_inner, group_size=self.d_inner // ngroups, norm_before_gate=norm_before_gate, **where)
            if rmsnorm
            else None
        )
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias, **where)
        if conv_init is not None:
            nn.init.uniform_(self.conv1d.weight, -conv_init, conv_init)

    def forward(self, u_BLD: Tensor) -> Tensor:
        """The whole sequence at once."""
        return self._sequence(u_BLD, None)

    def empty_cache(self, batch: int, dtype: Any = None, device: Any = None) -> Cache:
        """The zero cache before the first token; in the weights' dtype and on their device by default."""
        return new_cache(self, batch, (self.nheads, self.headdim, self.d_state), dtype, device)

    def prefill(self, u_BLD: Tensor, cache: Cache) -> Tensor:
        """The output of a prompt from the start of a sequence; `cache` is overwritten with the state after it."""
        return self._sequence(u_BLD, cache)

    @torch.no_grad()
    def step(self, u_BD: Tensor, cache: Cache) -> Tensor:
        """The output of the next token, (B, d_model); `cache` moves on in place. Without gradient."""
        check_shape("u", u_BD, cache.ssm_state.shape[0], self.d_model)
        z, xBC, dt = self._split(cache.in_proj(u_BD))
        xBC = conv.causal_conv1d_step(xBC, cache.conv_state, self.conv1d.weight.squeeze(1), self.conv1d.bias)
        x, B, C = self._heads(F.silu(xBC))
        options = self._scan_options(z)
        y = ssd_step(cache.ssm_state, x, dt, negative_exp(self.A_log), B, C, **options).flatten(-2)
        return cache.out_proj(y if self.norm is None else self.norm(y, z))

    def _sequence(self, u_BLD: Tensor, cache: Cache | None) -> Tensor:
        check_shape("u", u_BLD, *u_BLD.shape[:2], self.d_model)
        z, xBC, dt = self._split(self.in_proj(u_BLD))
        x, B, C = self._heads(F.silu(conv.causal_conv1d(xBC, self.conv1d.weight.squeeze(1), self.conv1d.bias)))
        scan = (x, dt, negative_exp(self.A_log), B, C)
        options = self._scan_options(z) | {"chunk_size": self.chunk_size}
        if cache is None:
            y = ssd_scan(*scan, **options)
        else:
            y, final = ssd_scan(*scan, **options, return_final_states=True)
            cache.ssm_state.copy_(final)
            conv.fill_conv_state(cache.conv_state, xBC)
        y = y.flatten(-2)
        return self.out_proj(y if self.norm is None else self.norm(y, z))

    def _split(self, zxBCdt: Tensor) -> Sequence[Tensor]:
        return zxBCdt.split([self.d_inner, self.conv1d.out_channels, self.nheads], dim=-1)

    def _heads(self, xBC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (.., H, P), B and C (.., G, N)."""
        groups = self.ngroups * self.d_state
        x, B, C = xBC.split([self.d_inner, groups, groups], dim=-1)
        split = (self.ngroups, self.d_state)
        return x.unflatten(-1, (self.nheads, self.headdim)), B.unflatten(-1, split), C.unflatten(-1, split)

    def _scan_options(self, z: Tensor) -> dict[str, Any]:
        return {
            "D": self.D.view(self.nheads, self.headdim) if self.D_has_hdim else self.D,
            "z": z.unflatten(-1, (self.nheads, self.headdim)) if self.norm is None else None,
            "dt_bias": self.dt_bias,
            "dt_softplus": True,
            "dt_limit": self.dt_limit,
        }


def initial_dt_bias(count: int, dt_min: float, dt_max: float, floor: float, device: Any = None) -> Tensor:
    """softplus^-1 of step sizes that are log-uniform in [dt_min, dt_max], at least `floor`."""
    dt = torch.empty(count, device=device).uniform_(math.log(dt_min), math.log(dt_max)).exp().clamp(min=floor)
    return dt + torch.log(-torch.expm1(-dt))


def negative_exp(A_log: Tensor) -> Tensor:
    """A = -exp(A_log) in float32 at least."""
    return -A_log.to(compute_dtype(A_log)).exp()
