"""What torch computes through NumPy in portable numerics: approximate functions, and matrix products.

MKL's square roots and logarithms start from rsqrtps or rcpps, approximations that makers of processors are free to choose; NumPy's
do not. MKL's only branch that is the same on every processor (`MKL_CBWR=COMPATIBLE`) multiplies matrices with SSE2; OpenBLAS,
which NumPy brings, has AVX2 kernels whose blocks depend on no cache: two to three times as fast.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_FUNCTIONS = MappingProxyType(
    {
        "sqrt": "sqrt",
        "log": "log",
        "log10": "log10",
        "tan": "tan",
        "asin": "arcsin",
        "acos": "arccos",
        "atan": "arctan",
    }
)
_PRODUCTS = ("mm", "bmm", "addmm", "baddbmm")

NAMES = (*sorted(_FUNCTIONS), *_PRODUCTS)


@cache
def replace() -> Any:
    """Give torch NumPy's calculation for each of `NAMES`, on the CPU, for the rest of the process."""
    import torch

    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of what is wanted here: its own kernels are replaced
        for name, numpy_name in _FUNCTIONS.items():
            function = _through_numpy(numpy_name)
            library.impl(name, function, "CPU")
            library.impl(f"{name}_", lambda x, function=function: x.copy_(function(x)), "CPU")
            library.impl(f"{name}.out", _into(function), "CPU")
        for name in ("mm", "bmm"):
            library.impl(name, _product, "CPU")
            library.impl(f"{name}.out", lambda a, b, *, out: _write(_product(a, b), out), "CPU")
        for name in ("addmm", "baddbmm"):
            library.impl(name, _plus_product, "CPU")
            library.impl(f"{name}_", lambda c, a, b, **scales: c.copy_(_plus_product(c, a, b, **scales)), "CPU")
            library.impl(
                f"{name}.out", lambda c, a, b, *, out, **scales: _write(_plus_product(c, a, b, **scales), out), "CPU"
            )
    return library


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b; half precision is multiplied in single precision and rounded once."""
    import numpy as np
    import torch

    if a.dtype != b.dtype:
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {a.dtype} != {b.dtype}")
    if a.shape[-1] != b.shape[-2] or a.shape[:-2] != b.shape[:-2]:
        raise RuntimeError(f"shapes cannot be multiplied: {tuple(a.shape)} and {tuple(b.shape)}")
    kept = a.dtype
    if kept in (torch.float16, torch.bfloat16):
        a, b = a.float(), b.float()
    with np.errstate(all="ignore"):
        return torch.from_numpy(np.matmul(_array(a), _array(b))).to(kept)


def _plus_product(c: Tensor, a: Tensor, b: Tensor, *, beta: complex = 1, alpha: complex = 1) -> Tensor:
    """beta c + alpha a @ b; what stands in c is not read where beta is 0."""
    product = _product(a, b)
    if alpha != 1:
        product.mul_(alpha)
    return product.add_(c, alpha=beta) if beta else product


def _array(x: Tensor) -> Any:
    return x.detach().resolve_conj().resolve_neg().numpy()


def _write(result: Tensor, out: Tensor) -> Tensor:
    return out.resize_(result.shape).copy_(result)


def _through_numpy(name: str) -> Callable[[Tensor], Tensor]:
    def function(x: Tensor) -> Tensor:
        import numpy as np
        import torch

        kept = x.dtype if x.is_floating_point() or x.is_complex() else torch.get_default_dtype()
        computed = kept if kept in (torch.float32, torch.float64, torch.complex64, torch.complex128) else torch.float32
        with np.errstate(all="ignore"):
            return torch.from_numpy(np.asarray(getattr(np, name)(_array(x.to(computed))))).to(kept)

    return function


def _into(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda x, *, out: _write(function(x), out)
