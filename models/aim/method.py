"""AiM and its tokenizer as methods: parameters, fit, load (arXiv 2408.12245). Imports torch only when used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.models.aim.config import SIZES, AiMConfig

if TYPE_CHECKING:
    from retable.models.aim.image_model import ImageModel
    from retable.models.aim.tokenizer import VQVAE, VQConfig
    from retable.models.aim.training import Recipe


@dataclass(frozen=True, kw_only=True)
class VQTokenizer:
    """Stage 1: trained here with MSE and the VQ losses, or loaded from a published checkpoint (`weights`)."""

    NAME: ClassVar[str] = "vq-tokenizer"

    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    z_channels: int = 256
    codes: int = 16384
    code_dim: int = 8
    beta: float = 0.25
    steps: int = 300
    batch_size: int = 16
    lr: float = 2e-3
    reseed_step: int = 60
    weights: str | None = None

    NEEDS: ClassVar[tuple[str, ...]] = ()

    def build(self, images: Any) -> VQVAE:
        """A tokenizer with random weights; it fits images of every size."""
        from retable.models.aim.tokenizer import VQVAE

        return VQVAE(self._config())

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> tuple[VQVAE, dict[str, Any]]:
        """The trained or loaded tokenizer. Raises MissingWeights, CheckpointError."""
        if self.weights is not None:
            from retable.models.aim.checkpoint import read_checkpoint

            model = self.build(data)
            read_checkpoint(self.weights).load_vqvae(model)
            return model.to(device).eval(), {"weights": self.weights}
        from retable.models.aim.tokenizer_training import TokenizerRecipe, train_tokenizer

        recipe = TokenizerRecipe(steps=self.steps, batch_size=self.batch_size, lr=self.lr, reseed_step=self.reseed_step)
        return train_tokenizer(self._config(), data, recipe, seed=seed, device=device)

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> VQVAE:
        """The tokenizer that `state` came from."""
        model = self.build(data)
        model.load_state_dict(state)
        return model.to(device).eval()

    def weights_digest(self) -> str | None:
        """Digest of the published weights, None where it trains. Raises MissingWeights."""
        return _weights_digest(self.weights)

    def _config(self) -> VQConfig:
        from retable.models.aim.tokenizer import VQConfig

        return VQConfig(
            ch=self.ch,
            ch_mult=self.ch_mult,
            num_res_blocks=self.num_res_blocks,
            z_channels=self.z_channels,
            codes=self.codes,
            code_dim=self.code_dim,
            beta=self.beta,
        )


@dataclass(frozen=True, kw_only=True)
class AiM:
    """Stage 2, by published `size` or by its own sizes.

    `codes`, `num_tokens` and `num_classes` follow from the tokenizer and the data where they are not given; a published size
    has the paper's. `adaln` and `num_groups` replace the size's own where given (`num_groups: 1` is adaLN-single).
    `weights` names a folder of published weights below $BENCH_DATA; nothing is trained then. `protocol` official decays no
    weight, as the released training does; a batch goes through in parts of `micro_batch`, under autocast to `precision`.
    """

    NAME: ClassVar[str] = "aim"

    size: Literal["b", "l", "xl", "1b"] | None = None
    d_model: int = 64
    n_layer: int = 4
    layer: Literal["Mamba2", "Mamba1"] = "Mamba2"
    d_state: int | None = None
    headdim: int | None = None
    adaln: Literal["group", "plain", "none"] | None = None
    num_groups: int | None = None
    position_table: bool = True
    codes: int | None = None
    num_tokens: int | None = None
    num_classes: int | None = None
    steps: int = 400
    batch_size: int = 32
    lr: float = 2e-3
    warmup: int = 0
    weight_decay: float = 0.05
    label_dropout: float = 0.1
    protocol: Literal["official", "corrected"] = "corrected"
    micro_batch: int | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    weights: str | None = None

    NEEDS: ClassVar[tuple[str, ...]] = ("tokenizer",)

    def config(self, images: Any = None, vqvae: Any = None) -> AiMConfig:
        """Sizes of stage 2. Raises ValueError where neither the parameters nor the tokenizer and the data give them."""
        base = SIZES[self.size] if self.size else AiMConfig(d_model=self.d_model, n_layer=self.n_layer, adaln="group")
        changes: dict[str, Any] = {"position_table": self.position_table}
        changes |= {"adaln": self.adaln} if self.adaln else {}
        changes |= {"num_groups": self.num_groups} if self.num_groups else {}
        mixer = {"layer": self.layer}
        mixer |= {name: value for name in ("d_state", "headdim") if (value := getattr(self, name)) is not None}
        given = {"vocab_size": self.codes, "num_tokens": self.num_tokens, "num_classes": self.num_classes}
        return base.replace(
            ssm_cfg=mixer, **changes, **sizes_from(given, images, vqvae, complete=self.size is not None)
        )

    def build(self, images: Any) -> ImageModel:
        """Stage 2 with random weights and no tokenizer: to be counted and timed."""
        from retable.models.aim.image_model import ImageModel
        from retable.models.aim.stage2 import AiM as Stage2

        return ImageModel(Stage2(self.config(images)))

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> tuple[ImageModel, dict[str, Any]]:
        """Trained on the tokens of `data.train`, or loaded from `weights`. Raises MissingWeights, CheckpointError."""
        model = self._assemble(data, needs).to(device)
        if self.weights is not None:
            from retable.models.aim.checkpoint import read_checkpoint

            read_checkpoint(self.weights).load_stage2(model.stage2)
            return model.eval(), {"weights": self.weights}
        from retable.models.aim.training import fit_stage2

        return model, fit_stage2(model, data, self._recipe(), seed=seed, device=device)

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> ImageModel:
        """The model that `state` came from, with the tokenizer it needs."""
        model = self._assemble(data, needs)
        model.load_state_dict(state)
        return model.to(device).eval()

    def weights_digest(self) -> str | None:
        """Digest of the published weights, None where it trains. Raises MissingWeights."""
        return _weights_digest(self.weights)

    def _assemble(self, data: Any, needs: Mapping[str, Any]) -> ImageModel:
        from retable.models.aim.image_model import ImageModel
        from retable.models.aim.stage2 import AiM as Stage2

        return ImageModel(Stage2(self.config(data, needs["tokenizer"])), needs["tokenizer"])

    def _recipe(self) -> Recipe:
        from retable.models.aim.training import Recipe

        return Recipe(
            steps=self.steps,
            batch_size=self.batch_size,
            lr=self.lr,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            label_dropout=self.label_dropout,
            protocol=self.protocol,
            micro_batch=self.micro_batch,
            precision=self.precision,
        )


def sizes_from(given: Mapping[str, int | None], images: Any, vqvae: Any, *, complete: bool = False) -> dict[str, int]:
    """`vocab_size`, `num_tokens`, `num_classes`: as given, else of the tokenizer and the data; none where `complete`.

    Raises ValueError naming what nothing says.
    """
    known = {name: value for name, value in given.items() if value is not None}
    if complete:
        return known
    if vqvae is not None:
        known.setdefault("vocab_size", vqvae.vocab_size)
        known.setdefault("num_tokens", vqvae.num_tokens(images.image_shape[-1]))
    if images is not None:
        known.setdefault("num_classes", images.num_classes)
    if missing := sorted(set(given) - set(known)):
        raise ValueError(f"without a tokenizer and data, {', '.join(missing)} must be given")
    return known


def _weights_digest(weights: str | None) -> str | None:
    if weights is None:
        return None
    from retable.models.common.weights import weights_digest

    return weights_digest(weights)
