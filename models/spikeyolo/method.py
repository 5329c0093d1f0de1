"""SpikeYOLO, its plain rival and its binary form as methods (arXiv 2407.20708). Imports torch only when used.

`T` time steps: an image is shown at each of them, event frames are grouped into them. `D` levels of an integer spike. With
`spiking: false` the network is its ANN twin: ReLU for every neuron, an image once, event frames one by one. What is fitted
is merged for inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.models.spikeyolo.recipe import Recipe
from retable.models.spikeyolo.sizes import SPIKEYOLO_SIZES, YOLOV8_SIZES, Size

if TYPE_CHECKING:
    from retable.models.spikeyolo.detector import Detector
    from retable.models.spikeyolo.network import Rows

COCO = {"in_channels": 3, "num_classes": 80}
"""What a network is built for where neither the data nor the parameters say."""
EVENT_DIMS = 4
"""Dimensions of a sample of event frames, (T, C, H, W)."""


@dataclass(frozen=True, kw_only=True)
class Detection(Recipe):
    """What both architectures share; `in_channels` and `num_classes` follow from the data where not given.

    `neuron`: `ilif` of the COCO networks, `ilif-gen1` of the event networks, or `lif`, binary with the usual threshold.
    `weights` names a published checkpoint below $BENCH_DATA; nothing is trained then.
    """

    width: float = 0.125
    depth: float = 0.33
    T: int = 1
    D: int = 4
    neuron: Literal["ilif", "ilif-gen1", "lif"] = "ilif"
    spiking: bool = True
    weights: str | None = None
    in_channels: int | None = None
    num_classes: int | None = None

    NEEDS: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("T", "D", "in_channels", "num_classes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, not {value}")
        for name in ("width", "depth"):
            if not 0 < getattr(self, name) <= 4:
                raise ValueError(f"`{name}` must be above 0 and at most 4, not {getattr(self, name)}")
        if self.neuron == "lif" and self.D != 1:
            raise ValueError(f"`D` must be 1 where `neuron` is lif, which is binary, not {self.D}")

    def steps(self, data: Any = None) -> int:
        """T of the network that is built: for an ANN 1, or all of the data's event frames."""
        if self.spiking:
            return self.T
        return 1 if data is None or len(data.image_shape) < EVENT_DIMS else int(data.image_shape[0])

    def architecture(self) -> Size:
        """The published size, or one of the own width and depth."""
        raise NotImplementedError

    def network(self, **arguments: Any) -> Rows:
        """The network with random weights."""
        raise NotImplementedError

    def build(self, data: Any) -> Detector:
        """Random weights from torch's own generator; without data, for what the parameters say, else RGB and 80 classes."""
        from torch import nn

        from retable.models.spikeyolo.detector import Detector
        from retable.models.spikeyolo.layers import neuron_of

        neuron = neuron_of(self.neuron, self.D) if self.spiking else nn.ReLU
        places, T = self._places(data), self.steps(data)
        network = self.network(size=self.architecture(), T=T, neuron=neuron, **places)
        return Detector(network, T, None if data is None else tuple(data.image_shape[-2:]))

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> tuple[Detector, dict[str, Any]]:
        """Trained on `data.train`, or read from `weights`; merged.

        Raises FloatingPointError when the loss is not finite, MissingWeights, CheckpointError.
        """
        import torch

        if self.weights is not None:
            from retable.models.spikeyolo.checkpoint import load_published

            model, log = self.build(data), {"weights": self.weights}
            load_published(model.network, self.weights)
        else:
            from retable.models.spikeyolo.training import fit_detector

            with torch.random.fork_rng():
                torch.manual_seed(seed)  # initial weights
                model = self.build(data)
            log = fit_detector(model, data.train, data.num_classes, self, seed=seed, device=device)
        model.merge()
        return model.to(device).eval(), log

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> Detector:
        """The model that `state` came from."""
        model = self.build(data)
        model.merge()
        model.load_state_dict(state)
        return model.to(device).eval()

    def weights_digest(self) -> str | None:
        """Digest of the published weights, None where it trains. Raises MissingWeights."""
        if self.weights is None:
            return None
        from retable.models.common.weights import weights_digest

        return weights_digest(self.weights)

    def _places(self, data: Any) -> dict[str, int]:
        """Of the data, else of the parameters. Raises ValueError for a contradiction."""
        given = {name: value for name in COCO if (value := getattr(self, name)) is not None}
        if data is None:
            return COCO | given
        found = {"in_channels": data.image_shape[-3], "num_classes": data.num_classes}
        for name, value in given.items():
            if value != found[name]:
                raise ValueError(f"`{name}` is {value}, but {data.name} has {found[name]}")
        return found


@dataclass(frozen=True, kw_only=True)
class SpikeYOLO(Detection):
    """SpikeYOLO by published `size`, or by its own `width` and `depth`: 1024 channels times width, 9 blocks times depth."""

    NAME: ClassVar[str] = "spikeyolo"

    size: Literal["13.2M", "23.1M", "48M", "69M"] | None = None

    def architecture(self) -> Size:
        return SPIKEYOLO_SIZES[self.size] if self.size else Size(self.depth, self.width)

    def network(self, **arguments: Any) -> Rows:
        from retable.models.spikeyolo.network import spikeyolo

        return spikeyolo(**arguments)


@dataclass(frozen=True, kw_only=True)
class PlainYOLO(Detection):
    """YOLOv8 with a neuron for every activation, by its `size` or its own `width` and `depth`."""

    NAME: ClassVar[str] = "plain-spiking-yolo"

    D: int = 1
    neuron: Literal["ilif", "ilif-gen1", "lif"] = "lif"
    size: Literal["n", "s", "m"] | None = None

    def architecture(self) -> Size:
        return YOLOV8_SIZES[self.size] if self.size else Size(self.depth, self.width)

    def network(self, **arguments: Any) -> Rows:
        from retable.models.spikeyolo.plain import plain_yolo

        return plain_yolo(**arguments)


@dataclass(frozen=True, kw_only=True)
class BinarySteps:
    """The fitted detector `trained` run as the paper deploys it: every integer spike as D virtual binary time steps."""

    NAME: ClassVar[str] = "spikeyolo-binary-steps"

    NEEDS: ClassVar[tuple[str, ...]] = ("trained",)

    def build(self, data: Any) -> Detector:
        """There is nothing to build without the trained detector."""
        raise ValueError("binary steps are a form of the fitted detector `trained`; without it there is none")

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> tuple[Detector, dict[str, Any]]:
        """Its copy with binary steps; nothing is trained. Raises ValueError where it has no I-LIF neurons."""
        from copy import deepcopy

        from retable.models.spikeyolo.virtual import to_virtual_steps

        model = deepcopy(needs["trained"])
        neurons = to_virtual_steps(model.network)
        if not neurons:
            raise ValueError(
                "`trained` must have I-LIF neurons; binary and real-valued ones have no integers to unfold"
            )
        return model.to(device).eval(), {"neurons": neurons}

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> Detector:
        """The same form of the detector that `state` came from."""
        model, _ = self.fit(data, needs, seed=0, device=device)
        model.load_state_dict(state)
        return model
