"""Ways to tune a frozen Vision Transformer: each says what it adds, where, and which of the backbone's weights it trains.

Sources: EPT arXiv 2407.01003; VPT 2203.12119; BitFit 2106.10199; AdaptFormer 2205.13535; LoRA 2106.09685.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.ept import attention

Mode = Literal["concat", "multiply-concat", "add", "multiply"]
Form = Literal["scaled", "literal"]
Init = Literal["normal", "uniform", "zeros", "kaiming"]
PROMPT_STD, PROMPT_REACH = 0.02, 0.08


class Tuning(nn.Module):
    """Nothing at all: the frozen backbone. The hooks of a layer stand in the order in which it comes to them."""

    def trains(self, name: str) -> bool:
        """Whether the backbone's parameter of this name is trained."""
        return False

    def tokens(self, layer: int, x_BND: Tensor) -> Tensor:
        """What enters a layer."""
        return x_BND

    def qkv(self, layer: int, y_BND: Tensor, qkv: nn.Module) -> Tensor:
        """(B, N, 3 D), queries first."""
        out: Tensor = qkv(y_BND)
        return out

    def attend(self, layer: int, q_BHNE: Tensor, k_BHNE: Tensor, v_BHNE: Tensor) -> Tensor:
        return attention.plain(q_BHNE, k_BHNE, v_BHNE)

    def ffn(self, layer: int, y_BND: Tensor, ffn: nn.Module) -> Tensor:
        out: Tensor = ffn(y_BND)
        return out


class Full(Tuning):
    """Everything."""

    def trains(self, name: str) -> bool:
        return True


class Partial(Tuning):
    """The last block and nothing after it: the paper does not say whether the last LayerNorm trains, and here it does not."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.prefix = f"layers.{depth - 1}."

    def trains(self, name: str) -> bool:
        return name.startswith(self.prefix)


class Bias(Tuning):
    """Every bias, those of LayerNorms and of the patch embedding among them (BitFit)."""

    def trains(self, name: str) -> bool:
        return name.endswith("bias")


class EPT(Tuning):
    """Prompts (layers, N, d_p) beside the attention logits of `layers`, or, by `mode`, into them (Figure 5).

    `add` and `multiply` need d_p = N. Row 0 of the table is that of the first of `layers`, which must be consecutive.
    """

    def __init__(
        self, tokens: int, length: int, layers: Sequence[int], mode: Mode = "concat", form: Form = "scaled"
    ) -> None:
        super().__init__()
        if list(layers) != list(range(layers[0], layers[0] + len(layers))):
            raise ValueError(f"prompted layers must be consecutive, not {list(layers)}")
        if mode in ("add", "multiply") and length != tokens:
            raise ValueError(
                f"prompts that {mode} to logits need a length of {tokens}, one for each token, not {length}"
            )
        self.layers, self.mode, self.form = range(layers[0], layers[0] + len(layers)), mode, form
        self.prompt = nn.Parameter(torch.zeros(len(self.layers), tokens, length))

    def attend(self, layer: int, q_BHNE: Tensor, k_BHNE: Tensor, v_BHNE: Tensor) -> Tensor:
        if layer not in self.layers:
            return attention.plain(q_BHNE, k_BHNE, v_BHNE)
        P = self.prompt[layer - self.layers[0]]
        if len(P) != q_BHNE.shape[-2]:
            raise ValueError(
                f"the images have {q_BHNE.shape[-2]} tokens and the prompts {len(P)} rows, which cannot be resized: "
                "give the images the size that the prompts were made for"
            )
        if self.mode == "concat":
            join = attention.scaled if self.form == "scaled" else attention.literal
            return join(q_BHNE, k_BHNE, v_BHNE, P)
        S = attention.logits(q_BHNE, k_BHNE)
        if self.mode == "multiply-concat":
            return attention.kept_attention(S, attention.reach(S) * P) @ v_BHNE
        return (P + S if self.mode == "add" else P * S).softmax(-1) @ v_BHNE


class VPT(Tuning):
    """Prompts (layers, n_p, D) after CLS, without a position; each of `layers` overwrites them with its own.

    One layer, 0, is VPT-shallow; all are VPT-deep. Row l of the table is that of layer l, so `layers` start at 0.
    """

    def __init__(self, width: int, length: int, layers: Sequence[int] = (0,)) -> None:
        super().__init__()
        if list(layers) != list(range(len(layers))):
            raise ValueError(f"prompted layers must be consecutive from 0, not {list(layers)}")
        self.prompt = nn.Parameter(torch.zeros(len(layers), length, width))

    def tokens(self, layer: int, x_BND: Tensor) -> Tensor:
        if layer >= len(self.prompt):
            return x_BND
        own_BPD = self.prompt[layer].expand(len(x_BND), -1, -1)
        rest = 1 if layer == 0 else 1 + own_BPD.shape[1]
        return torch.cat([x_BND[:, :1], own_BPD, x_BND[:, rest:]], dim=1)


class VP(Tuning):
    """Values (layers, n_p, D) that are added to the first n_p patch tokens as they enter each layer.

    The paper adds "learned values to the embeddings of all channels", deep, with lengths up to 150, and does not say what a
    length means for an addition: this is one reading.
    """

    def __init__(self, width: int, length: int, layers: Sequence[int], tokens: int) -> None:
        super().__init__()
        if list(layers) != list(range(len(layers))):
            raise ValueError(f"prompted layers must be consecutive from 0, not {list(layers)}")
        if length >= tokens:
            raise ValueError(f"values are added to patches: their length must be below {tokens}, not {length}")
        self.prompt = nn.Parameter(torch.zeros(len(layers), length, width))

    def tokens(self, layer: int, x_BND: Tensor) -> Tensor:
        if layer >= len(self.prompt):
            return x_BND
        length = self.prompt.shape[1]
        return x_BND + F.pad(self.prompt[layer], (0, 0, 1, x_BND.shape[1] - 1 - length))


class AdaptFormer(Tuning):
    """FFN(y) + s up(ReLU(down(y))) with y = LN(x), of `hidden` = D / r units a layer; `up` starts at 0."""

    def __init__(self, width: int, depth: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.down = nn.ModuleList(nn.Linear(width, hidden) for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(hidden, width) for _ in range(depth))
        for name, parameter in self.named_parameters():
            if name.startswith("down.") and name.endswith("weight"):
                nn.init.kaiming_uniform_(parameter, a=5**0.5)
            else:
                nn.init.zeros_(parameter)

    def ffn(self, layer: int, y_BND: Tensor, ffn: nn.Module) -> Tensor:
        beside: Tensor = self.up[layer](torch.relu(self.down[layer](y_BND)))
        return ffn(y_BND) + self.scale * beside


class LoRA(Tuning):
    """W_q and W_v plus (alpha / rank) B A of the same `rank`; B starts at 0.

    The paper states no alpha; the method's default alpha = rank makes the factor 1.
    """

    def __init__(self, width: int, depth: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.factor = alpha / rank
        self.A = nn.Parameter(torch.empty(depth, 2, rank, width))  # of queries and of values
        self.B = nn.Parameter(torch.zeros(depth, 2, width, rank))
        for A in self.A.data.flatten(0, 1):
            nn.init.kaiming_uniform_(A, a=5**0.5)

    def qkv(self, layer: int, y_BND: Tensor, qkv: nn.Module) -> Tensor:
        # peft changes a linear layer as a whole; of this fused one only queries and values are to change
        q, v = (self.factor * (y_BND @ self.A[layer, i].T @ self.B[layer, i].T) for i in range(2))
        change: Tensor = torch.cat([q, torch.zeros_like(q), v], dim=-1)
        return qkv(y_BND) + change


INITS: dict[Init, Callable[[Tensor], Tensor]] = {
    "normal": lambda prompt: nn.init.normal_(prompt, std=PROMPT_STD),
    "uniform": lambda prompt: nn.init.uniform_(prompt, -PROMPT_REACH, PROMPT_REACH),
    "zeros": nn.init.zeros_,
    "kaiming": nn.init.kaiming_normal_,
}
"""How prompts start; the published code has these four, and `token`, which cannot work and is left out."""
