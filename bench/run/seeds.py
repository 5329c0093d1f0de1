"""State of the process: every stage runs from its own seed, and leaves generators and settings as it found them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's global generators inside the block, and restore them after it.

    So are torch's default type, its gradients, NumPy's handling of errors, the environment and the working folder: what one
    case sets must not reach the next one in the same worker.
    """
    import numpy as np
    import torch

    python_state, numpy_state = random.getstate(), np.random.get_state()
    kind, gradients, errors = torch.get_default_dtype(), torch.is_grad_enabled(), np.geterr()
    environment, folder = dict(os.environ), os.getcwd()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            torch.set_default_dtype(kind)
            torch.set_grad_enabled(gradients)
            np.seterr(**errors)
            if dict(os.environ) != environment:
                os.environ.clear()
                os.environ.update(environment)
            os.chdir(folder)
