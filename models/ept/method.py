"""The backbone and the ways to tune it, as a suite declares them (arXiv 2407.01003). Imports torch only when used.

Every way is a recipe with a tuning: what it adds to the backbone or trains of it, and its head. `size`, `image_size` and
`num_classes` say what is counted where there is neither a backbone nor data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.models.ept.recipe import Recipe
from retable.models.ept.sizes import VIT_SIZES, ViTSize

if TYPE_CHECKING:
    from retable.models.ept.classifier import Prepared, TunedClassifier
    from retable.models.ept.model import FewShotModel
    from retable.models.ept.tuning import Tuning

Size = Literal["b16", "l16"]


@dataclass(frozen=True, kw_only=True)
class ViT:
    """The backbone: read from `weights` below $BENCH_DATA, or pretrained on `images` generated shapes.

    By published `size` or by its own sizes. One fit serves every data set and repetition: it uses neither.
    """

    NAME: ClassVar[str] = "vit"

    size: Size | None = None
    width: int = 64
    depth: int = 4
    heads: int = 4
    mlp: int = 128
    patch: int = 4
    image_size: int = 28
    in_channels: int = 3
    weights: str | None = None
    images: int = 6000
    epochs: int = 12
    batch_size: int = 64
    lr: float = 2e-3
    seed: int = 0

    NEEDS: ClassVar[tuple[str, ...]] = ()
    ALONE: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("images", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if self.batch_size > self.images:
            raise ValueError(f"`batch_size` must be at most the {self.images} `images`, not {self.batch_size}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"`lr` must be above 0, not {self.lr}")
        self.sizes()

    def sizes(self) -> ViTSize:
        if self.size is not None:
            return VIT_SIZES[self.size]
        return ViTSize(
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            mlp=self.mlp,
            patch=self.patch,
            image_size=self.image_size,
            in_channels=self.in_channels,
        )

    def build(self, data: Any) -> Prepared:
        """Random weights from torch's own generator."""
        from retable.models.ept.classifier import Prepared
        from retable.models.ept.vit import VisionTransformer

        return Prepared(VisionTransformer(self.sizes()))

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> tuple[Prepared, dict[str, Any]]:
        """Raises MissingWeights, CheckpointError."""
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            model = self.build(None)
            if self.weights is not None:
                from retable.models.common.weights import weights_file
                from retable.models.ept.checkpoint import load_backbone

                load_backbone(weights_file(self.weights), model.network)
                return model.to(device).eval(), {"weights": self.weights}

            from retable.models.ept.pretraining import pretrain

            log = pretrain(
                model,
                images=self.images,
                epochs=self.epochs,
                batch_size=self.batch_size,
                lr=self.lr,
                seed=self.seed,
                device=device,
            )
            return model, log

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> Prepared:
        model = self.build(None)
        model.load_state_dict(state)
        return model.to(device).eval()

    def weights_digest(self) -> str | None:
        """Digest of the published weights, None where it is pretrained here. Raises MissingWeights."""
        if self.weights is None:
            return None
        from retable.models.common.weights import weights_digest

        return weights_digest(self.weights)


@dataclass(frozen=True, kw_only=True)
class Tuned(Recipe):
    """What all ways share; by itself the linear probe: a head on the frozen backbone."""

    size: Size | None = None
    image_size: int | None = None
    num_classes: int | None = None

    NEEDS: ClassVar[tuple[str, ...]] = ("backbone",)
    HEAD_LAYERS: ClassVar[int] = 1

    def tuning(self, vit: ViTSize) -> Tuning:
        """Its numbers drawn from torch's own generator."""
        from retable.models.ept.tuning import Tuning

        return Tuning()

    def build(self, data: Any) -> TunedClassifier:
        """On a backbone of random weights of `size`, to be counted; ImageNet's classes where nothing says them."""
        from retable.models.ept.classifier import Prepared
        from retable.models.ept.vit import VisionTransformer

        vit = VIT_SIZES[self.size or "b16"]
        vit = vit if self.image_size is None else replace(vit, image_size=self.image_size)
        return self.assemble(Prepared(VisionTransformer(vit)), self.num_classes or 1000)

    def assemble(self, backbone: Prepared, num_classes: int) -> TunedClassifier:
        """The head is drawn before anything else, so that all ways start from the same one."""
        from retable.models.ept.classifier import Head, TunedClassifier

        size = backbone.network.size
        head = Head(size.width, num_classes, self.HEAD_LAYERS)
        return TunedClassifier(backbone, self.tuning(size), head)

    def fit(
        self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str
    ) -> tuple[FewShotModel, dict[str, Any]]:
        """Tuned on the draw of each number of shots. Raises ValueError for images of another size, FloatingPointError."""
        import torch

        from retable.models.ept.model import fit_few_shot

        with torch.random.fork_rng():
            torch.manual_seed(seed)  # head, prompts, dropout
            model = self.assemble(_fitting(needs["backbone"], data), data.num_classes)
            return fit_few_shot(model, needs["backbone"], data, self, seed=seed, device=device)

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> FewShotModel:
        """The model that `state` came from, on the backbone it needs."""
        import torch

        from retable.models.ept.model import FewShotModel

        with torch.random.fork_rng():
            classifier = self.assemble(_fitting(needs["backbone"], data), data.num_classes)
        model = FewShotModel(classifier, needs["backbone"], self)
        model.load_state_dict(state)
        return model.to(device).eval()


def _fitting(backbone: Any, data: Any) -> Prepared:
    size = backbone.network.size
    wanted = (size.in_channels, size.image_size, size.image_size)
    if tuple(data.image_shape) != wanted:
        raise ValueError(f"the backbone takes images of {wanted}, and {data.name} has {tuple(data.image_shape)}")
    prepared: Prepared = backbone
    return prepared


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Tuned):
    """Head only."""

    NAME: ClassVar[str] = "linear-probe"


@dataclass(frozen=True, kw_only=True)
class MLP3(Tuned):
    """A head of three layers, of the backbone's width inside."""

    NAME: ClassVar[str] = "mlp-3"

    HEAD_LAYERS: ClassVar[int] = 3


@dataclass(frozen=True, kw_only=True)
class FullTuning(Tuned):
    """The whole backbone and the head. The published configuration is AdamW with a long warm-up, which a suite declares."""

    NAME: ClassVar[str] = "full-tuning"

    def tuning(self, vit: ViTSize) -> Tuning:
        from retable.models.ept.tuning import Full

        return Full()


@dataclass(frozen=True, kw_only=True)
class Partial1(Tuned):
    """The last block and the head."""

    NAME: ClassVar[str] = "partial-1"

    def tuning(self, vit: ViTSize) -> Tuning:
        from retable.models.ept.tuning import Partial

        return Partial(vit.depth)


@dataclass(frozen=True, kw_only=True)
class BiasTuning(Tuned):
    """All biases and the head (BitFit)."""

    NAME: ClassVar[str] = "bias-tuning"

    def tuning(self, vit: ViTSize) -> Tuning:
        from retable.models.ept.tuning import Bias

        return Bias()


@dataclass(frozen=True, kw_only=True)
class Prompted(Tuned):
    """What prompt methods share: `length` rows or columns, in all layers or the listed ones, drawn by `init`.

    `offset` is added to every number that was drawn; `frozen` leaves them so, and only the head is trained.
    """

    length: int = 10
    layers: tuple[int, ...] | None = None
    init: Literal["normal", "uniform", "zeros", "kaiming"] = "normal"
    offset: float = 0.0
    frozen: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 1:
            raise ValueError(f"`length` must be at least 1, not {self.length}")
        if self.layers is not None and (not self.layers or min(self.layers) < 0):
            raise ValueError(f"`layers` must name a layer, counted from 0, not {list(self.layers)}")
        if not math.isfinite(self.offset):
            raise ValueError(f"`offset` must be finite, not {self.offset}")

    def places(self, vit: ViTSize) -> tuple[int, ...]:
        """The prompted layers. Raises ValueError for one that the backbone lacks."""
        layers = tuple(range(vit.depth)) if self.layers is None else self.layers
        if max(layers) >= vit.depth:
            raise ValueError(f"`layers` names layer {max(layers)} of {vit.depth}; they count from 0")
        return layers

    def drawn(self, tuning: Any) -> Tuning:
        """The tuning with its prompts drawn."""
        from retable.models.ept.tuning import INITS

        INITS[self.init](tuning.prompt.data).add_(self.offset)
        filled: Tuning = tuning.requires_grad_(not self.frozen)
        return filled


@dataclass(frozen=True, kw_only=True)
class EmbeddedPrompts(Prompted):
    """EPT: `length` columns beside the attention's logits; `mode` has the variants of Figure 5."""

    NAME: ClassVar[str] = "ept"

    length: int = 100
    mode: Literal["concat", "multiply-concat", "add", "multiply"] = "concat"
    form: Literal["scaled", "literal"] = "scaled"

    def tuning(self, vit: ViTSize) -> Tuning:
        from retable.models.ept.tuning import EPT

        return self.drawn(EPT(vit.tokens, self.length, self.places(vit), self.mode, self.form))


@dataclass(frozen=True, kw_only=True)
class VisualPromptTuning(Prompted):
    """VPT: `length` tokens after CLS, in all layers (deep) or `layers: [0]` (shallow); frozen it is the paper's VPT-F."""

    NAME: ClassVar[str] = "vpt"

    def tuning(self, vit: ViTSize) -> Tuning:
        from retable.models.ept.tuning import VPT

        return self.drawn(VPT(vit.width, self.length, self.places(vit)))


@dataclass(frozen=True, kw_only=True)
class VisualPrompting(Prompted):
    """VP: values added to the first `length` patch tokens of each layer, one reading of what the paper leaves open."""

    NAME: ClassVar[str] = "visual-prompting"

    def tuning(self, vit: ViTSize) -> Tuning:
        from retable.models.ept.tuning import VP

        return self.drawn(VP(vit.width, self.length, self.places(vit), vit.tokens))


@dataclass(frozen=True, kw_only=True)
class Adapter(Tuned):
    """AdaptFormer: a bottleneck of width / `reduction` units beside each feed-forward net, times `scale`."""

    NAME: ClassVar[str] = "adaptformer"

    reduction: int = 8
    scale: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reduction < 1:
            raise ValueError(f"`reduction` must be at least 1, not {self.reduction}")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"`scale` must be above 0, not {self.scale}")

    def tuning(self, vit: ViTSize) -> Tuning:
        from retable.models.ept.tuning import AdaptFormer

        return AdaptFormer(vit.width, vit.depth, max(vit.width // self.reduction, 1), self.scale)


@dataclass(frozen=True, kw_only=True)
class LowRank(Tuned):
    """LoRA of `rank` on queries and values; `alpha` null is the rank, so that the factor alpha / rank is 1."""

    NAME: ClassVar[str] = "lora"

    rank: int = 8
    alpha: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < 1:
            raise ValueError(f"`rank` must be at least 1, not {self.rank}")
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise ValueError(f"`alpha` must be above 0, not {self.alpha}")

    def tuning(self, vit: ViTSize) -> Tuning:
        from retable.models.ept.tuning import LoRA

        return LoRA(vit.width, vit.depth, self.rank, self.alpha or self.rank)
