"""GC-SNN, GA-SNN and their ANN twins as methods: sizes, fit, load (arXiv 2407.20508). Imports torch only when used.

`layers` counts graph convolutions: a spiking network of two has two layers of neurons and a readout, a GCN of two one hidden
layer and the one that makes the logits. Rates and dropout are the paper's; T, decay, threshold, rho, widths and depth are not
stated by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.models.stfn.dynamics import Dynamics
from retable.models.stfn.recipe import Recipe

if TYPE_CHECKING:
    from retable.models.stfn.classifier import GraphClassifier
    from retable.models.stfn.network import GNN, SpikingGNN

CORA = {"in_features": 1433, "classes": 7}
"""What a network is built for where neither the data nor the parameters say."""


@dataclass(frozen=True, kw_only=True)
class GraphNetwork(Recipe):
    """What all methods share; `in_features` and `classes` follow from the data where not given."""

    layers: int = 2
    hidden: int = 64
    self_loops: bool = True
    features: Literal["given", "binary", "unit"] = "given"
    init: Literal["glorot", "fan-in"] = "glorot"
    head: Literal["linear", "two-layer"] = "linear"
    in_features: int | None = None
    classes: int | None = None

    KIND: ClassVar[Literal["convolution", "attention"]] = "convolution"
    NEEDS: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("layers", "hidden", "in_features", "classes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, not {value}")

    def network(self, in_features: int, classes: int, level: Literal["node", "graph"]) -> SpikingGNN | GNN:
        """The network with random weights."""
        raise NotImplementedError

    def build(self, data: Any) -> GraphClassifier:
        """Random weights from torch's own generator. Raises ValueError where the data and the parameters disagree."""
        from retable.models.stfn.classifier import GraphClassifier

        sizes = {name: value for name in CORA if (value := getattr(self, name)) is not None}
        if data is not None:
            found = {"in_features": data.features.shape[1], "classes": data.num_classes}
            for name, value in sizes.items():
                if value != found[name]:
                    raise ValueError(f"`{name}` is {value}, but {data.name} has {found[name]}")
            sizes = found
        level: Literal["node", "graph"] = "node" if data is None or data.member is None else "graph"
        network = self.network(**(CORA | sizes), level=level)
        return GraphClassifier(network, self.self_loops, self.features)

    def fit(
        self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str
    ) -> tuple[GraphClassifier, dict[str, Any]]:
        """Trained on the labels of `data.train`. Raises FloatingPointError when the loss is not finite."""
        import torch

        from retable.models.stfn.training import fit_classifier

        with torch.random.fork_rng():
            torch.manual_seed(seed)  # initial weights, dropout
            model = self.build(data)
            return model, fit_classifier(model, data, self, device=device)

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> GraphClassifier:
        """The model that `state` came from."""
        model = self.build(data)
        model.load_state_dict(state)
        return model.to(device).eval()


@dataclass(frozen=True, kw_only=True)
class GCN(GraphNetwork):
    """The graph convolutional network that GC-SNN is compared with (arXiv 1609.02907)."""

    hidden: int = 16

    NAME: ClassVar[str] = "gcn"

    def network(self, in_features: int, classes: int, level: Literal["node", "graph"]) -> GNN:
        from retable.models.stfn.network import GNN

        widths = (self.hidden,) * (self.layers if level == "graph" else self.layers - 1)
        return GNN(in_features, classes, widths, self.KIND, level, self.head, self.dropout, self.init)


@dataclass(frozen=True, kw_only=True)
class GAT(GCN):
    """The graph attention network that GA-SNN is compared with (arXiv 1710.10903), with one head."""

    lr: float = 0.005
    dropout: float = 0.6

    NAME: ClassVar[str] = "gat"
    KIND: ClassVar[Literal["convolution", "attention"]] = "attention"


@dataclass(frozen=True, kw_only=True)
class GCSNN(GraphNetwork):
    """GC-SNN of `T` steps. `reads` rate is eq. 12, last eq. 17, rank-order eq. 14 with the penalty r.

    `norm` batch takes its statistics over nodes and steps, none leaves the currents as they are. Features are binarised, so
    that they are spikes.
    """

    T: int = 8
    norm: Literal["stfn", "batch", "none"] = "stfn"
    reads: Literal["rate", "last", "rank-order"] = "rate"
    features: Literal["given", "binary", "unit"] = "binary"
    decay: float = 0.25
    threshold: float = 0.5
    rho: float = 1.0
    eps: float = 1e-5
    window: float = 1.0
    penalty: float = 0.9

    NAME: ClassVar[str] = "gc-snn"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.T < 1:
            raise ValueError(f"`T` must be at least 1, not {self.T}")
        if self.reads == "rank-order" and self.head != "linear":
            raise ValueError("`head` must be linear where `reads` is rank-order: its output is a layer of neurons")
        self.dynamics()

    def dynamics(self) -> Dynamics:
        """Raises ValueError naming the parameter."""
        return Dynamics(**{field.name: getattr(self, field.name) for field in fields(Dynamics)})

    def network(self, in_features: int, classes: int, level: Literal["node", "graph"]) -> SpikingGNN:
        from retable.models.stfn.network import SpikingGNN

        return SpikingGNN(
            in_features,
            classes,
            (self.hidden,) * self.layers,
            self.KIND,
            self.T,
            self.dynamics(),
            self.norm,
            self.reads,
            self.head,
            level,
            self.dropout,
            self.init,
        )


@dataclass(frozen=True, kw_only=True)
class GASNN(GCSNN):
    """GA-SNN: one-headed attention, its coefficients recomputed from the spikes of every step (eq. 16)."""

    lr: float = 0.005
    dropout: float = 0.6

    NAME: ClassVar[str] = "ga-snn"
    KIND: ClassVar[Literal["convolution", "attention"]] = "attention"
