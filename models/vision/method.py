"""The survey's networks as methods: sizes, fit, load (arXiv 2409.02111). Imports torch only when used.

Every method is a recipe with a network. `T` time steps; an image is shown at each of them, event frames are grouped into
them. With `spiking: false` the network is its ANN twin: ReLU for every neuron and T = 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from models.vision.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from models.vision.classifier import Classifier

IMAGENET = {"in_channels": 3, "image_size": 224, "num_classes": 1000}
"""What a network is built for where neither the data nor the parameters say."""


@dataclass(frozen=True, kw_only=True)
class Network(Recipe):
    """What all methods share; `in_channels`, `image_size` and `num_classes` follow from the data where not given."""

    T: int = 4
    spiking: bool = True
    in_channels: int | None = None
    image_size: int | None = None
    num_classes: int | None = None

    NEEDS: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "T", "in_channels", "image_size", "num_classes")

    @property
    def steps(self) -> int:
        """T of the network that is built: 1 for an ANN."""
        return self.T if self.spiking else 1

    def network(self, **places: Any) -> nn.Module:
        """The network with random weights for `in_channels`, `image_size`, `num_classes`, `T` and maybe `neuron`."""
        raise NotImplementedError

    def build(self, images: Any) -> Classifier:
        """Random weights from torch's own generator; without data, for ImageNet at 224 pixels unless parameters say else."""
        from models.vision.classifier import Classifier

        places = self._places(images)
        twin = {} if self.spiking else {"neuron": relu}
        return Classifier(self.network(T=self.steps, **places, **twin), channels=places["in_channels"], T=self.steps)

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> tuple[Classifier, dict[str, Any]]:
        """Trained on `data.train`. Raises FloatingPointError when the loss is not finite."""
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(seed)  # initial weights, dropout
            return self.train(data, seed=seed, device=device)

    def train(self, data: Any, *, seed: int, device: str) -> tuple[Classifier, dict[str, Any]]:
        """What `fit` does once torch's own generator is seeded."""
        from models.vision.training import fit_classifier

        model = self.build(data)
        return model, fit_classifier(model, data.train, self, seed=seed, device=device)

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> Classifier:
        """The model that `state` came from."""
        model = self.build(data)
        model.load_state_dict(state)
        return model.to(device).eval()

    def _places(self, images: Any) -> dict[str, int]:
        """Raises ValueError for images that are not square or for a parameter that contradicts the data."""
        if images is None:
            return {name: getattr(self, name) or value for name, value in IMAGENET.items()}
        *_, channels, height, width = images.image_shape
        if height != width:
            raise ValueError(f"{images.name} has images of {height}x{width} pixels; the networks take square ones")
        found = {"in_channels": channels, "image_size": height, "num_classes": images.num_classes}
        for name, value in found.items():
            if getattr(self, name) not in (None, value):
                raise ValueError(f"`{name}` is {getattr(self, name)}, but {images.name} has {value}")
        return found


@dataclass(frozen=True, kw_only=True)
class Transformer(Network):
    """What the spiking Transformers share where no published `size` (depth-width) is named."""

    dim: int = 64
    depth: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "dim", "depth", "heads")
        if self.dim % (8 * self.heads):
            raise ValueError(f"`dim` must be a multiple of 8 and of 8 times `heads` = {self.heads}, not {self.dim}")

    def architecture(self, size: str | None, heads: int) -> dict[str, int]:
        """Width, depth and heads: of a published size with its number of heads, else the own ones."""
        if size is None:
            return {"dim": self.dim, "depth": self.depth, "num_heads": self.heads}
        depth, dim = (int(number) for number in size.split("-"))
        return {"dim": dim, "depth": depth, "num_heads": heads}


@dataclass(frozen=True, kw_only=True)
class Spikformer(Transformer):
    """Spikformer (arXiv 2209.15425). `pooling` has a digit for each stage of the stem, 1 where it halves the sides.

    The official code names no number of heads for 8-768; here it is 12, of which the parameters do not depend.
    """

    size: Literal["8-384", "8-512", "10-512", "8-768"] | None = None
    pooling: str = "0011"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_pooling(self.pooling)

    def network(self, **places: Any) -> nn.Module:
        from models.vision.spikformer import Spikformer as Structure

        sizes = self.architecture(self.size, heads=12 if self.size == "8-768" else 8)
        return Structure(pooling="1111" if self.size else self.pooling, **sizes, **places)


@dataclass(frozen=True, kw_only=True)
class SpikeDrivenTransformer(Transformer):
    """Spike-driven Transformer, SDT-v1 (arXiv 2307.01694); `pooling` as for Spikformer."""

    size: Literal["8-384", "6-512", "8-512", "10-512", "8-768"] | None = None
    pooling: str = "0011"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_pooling(self.pooling)

    def network(self, **places: Any) -> nn.Module:
        from models.vision.spike_driven import SpikeDrivenTransformer as Structure

        sizes = self.architecture(self.size, heads=8)
        return Structure(pooling="1111" if self.size else self.pooling, **sizes, **places)


@dataclass(frozen=True, kw_only=True)
class QKFormer(Transformer):
    """QKFormer (arXiv 2403.16552): three stages of dim / 4, dim / 2 and dim channels with 1, 2 and depth - 3 blocks."""

    dim: int = 64
    depth: int = 4
    heads: int = 4
    size: Literal["10-384", "10-512", "10-768"] | None = None

    HEADS: ClassVar[dict[str, int]] = {"10-384": 6, "10-512": 8, "10-768": 12}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 4:
            raise ValueError(f"`depth` must be at least 4, 3 blocks being before the last stage, not {self.depth}")

    def network(self, **places: Any) -> nn.Module:
        from models.vision.qkformer import QKFormer as Structure

        sizes = self.architecture(self.size, heads=self.HEADS.get(self.size or "", 0))
        return Structure(**sizes, **places)


@dataclass(frozen=True, kw_only=True)
class MetaSpikeformer(Network):
    """Meta-SpikeFormer, SDT-v2 (arXiv 2404.03663), by published `size` (million parameters) or the stages' `widths`."""

    size: Literal["31M", "55M", "124M"] | None = None
    widths: tuple[int, int, int, int] = (16, 32, 48, 64)
    heads: int = 8

    SIZES: ClassVar[dict[str, tuple[int, int, int, int]]] = {
        "31M": (96, 192, 384, 480),
        "55M": (128, 256, 512, 640),
        "124M": (192, 384, 768, 960),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "heads")
        check_widths(self.widths)
        if any(width % self.heads for width in self.widths[2:]):
            raise ValueError(f"`heads` = {self.heads} must divide the last two `widths`, {list(self.widths[2:])}")

    def network(self, **places: Any) -> nn.Module:
        from models.vision.meta_spikeformer import MetaSpikeformer as Structure

        widths, heads = (self.SIZES[self.size], 8) if self.size else (self.widths, self.heads)
        return Structure(widths=widths, num_heads=heads, **places)


@dataclass(frozen=True, kw_only=True)
class SEWResNet(Network):
    """SEW-ResNet (arXiv 2102.04159) by published `size` (layers), or `blocks` basic blocks a stage of `widths`."""

    size: Literal["18", "34", "50", "101", "152"] | None = None
    blocks: tuple[int, ...] = (1, 1, 1)
    widths: tuple[int, ...] = (16, 32, 64)
    connect: Literal["add", "and", "iand"] = "add"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_stages(self.blocks, self.widths)

    def network(self, **places: Any) -> nn.Module:
        from models.vision.sew_resnet import SEWResNet as Structure
        from models.vision.sew_resnet import published

        if self.size:
            return published(self.size, connect=self.connect, **places)
        return Structure(blocks=self.blocks, widths=self.widths, connect=self.connect, **places)


@dataclass(frozen=True, kw_only=True)
class MSResNet(Network):
    """MS-ResNet (arXiv 2112.08954) by published `size` (layers), or `blocks` basic blocks a stage of `widths`."""

    size: Literal["18", "34", "104"] | None = None
    blocks: tuple[int, ...] = (1, 1, 1)
    widths: tuple[int, ...] = (16, 32, 64)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_stages(self.blocks, self.widths)

    def network(self, **places: Any) -> nn.Module:
        from models.vision.ms_resnet import MSResNet as Structure
        from models.vision.ms_resnet import published

        if self.size:
            return published(self.size, **places)
        return Structure(blocks=self.blocks, widths=self.widths, **places)


@dataclass(frozen=True, kw_only=True)
class SpikingResformer(Network):
    """SpikingResformer (arXiv 2403.14302) by published `size`, or `widths` and `heads` of its three stages."""

    size: Literal["ti", "s", "m", "l"] | None = None
    widths: tuple[int, int, int] = (16, 32, 64)
    heads: tuple[int, int, int] = (1, 2, 4)

    SIZES: ClassVar[dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]]] = {
        "ti": ((64, 192, 384), (1, 3, 6)),
        "s": ((64, 256, 512), (1, 4, 8)),
        "m": ((64, 384, 768), (1, 6, 12)),
        "l": ((128, 512, 1024), (2, 8, 16)),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_widths(self.widths)
        if min(self.heads) < 1 or any(width % heads for width, heads in zip(self.widths, self.heads, strict=True)):
            raise ValueError(f"`heads` {list(self.heads)} must divide the `widths` {list(self.widths)} stage by stage")

    def network(self, **places: Any) -> nn.Module:
        from models.vision.spikingresformer import SpikingResformer as Structure

        widths, heads = self.SIZES[self.size] if self.size else (self.widths, self.heads)
        return Structure(widths=widths, num_heads=heads, **places)


@dataclass(frozen=True, kw_only=True)
class QCFS(Network):
    """A network converted to spikes after training (arXiv 2303.04347): trained with activations of `levels` steps, run for T.

    A VGG-like stack with a stage for each of `widths`. With `spiking: false` the trained ANN stays as it is.
    """

    T: int = 8
    widths: tuple[int, ...] = (16, 32, 64)
    levels: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "levels")
        check_widths(self.widths)

    def build(self, images: Any) -> Classifier:
        """The converted network (or the ANN) with random weights. Raises ValueError for event frames, which differ by step."""
        ann = self._ann(images)
        return self._converted(ann) if self.spiking else ann

    def train(self, data: Any, *, seed: int, device: str) -> tuple[Classifier, dict[str, Any]]:
        from models.vision.training import fit_classifier

        ann = self._ann(data)
        log = fit_classifier(ann, data.train, self, seed=seed, device=device)
        return (self._converted(ann).eval() if self.spiking else ann), log

    def _ann(self, images: Any) -> Classifier:
        from models.vision.classifier import Classifier
        from models.vision.qcfs import QCFSNet

        places = self._places(images)
        if self.spiking and images is not None and len(images.image_shape) == 4:
            raise ValueError(
                f"a converted network needs the same input at each step, and {images.name} has event frames"
            )
        ann = QCFSNet(widths=self.widths, levels=self.levels, **places)
        return Classifier(ann, channels=places["in_channels"], T=1)

    def _converted(self, ann: Classifier) -> Classifier:
        from models.vision.classifier import Classifier
        from models.vision.qcfs import convert

        snn = Classifier(convert(ann.network, T=self.T), channels=len(ann.mean_C), T=self.T)
        snn.mean_C, snn.std_C = ann.mean_C, ann.std_C
        return snn


def at_least_one(method: Network, *names: str) -> None:
    """Raises ValueError naming the parameter below 1."""
    for name in names:
        value = getattr(method, name)
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be at least 1, not {value}")


def check_pooling(pooling: str) -> None:
    """Raises ValueError unless there are four digits 0 or 1."""
    if len(pooling) != 4 or set(pooling) - {"0", "1"}:
        raise ValueError(f'`pooling` must be four digits 0 or 1 such as "0011", not {pooling!r}')


def check_widths(widths: tuple[int, ...]) -> None:
    """Raises ValueError unless there are even numbers of channels, which some stages halve."""
    if not widths or any(width < 2 or width % 2 for width in widths):
        raise ValueError(f"`widths` must be even and at least 2, not {list(widths)}")


def check_stages(blocks: tuple[int, ...], widths: tuple[int, ...]) -> None:
    """Raises ValueError unless each stage has a number of blocks and of channels."""
    check_widths(widths)
    if len(blocks) != len(widths) or min(blocks) < 1:
        raise ValueError(f"`blocks` {list(blocks)} must be at least 1 for each of the {len(widths)} `widths`")


def relu(*_: Any, **__: Any) -> nn.Module:
    """What stands for every neuron in an ANN twin."""
    from torch.nn import ReLU

    return ReLU()
