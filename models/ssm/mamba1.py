"""The Mamba mixer (arXiv 2312.00752, section 3.4), with the parameter names and shapes of the official checkpoints.

x | z       = W_in u                                        in_proj
x           = silu(causal_conv(x))                          conv1d, width 4
d | B | C   = W_x x;  delta = W_dt d                        x_proj, dt_proj (its bias enters inside the softplus)
out         = W_out selective_scan(x, delta, A = -exp(A_log), B, C, D, z)
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.common.shapes import check_shape
from retable.models.ssm import conv
from retable.models.ssm.mamba2 import Cache, initial_dt_bias, negative_exp, new_cache
from retable.models.ssm.selective_scan import selective_scan
from retable.models.ssm.state_update import selective_state_update


class Mamba1(nn.Module):
    """u (B, L, d_model) -> (B, L, d_model); expand * d_model channels with a state of d_state each."""

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | Literal["auto"] = "auto",
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init: Literal["random", "constant"] = "random",
        dt_scale: float = 1.0,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
        bias: bool = False,
        use_fast_path: bool = True,
        layer_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Arguments and defaults as in the official module; `use_fast_path` and `layer_idx` change nothing here."""
        super().__init__()
        where = {"device": device, "dtype": dtype}
        self.d_model, self.d_state, self.d_inner = d_model, d_state, expand * d_model
        self.dt_rank = math.ceil(d_model / 16) if dt_rank == "auto" else dt_rank
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=bias, **where)
        self.conv1d = nn.Conv1d(
            self.d_inner, self.d_inner, d_conv, groups=self.d_inner, padding=d_conv - 1, bias=conv_bias, **where
        )
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False, **where)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner, bias=True, **where)
        A = torch.arange(1, d_state + 1, dtype=torch.float32, device=device).repeat(self.d_inner, 1)
        self.A_log = nn.Parameter(A.log())
        self.D = nn.Parameter(torch.ones(self.d_inner, device=device))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias, **where)
        scale = self.dt_rank**-0.5 * dt_scale
        if dt_init == "constant":
            nn.init.constant_(self.dt_proj.weight, scale)
        elif dt_init == "random":
            nn.init.uniform_(self.dt_proj.weight, -scale, scale)
        else:
            raise ValueError(f"dt_init is 'random' or 'constant', not {dt_init!r}")
        with torch.no_grad():
            self.dt_proj.bias.copy_(initial_dt_bias(self.d_inner, dt_min, dt_max, dt_init_floor, device))

    def forward(self, u_BLD: Tensor) -> Tensor:
        """The whole sequence at once."""
        return self._sequence(u_BLD, None)

    def empty_cache(self, batch: int, dtype: Any = None, device: Any = None) -> Cache:
        """The zero cache before the first token; in the weights' dtype and on their device by default."""
        return new_cache(self, batch, (self.d_inner, self.d_state), dtype, device)

    def prefill(self, u_BLD: Tensor, cache: Cache) -> Tensor:
        """The output of a prompt from the start of a sequence; `cache` is overwritten with the state after it."""
        return self._sequence(u_BLD, cache)

    @torch.no_grad()
    def step(self, u_BD: Tensor, cache: Cache) -> Tensor:
        """The output of the next token, (B, d_model); `cache` moves on in place. Without gradient."""
        check_shape("u", u_BD, cache.ssm_state.shape[0], self.d_model)
        x, z = cache.in_proj(u_BD).chunk(2, dim=-1)
        x = F.silu(conv.causal_conv1d_step(x, cache.conv_state, self.conv1d.weight.squeeze(1), self.conv1d.bias))
        delta, B, C = self._selection(x)
        A, bias = negative_exp(self.A_log), self.dt_proj.bias
        y = selective_state_update(cache.ssm_state, x, delta, A, B, C, self.D, z, bias, dt_softplus=True)
        return cache.out_proj(y)

    def _sequence(self, u_BLD: Tensor, cache: Cache | None) -> Tensor:
        check_shape("u", u_BLD, *u_BLD.shape[:2], self.d_model)
        raw, z = self.in_proj(u_BLD).chunk(2, dim=-1)
        x = F.silu(conv.causal_conv1d(raw, self.conv1d.weight.squeeze(1), self.conv1d.bias))
        delta, B, C = (value.mT for value in self._selection(x))
        y, last = selective_scan(
            x.mT,
            delta,
            negative_exp(self.A_log),
            B,
            C,
            self.D,
            z.mT,
            self.dt_proj.bias,
            delta_softplus=True,
            return_last_state=True,
        )
        if cache is not None:
            cache.ssm_state.copy_(last)
            conv.fill_conv_state(cache.conv_state, raw)
        return self.out_proj(y.mT)

    def _selection(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What depends on the input: delta (.., D) without its bias, B and C (.., N)."""
        d, B, C = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        return F.linear(d, self.dt_proj.weight), B, C
