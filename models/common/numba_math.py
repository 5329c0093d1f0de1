"""exp and the logistic function for compiled kernels, written so that LLVM turns loops over them into vector code.

The standard library's exp is a call for every element: about ten times slower. After a change here run `make clean`:
Numba's disk cache of a kernel does not see changes in another file.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numba.extending import overload

LOG2E = 1.4426950408889634


def exp(x):
    """e^x to about one unit in the last place; 0 below the smallest normal number, inf above the largest, NaN for NaN."""
    return math.exp(x)


@overload(exp, jit_options={"fastmath": {"contract"}})
def _exp(x):
    if x == types.float32:
        return _exp32
    return _exp64 if x == types.float64 else None


def _exp32(x):
    one, half = np.float32(1), np.float32(0.5)
    v = x
    v = np.float32(-87.3) if v < np.float32(-87.3) else v
    v = np.float32(88.72) if v > np.float32(88.72) else v
    k = np.floor(v * np.float32(LOG2E) + half)
    # ln 2 in two parts whose first has trailing zeros, so that k times it is exact (Cody and Waite)
    r = v - k * np.float32(0.693359375)
    r = r - k * np.float32(-2.12194440e-4)
    p = np.float32(1 / 5040)  # the Taylor series to r^7: |r| <= ln 2 / 2 leaves 5e-9
    p = p * r + np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + half
    p = p * r + one
    p = p * r + one
    power = np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)
    y = p * power
    y = np.float32(0) if x < np.float32(-87.3) else y
    return np.float32(np.inf) if x > np.float32(88.72) else y


def _exp64(x):
    v = x
    v = -708.3 if v < -708.3 else v
    v = 709.78 if v > 709.78 else v
    k = np.floor(v * LOG2E + 0.5)
    r = v - k * 6.93145751953125e-1
    r = r - k * 1.42860682030941723212e-6
    p = 1 / 6227020800  # to r^13
    p = p * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    # 2^k in two factors, because 2^1024 is not a number
    half = np.int64(k) >> np.int64(1)
    low = np.int64((half + np.int64(1023)) << np.int64(52)).view(np.float64)
    high = np.int64((np.int64(k) - half + np.int64(1023)) << np.int64(52)).view(np.float64)
    y = p * low * high
    y = 0.0 if x < -708.3 else y
    return np.inf if x > 709.78 else y


def softplus(x):
    """log(1 + e^x) to a few units in the last place, also where it is tiny; NaN for NaN."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@overload(softplus, jit_options={"fastmath": {"contract"}})
def _softplus(x):
    if x == types.float32:
        return _softplus32
    return _softplus64 if x == types.float64 else None


def _softplus32(x):
    e = exp(-abs(x))
    z = e / (e + np.float32(2))  # log(1 + e) = 2 atanh z, z at most 1/3: nine terms leave 1e-9
    w = z * z
    p = np.float32(1 / 17)
    p = p * w + np.float32(1 / 15)
    p = p * w + np.float32(1 / 13)
    p = p * w + np.float32(1 / 11)
    p = p * w + np.float32(1 / 9)
    p = p * w + np.float32(1 / 7)
    p = p * w + np.float32(1 / 5)
    p = p * w + np.float32(1 / 3)
    p = p * w + np.float32(1)
    return (x if x > np.float32(0) else np.float32(0)) + np.float32(2) * z * p


def _softplus64(x):
    return (x if x > 0.0 else 0.0) + math.log1p(exp(-abs(x)))
