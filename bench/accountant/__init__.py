"""The energy account: operations, spikes and energy of a model, counted at operator level under a named rule.

    with Accountant(model, rules=("full", "literature")) as accountant:
        for x in batches:
            model(x)
    account = accountant.result(samples=n)
    account.figure("full", "energy")  # Figure(value, "mJ/sample", rule, cost table)

- `rules/`: the rules and their typed figures, a file an energy model; figures of two rules do not mix.
- `costs`, `costs.yaml`: what one event costs, with source, technology, evidence, scope and what stays without a price.
- `marks`: what is a spike; `travel`, `values`, `carry`: which operations a mark survives, and how; `unmarked`: what looks like
  spikes and is not marked.
- `tally`: how spikes are counted by step and position without unfolding anything.
- `formulas`, `synapses`, `scans`, `gates`, `further`: what each operator does (operations and bytes).
- `census`: one set of counts a layer, for all energy models; `observer` takes it; `crossover`: where a network stops winning.
- `account`: the dispatch mode and its ledger; `layers`, `neurons`: where it is, and spike statistics; `report`: the result.
- `pruned`: weights whose masks take synapses away.
- `syops`, `neurobench`, `fsvae`: the rules of other codes, as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retable.bench.accountant.account import Accountant
    from retable.bench.accountant.report import Account

__all__ = ["Account", "Accountant"]


def __getattr__(name: str) -> Any:
    if name == "Accountant":
        from retable.bench.accountant.account import Accountant

        return Accountant
    if name == "Account":
        from retable.bench.accountant.report import Account

        return Account
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
