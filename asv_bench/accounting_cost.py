"""What counting costs: an evaluation inside the accountant over a plain one, for sets of rules, in turns in one process.

`python asv_bench/accounting_cost.py` counts Spikformer 8-512 at 224 x 224 pixels and T = 4, one image a batch, which is the worst
case: products are smallest beside the passes over their inputs. Ratios are medians with their intervals.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable, Sequence
from functools import partial

import torch
from measure import interleaved, interval
from torch import Tensor, nn

from retable.bench.accountant.account import COUNTERS, Accountant
from retable.bench.accountant.rules import RULES
from retable.models.vision.method import Spikformer

SETS: dict[str, tuple[str, ...]] = {
    "full and literature": ("full", "literature"),
    "all but module counters": tuple(name for name in RULES if name not in COUNTERS),
    "all": tuple(RULES),
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1, metavar="N")
    parser.add_argument("--budget", type=float, default=60, metavar="SECONDS")
    arguments = parser.parse_args(argv)
    torch.manual_seed(0)
    method = Spikformer(size="8-512")
    x_BCHW = torch.rand(arguments.batch, 3, 224, 224)
    model = _alive(method.network(**method.architecture()), x_BCHW)
    plain = partial(_evaluate, model, x_BCHW)
    sides: dict[str, Callable[[], object]] = {name: partial(_counted, model, x_BCHW, SETS[name]) for name in SETS}
    rounds = interleaved({"plain": plain, **sides}, arguments.budget)
    print(f"plain {rounds.median('plain'):.2f} s, batch {arguments.batch}, {torch.get_num_threads()} thread(s)")
    for name in sides:
        found = interval(rounds.ratios(name, "plain"))
        print(f"{name}: {found.median:.2f} [{found.low:.2f}, {found.high:.2f}] of plain, {rounds.median(name):.1f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
    return 0


@torch.no_grad()
def _alive(model: nn.Module, x_BCHW: Tensor) -> nn.Module:
    """The model with the statistics of this batch: as built, its deeper neurons are silent."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    model.train()(x_BCHW)
    return model.eval()


@torch.no_grad()
def _evaluate(model: nn.Module, x_BCHW: Tensor) -> None:
    model(x_BCHW)


def _counted(model: nn.Module, x_BCHW: Tensor, rules: Sequence[str]) -> None:
    accountant = Accountant(model, rules)
    with accountant:
        _evaluate(model, x_BCHW)
    accountant.result(len(x_BCHW))


if __name__ == "__main__":
    raise SystemExit(main())
