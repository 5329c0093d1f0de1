"""What embedded prompts do to a backbone: how far they shrink each token's attention, and what one column would do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from retable.models.ept import attention
from retable.models.ept.classifier import TunedClassifier
from retable.models.ept.tuning import EPT, Tuning


class _Watched(Tuning):
    """Attends as embedded prompts do, and keeps r of every prompted layer."""

    def __init__(self, prompts: EPT) -> None:
        super().__init__()
        self.prompts = prompts
        self.kept: list[Tensor] = []

    def attend(self, layer: int, q_BHNE: Tensor, k_BHNE: Tensor, v_BHNE: Tensor) -> Tensor:
        if layer in self.prompts.layers:
            P = self.prompts.prompt[layer - self.prompts.layers[0]]
            self.kept.append(attention.row_scale(attention.logits(q_BHNE, k_BHNE), P))
        return self.prompts.attend(layer, q_BHNE, k_BHNE, v_BHNE)


def concatenated(tuning: nn.Module) -> EPT | None:
    """The tuning as prompts beside the logits, for which r and one column are defined; None for any other."""
    return tuning if isinstance(tuning, EPT) and tuning.mode == "concat" else None


def row_scales(model: TunedClassifier, x_BCHW: Tensor) -> Tensor | None:
    """r of each prompted layer, image, head and token, (L, B, H, N); None without prompts beside the logits."""
    prompts = concatenated(model.tuning)
    if prompts is None:
        return None
    watched = _Watched(prompts)
    model.backbone(x_BCHW, watched)
    return torch.stack(watched.kept)


def one_column(prompts: EPT) -> EPT:
    """Prompts of length 1 that do exactly what these do: the logsumexp of each row, joined literally as Equation 5 has it."""
    tokens = prompts.prompt.shape[1]
    short = EPT(tokens, 1, prompts.layers, form="literal")
    short.prompt.data.copy_(prompts.prompt.detach().logsumexp(-1, keepdim=True))
    return short
