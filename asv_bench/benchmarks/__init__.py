"""Benchmarks for asv. asv starts them without the project's folders on the path and with all threads: both are set here.

What takes long to import is imported before asv forks its processes, one for every benchmark and parameter.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve()
sys.path[:0] = [str(_HERE.parents[1]), str(_HERE.parents[2])]

import numba  # noqa: E402, F401
import torch  # noqa: E402

torch.set_num_threads(1)
