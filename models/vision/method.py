"""The survey's networks as methods: sizes, fit, load (arXiv 2409.02111). Imports torch only when used.

Every method is a recipe with a network. `T` time steps; an image is shown at each of them, event frames are grouped into
them. With `spiking: false` the network is its ANN twin: ReLU for every neuron and T = 1. `weights` names published weights
below $BENCH_DATA, of the network alone; nothing is trained then, and images are standardised by ImageNet's statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.models.vision.checks import (
    at_least_one,
    check_depths,
    check_heads,
    check_pooling,
    check_stages,
    check_widths,
)
from retable.models.vision.network import IMAGENET, Network, official_keys

if TYPE_CHECKING:
    from torch import nn

    from retable.models.vision.classifier import Classifier


@dataclass(frozen=True, kw_only=True)
class Spikformer(Network):
    """Spikformer (arXiv 2209.15425) by published `size` (depth-width), or by its own sizes.

    `pooling` has a digit for each stage of the stem, 1 where it halves the sides. `attention` null is spiking
    self-attention, in the ANN twin softmax.
    """

    NAME: ClassVar[str] = "spikformer"

    size: Literal["8-384", "8-512", "10-512", "8-768", "cifar-4-384"] | None = None
    dim: int = 64
    depth: int = 2
    heads: int = 4
    pooling: str = "0011"
    attention: Literal["ssa", "softmax"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "depth")
        check_heads("dim", self.dim, self.heads)
        check_pooling(self.pooling)

    def architecture(self) -> dict[str, Any]:
        from retable.models.vision.spikformer import SPIKFORMER_SIZES

        own = {"embed_dims": self.dim, "depths": self.depth, "num_heads": self.heads, "pooling_stat": self.pooling}
        attention = self.attention or ("ssa" if self.spiking else "softmax")
        return {**(SPIKFORMER_SIZES[self.size] if self.size else own), "attention": attention}

    def network(self, **arguments: Any) -> nn.Module:
        from retable.models.vision.spikformer import Spikformer as Structure

        return Structure(**arguments)

    def published_keys(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Also of the released CIFAR model, which has linear layers in place of 1 x 1 convolutions."""
        from retable.models.vision.spikformer import linear_as_convolution

        return linear_as_convolution(official_keys(state))


@dataclass(frozen=True, kw_only=True)
class SpikeDrivenTransformer(Network):
    """Spike-driven Transformer, SDT-v1 (arXiv 2307.01694); `dvs_mode` pools within attention, as for event data."""

    NAME: ClassVar[str] = "sdt"

    size: Literal["8-384", "6-512", "8-512", "10-512", "8-768", "cifar-2-512", "dvs-2-256"] | None = None
    dim: int = 64
    depth: int = 2
    heads: int = 4
    pooling: str = "0011"
    dvs_mode: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "depth")
        check_heads("dim", self.dim, self.heads)
        check_pooling(self.pooling)

    def architecture(self) -> dict[str, Any]:
        from retable.models.vision.spike_driven import SDT_SIZES

        own = {"embed_dims": self.dim, "depths": self.depth, "num_heads": self.heads, "pooling_stat": self.pooling}
        return {"dvs_mode": self.dvs_mode, **(SDT_SIZES[self.size] if self.size else own)}

    def network(self, **arguments: Any) -> nn.Module:
        from retable.models.vision.spike_driven import SpikeDrivenTransformer as Structure

        return Structure(**arguments)


@dataclass(frozen=True, kw_only=True)
class MetaSpikeformer(Network):
    """Meta-SpikeFormer, SDT-v2 (arXiv 2404.03663), by published `size` (parameters) or the four stages' `widths`.

    `depths` are the blocks of the two Transformer stages, `strides` the steps of the five down-samplings. `kd` is the second
    head of the released models that were distilled.
    """

    NAME: ClassVar[str] = "meta-spikeformer"

    size: Literal["31.3M", "55.4M", "124M"] | None = None
    widths: tuple[int, int, int, int] = (16, 32, 48, 64)
    depths: tuple[int, int] = (1, 1)
    heads: int = 8
    strides: tuple[int, int, int, int, int] = (2, 2, 2, 2, 1)
    kd: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_widths(self.widths)
        check_depths(self.depths)
        check_depths(self.strides, "strides")
        for width in self.widths[2:]:
            check_heads("widths", width, self.heads)

    def architecture(self) -> dict[str, Any]:
        from retable.models.vision.meta_spikeformer import META_SPIKEFORMER_SIZES

        own = {"embed_dim": self.widths, "depths": self.depths, "num_heads": self.heads, "strides": self.strides}
        return {**(META_SPIKEFORMER_SIZES[self.size] if self.size else own), "kd": self.kd}

    def network(self, **arguments: Any) -> nn.Module:
        from retable.models.vision.meta_spikeformer import MetaSpikeFormer as Structure

        return Structure(**arguments)


@dataclass(frozen=True, kw_only=True)
class QKFormer(Network):
    """QKFormer (arXiv 2403.16552) by published `size`, or `depths` blocks in stages of dim / 4, dim / 2 and dim channels.

    `protocol` official lets the samples of a batch run into each other in the last stage, as the released code does.
    """

    NAME: ClassVar[str] = "qkformer"

    size: Literal["10-384", "10-512", "10-768", "cifar-4-384"] | None = None
    dim: int = 64
    depths: tuple[int, int, int] = (1, 1, 1)
    heads: int = 4
    layout: Literal["cifar", "imagenet"] = "cifar"
    attention: Literal["ssa", "softmax"] | None = None
    protocol: Literal["corrected", "official"] = "corrected"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_depths(self.depths)
        check_heads("dim", self.dim, self.heads, share=4)

    def architecture(self) -> dict[str, Any]:
        from retable.models.vision.qkformer import QKFORMER_SIZES

        own = {"embed_dims": self.dim, "depths": self.depths, "num_heads": self.heads, "layout": self.layout}
        attention = self.attention or ("ssa" if self.spiking else "softmax")
        sizes = QKFORMER_SIZES[self.size] if self.size else own
        return {**sizes, "attention": attention, "protocol": self.protocol}

    def network(self, **arguments: Any) -> nn.Module:
        from retable.models.vision.qkformer import QKFormer as Structure

        return Structure(**arguments)

    def published_keys(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The released CIFAR model calls attention `ssa` and the MLP's layers `mlp1_*`, `mlp2_*`."""
        names = {"ssa.": "attn.", "mlp1_": "fc1_", "mlp2_": "fc2_"}
        renamed = official_keys(state)
        for theirs, ours in names.items():
            renamed = {key.replace(f".{theirs}", f".{ours}"): tensor for key, tensor in renamed.items()}
        return renamed


@dataclass(frozen=True, kw_only=True)
class SEWResNet(Network):
    """SEW-ResNet (arXiv 2102.04159) by published `size` (layers), or `blocks` basic blocks a stage of `widths`.

    The ANN twin adds; "and" and "iand" are a logic of spikes.
    """

    NAME: ClassVar[str] = "sew-resnet"

    size: Literal["18", "34", "50", "101", "152"] | None = None
    blocks: tuple[int, ...] = (1, 1, 1)
    widths: tuple[int, ...] = (16, 32, 64)
    stem: Literal["small", "imagenet"] = "small"
    connect: Literal["add", "and", "iand"] = "add"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_stages(self.blocks, self.widths)
        if not self.spiking and self.connect != "add":
            raise ValueError(f"`connect` must be add where `spiking` is false, not {self.connect}")

    def architecture(self) -> dict[str, Any]:
        from retable.models.vision.sew_resnet import SEW_RESNET_SIZES

        own = {"layers": self.blocks, "widths": self.widths, "stem": self.stem}
        return {**(SEW_RESNET_SIZES[self.size] if self.size else own), "connect": self.connect}

    def network(self, **arguments: Any) -> nn.Module:
        from retable.models.vision.sew_resnet import SEWResNet as Structure

        del arguments["image_size"]  # any will do
        return Structure(**arguments)


@dataclass(frozen=True, kw_only=True)
class MSResNet(Network):
    """MS-ResNet (arXiv 2112.08954) by published `size` (layers), or `blocks` basic blocks a stage of `widths`."""

    NAME: ClassVar[str] = "ms-resnet"

    size: Literal["18", "34", "104"] | None = None
    blocks: tuple[int, ...] = (1, 1, 1)
    widths: tuple[int, ...] = (16, 32, 64)
    stem: Literal["small", "imagenet", "deep"] = "small"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_stages(self.blocks, self.widths)

    def architecture(self) -> dict[str, Any]:
        from retable.models.vision.ms_resnet import MS_RESNET_SIZES

        own = {"layers": self.blocks, "widths": self.widths, "stem": self.stem}
        return dict(MS_RESNET_SIZES[self.size]) if self.size else own

    def network(self, **arguments: Any) -> nn.Module:
        from retable.models.vision.ms_resnet import MSResNet as Structure

        del arguments["image_size"]  # any will do
        return Structure(**arguments)


@dataclass(frozen=True, kw_only=True)
class SpikingResformer(Network):
    """SpikingResformer (arXiv 2403.14302) by published `size`, or the `widths`, `blocks`, `heads` and `patches` of its stages.

    A block is a pair of attention, on patches of so many pixels a side, and feed-forward net.
    """

    NAME: ClassVar[str] = "spikingresformer"

    size: Literal["Ti", "S", "M", "L"] | None = None
    widths: tuple[int, ...] = (16, 32, 64)
    blocks: tuple[int, ...] = (1, 1, 1)
    heads: tuple[int, ...] = (1, 2, 4)
    patches: tuple[int, ...] = (4, 2, 1)
    stem: Literal["small", "imagenet"] = "small"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_stages(self.blocks, self.widths)
        if not len(self.widths) == len(self.heads) == len(self.patches):
            raise ValueError("`heads` and `patches` must have a number for each of the `widths`")
        for width, heads in zip(self.widths, self.heads, strict=True):
            if width % 16:
                raise ValueError(f"`widths` must be multiples of 16, not {width}")
            check_heads("widths", width, heads)

    def architecture(self) -> dict[str, Any]:
        from retable.models.vision.spikingresformer import SPIKINGRESFORMER_SIZES

        own = {
            "widths": self.widths,
            "layers": self.blocks,
            "num_heads": self.heads,
            "patch_sizes": self.patches,
            "stem": self.stem,
        }
        return dict(SPIKINGRESFORMER_SIZES[self.size]) if self.size else own

    def network(self, **arguments: Any) -> nn.Module:
        from retable.models.vision.spikingresformer import SpikingResformer as Structure

        del arguments["image_size"]  # any will do
        return Structure(**arguments)


@dataclass(frozen=True, kw_only=True)
class QCFS(Network):
    """A network converted to spikes after training (arXiv 2303.04347): trained with activations of `levels` steps, run for T.

    By published `size`, or a VGG-like stack: a stage of one convolution for each of `widths`, `hidden` linear layers. With
    `spiking: false` the trained ANN stays as it is.
    """

    NAME: ClassVar[str] = "qcfs"

    T: int = 8
    size: Literal["vgg16", "resnet18", "resnet20", "resnet34"] | None = None
    widths: tuple[int, ...] = (16, 32, 64)
    hidden: tuple[int, ...] = (64,)
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
        from retable.models.vision.training import fit_classifier

        ann = self._ann(data)
        log = fit_classifier(ann, data.train, self, seed=seed, device=device)
        return (self._converted(ann).eval() if self.spiking else ann), log

    def _ann(self, images: Any) -> Classifier:
        from retable.models.vision.classifier import Classifier

        places = IMAGENET | self._places(images)
        if images is not None and len(images.image_shape) == 4:
            raise ValueError(
                f"a converted network takes the same image at each step, and {images.name} has event frames"
            )
        return Classifier(self.network(**places), channels=places["in_channels"], T=1)

    def network(self, **arguments: Any) -> nn.Module:
        from retable.models.vision import qcfs

        arguments["activation"] = lambda: qcfs.QCFS(L=self.levels)
        if self.size and self.size in qcfs.RESNET_SIZES:
            del arguments["image_size"]
            return qcfs.ResNet(**arguments, **qcfs.RESNET_SIZES[self.size])
        stages = [(width,) for width in self.widths]
        sizes = qcfs.VGG_SIZES[self.size] if self.size else {"widths": stages, "hidden": self.hidden}
        return qcfs.VGG(**arguments, **sizes)

    def _converted(self, ann: Classifier) -> Classifier:
        from retable.models.vision.classifier import Classifier
        from retable.models.vision.qcfs import convert

        snn = Classifier(convert(ann.network, T=self.T), channels=len(ann.mean_C), T=self.T)
        snn.mean_C, snn.std_C = ann.mean_C, ann.std_C
        return snn
