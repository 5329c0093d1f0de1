"""The Vision Transformer that all methods tune, under the keys of the published code (arXiv 2407.01003, MMClassification).

Letters: B images, N tokens (CLS first, then the patches), D width, H heads, E = D / H, L layers.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.common.shapes import check_dims
from retable.models.ept.sizes import ViTSize
from retable.models.ept.tuning import Tuning

LN_EPS = 1e-6
INIT_STD = 0.02


class PatchEmbed(nn.Module):
    def __init__(self, size: ViTSize) -> None:
        super().__init__()
        self.projection = nn.Conv2d(size.in_channels, size.width, size.patch, size.patch)


class Attention(nn.Module):
    def __init__(self, size: ViTSize) -> None:
        super().__init__()
        self.heads = size.heads
        self.qkv = nn.Linear(size.width, 3 * size.width, bias=size.qkv_bias)
        self.proj = nn.Linear(size.width, size.width)
        self.drop = nn.Dropout(0.0)

    def forward(self, y_BND: Tensor, tuning: Tuning, layer: int) -> Tensor:
        qkv_BN3D = tuning.qkv(layer, y_BND, self.qkv)
        q, k, v = qkv_BN3D.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, H, N, E)
        out_BHNE = tuning.attend(layer, q, k, v)
        return self.drop(self.proj(out_BHNE.transpose(1, 2).flatten(2)))


class FeedForward(nn.Module):
    def __init__(self, size: ViTSize) -> None:
        super().__init__()
        inner = nn.Sequential(nn.Linear(size.width, size.mlp), nn.GELU(), nn.Dropout(0.0))
        self.layers = nn.Sequential(inner, nn.Linear(size.mlp, size.width), nn.Dropout(0.0))

    def forward(self, y_BND: Tensor) -> Tensor:
        return self.layers(y_BND)


class Block(nn.Module):
    """x + MSA(LN(x)), then x + FFN(LN(x)); a tuning may take the place of either branch's inside."""

    def __init__(self, size: ViTSize) -> None:
        super().__init__()
        self.ln1, self.ln2 = (nn.LayerNorm(size.width, eps=LN_EPS) for _ in range(2))
        self.attn = Attention(size)
        self.ffn = FeedForward(size)

    def forward(self, x_BND: Tensor, tuning: Tuning, layer: int) -> Tensor:
        x_BND = x_BND + self.attn(self.ln1(x_BND), tuning, layer)
        return x_BND + tuning.ffn(layer, self.ln2(x_BND), self.ffn)


class VisionTransformer(nn.Module):
    """Images (B, C, H, W) -> the CLS token after the last LayerNorm (B, D), as it is or under a tuning."""

    def __init__(self, size: ViTSize) -> None:
        super().__init__()
        self.size = size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, size.tokens, size.width))
        self.patch_embed = PatchEmbed(size)
        self.drop = nn.Dropout(0.0)
        self.layers = nn.ModuleList(Block(size) for _ in range(size.depth))
        self.ln1 = nn.LayerNorm(size.width, eps=LN_EPS) if size.final_norm else nn.Identity()
        self._initialise()

    def forward(self, x_BCHW: Tensor, tuning: Tuning | None = None) -> Tensor:
        return self.outputs(x_BCHW, tuning, (-1,))[0]

    def outputs(self, x_BCHW: Tensor, tuning: Tuning | None, layers: Iterable[int]) -> list[Tensor]:
        """The CLS token (B, D) after each of `layers`; only after the last one is it normalised."""
        tuning = tuning or Tuning()
        wanted = {layer % len(self.layers) for layer in layers}
        found = []
        x_BND = self.embedded(x_BCHW)
        for layer, block in enumerate(self.layers):
            x_BND = block(tuning.tokens(layer, x_BND), tuning, layer)
            if layer == len(self.layers) - 1:
                x_BND = self.ln1(x_BND)
            if layer in wanted:
                found.append(x_BND[:, 0])
        return found

    def embedded(self, x_BCHW: Tensor) -> Tensor:
        """CLS and patches with their positions, (B, N, D); the table is resized to images of another size."""
        check_dims("x", x_BCHW, "BCHW")
        patches_BDhw = self.patch_embed.projection(x_BCHW)
        patches_BND = patches_BDhw.flatten(2).transpose(1, 2)
        x_BND = torch.cat([self.cls_token.expand(len(x_BCHW), -1, -1), patches_BND], dim=1)
        height, width = patches_BDhw.shape[2:]
        return self.drop(x_BND + resized(self.pos_embed, height, width))

    def set_dropout(self, rate: float) -> None:
        """Of embeddings, attention outputs and feed-forward nets; not of attention weights."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = rate

    @torch.no_grad()
    def _initialise(self) -> None:
        """Linear weights and both tables normal with INIT_STD, cut at two units; biases 0 (arXiv 2010.11929)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for table in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(table, std=INIT_STD)


def resized(pos_1ND: Tensor, height: int, width: int) -> Tensor:
    """A square position table for height x width patches: bicubic, without aligned corners, the CLS entry as it is.

    Raises ValueError for a table that is not square.
    """
    side = round((pos_1ND.shape[1] - 1) ** 0.5)
    if pos_1ND.dim() != 3 or side**2 != pos_1ND.shape[1] - 1:
        raise ValueError(f"a position table of shape {tuple(pos_1ND.shape)} is not CLS and a square of patches")
    if (height, width) == (side, side):
        return pos_1ND
    grid_1Dhw = pos_1ND[:, 1:].transpose(1, 2).unflatten(2, (side, side))
    grid_1Dhw = F.interpolate(grid_1Dhw, (height, width), mode="bicubic", align_corners=False)
    return torch.cat([pos_1ND[:, :1], grid_1Dhw.flatten(2).transpose(1, 2)], dim=1)
