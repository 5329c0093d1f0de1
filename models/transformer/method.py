"""The causal Transformer as a method, equal to AiM in all but the token mixer. Imports torch only when used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.models.aim.method import sizes_from

if TYPE_CHECKING:
    from retable.models.aim.image_model import ImageModel
    from retable.models.transformer.model import TransformerConfig


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """LlamaGen-like: RMSNorm, SwiGLU, rotary or learned positions, class token first, KV cache; trained as AiM is."""

    NAME: ClassVar[str] = "transformer"

    d_model: int = 64
    n_layer: int = 3
    n_head: int = 4
    hidden: int | None = None
    positions: Literal["rope", "learned"] = "rope"
    codes: int | None = None
    num_tokens: int | None = None
    num_classes: int | None = None
    steps: int = 400
    batch_size: int = 32
    lr: float = 2e-3
    warmup: int = 0
    weight_decay: float = 0.05
    label_dropout: float = 0.1
    micro_batch: int | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"

    NEEDS: ClassVar[tuple[str, ...]] = ("tokenizer",)

    def config(self, images: Any = None, vqvae: Any = None) -> TransformerConfig:
        """Sizes. Raises ValueError where neither the parameters nor the tokenizer and the data give them."""
        from retable.models.transformer.model import TransformerConfig

        given = {"vocab_size": self.codes, "num_tokens": self.num_tokens, "num_classes": self.num_classes}
        return TransformerConfig(
            d_model=self.d_model,
            n_layer=self.n_layer,
            n_head=self.n_head,
            hidden=self.hidden,
            positions=self.positions,
            **sizes_from(given, images, vqvae),
        )

    def build(self, images: Any) -> ImageModel:
        """Random weights and no tokenizer: to be counted and timed."""
        from retable.models.aim.image_model import ImageModel
        from retable.models.transformer import model

        return ImageModel(model.Transformer(self.config(images)))

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> tuple[ImageModel, dict[str, Any]]:
        """Trained on the tokens of `data.train`."""
        from retable.models.aim.training import Recipe, fit_stage2

        recipe = Recipe(
            steps=self.steps,
            batch_size=self.batch_size,
            lr=self.lr,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            label_dropout=self.label_dropout,
            micro_batch=self.micro_batch,
            precision=self.precision,
        )
        model = self._assemble(data, needs).to(device)
        return model, fit_stage2(model, data, recipe, seed=seed, device=device)

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> ImageModel:
        """The model that `state` came from, with the tokenizer it needs."""
        model = self._assemble(data, needs)
        model.load_state_dict(state)
        return model.to(device).eval()

    def _assemble(self, data: Any, needs: Mapping[str, Any]) -> ImageModel:
        from retable.models.aim.image_model import ImageModel
        from retable.models.transformer import model

        return ImageModel(model.Transformer(self.config(data, needs["tokenizer"])), needs["tokenizer"])
