"""In which precision scans and norms compute, whatever their inputs are stored in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def compute_dtype(value: Tensor) -> torch.dtype:
    """float32, or float64 (or complex) where the values have more to lose."""
    return torch.promote_types(value.dtype, torch.float32)


def no_autocast(value: Tensor) -> AbstractContextManager[object]:
    """Keeps autocast away from matrix products on the value's device."""
    device = value.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
