"""A token model together with the tokenizer that turns its tokens into images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.aim.sampling import sample_tokens


class ImageModel(nn.Module):
    """Draws and scores images with a second stage (AiM or the Transformer) and a frozen tokenizer, `vqvae`.

    Only the second stage is this model's own: `parameters_counted`, `state_dict` and `load_state_dict` concern it alone,
    under its own key names. Without a tokenizer it can be counted and timed, but not sampled.
    """

    def __init__(self, stage2: Any, vqvae: Any = None) -> None:
        super().__init__()
        self.stage2 = stage2
        self.vqvae = vqvae
        if vqvae is not None:
            require_matching(stage2, vqvae)
            vqvae.requires_grad_(False)

    @property
    def num_classes(self) -> int:
        return self.stage2.num_classes

    @property
    def num_tokens(self) -> int:
        return self.stage2.num_tokens

    def parameters_counted(self) -> Iterable[nn.Parameter]:
        """The second stage's parameters; the tied head is the token table and so comes once."""
        return self.stage2.parameters()

    def embedding_tables(self) -> list[nn.Parameter]:
        return self.stage2.embedding_tables()

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.stage2.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        return self.stage2.load_state_dict(state_dict, strict=strict, assign=assign)

    @torch.inference_mode()
    def sample(
        self,
        labels_B: Tensor,
        *,
        guidance: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        position_offset: int = 0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Images (B, 3, H, W), about [-1, 1] and not clamped, of the given classes."""
        tokens_BT = sample_tokens(
            self.stage2,
            labels_B,
            guidance=guidance,
            top_k=top_k,
            top_p=top_p,
            position_offset=position_offset,
            generator=generator,
        )
        return self._tokenizer().decode_tokens(tokens_BT)

    @torch.inference_mode()
    def nll(self, images_BCHW: Tensor, labels_B: Tensor) -> Tensor:
        """Mean nats per token (B,) of images in [-1, 1], teacher-forced; the label `num_classes` means no class."""
        tokens_BT = self._tokenizer().encode(images_BCHW)
        logits_BTV = self.stage2(labels_B, tokens_BT[:, :-1])
        return F.cross_entropy(logits_BTV.transpose(1, 2), tokens_BT, reduction="none").mean(1)

    def start(self, labels_B: Tensor, max_length: int) -> tuple[Tensor, Any]:
        return self.stage2.start(labels_B, max_length)

    def step(self, tokens_B: Tensor, position: int, cache: Any) -> Tensor:
        return self.stage2.step(tokens_B, position, cache)

    def empty_cache(self, batch: int, length: int) -> Any:
        return self.stage2.empty_cache(batch, length)

    def _tokenizer(self) -> Any:
        if self.vqvae is None:
            raise ValueError("this model was built without a tokenizer, so it has no images")
        return self.vqvae


def require_matching(stage2: Any, vqvae: Any) -> None:
    """Raises ValueError when the tokenizer has another vocabulary than the model."""
    if stage2.vocab_size != vqvae.vocab_size:
        raise ValueError(f"the model knows {stage2.vocab_size} codes and its tokenizer has {vqvae.vocab_size}")
