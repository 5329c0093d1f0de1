"""The VQ tokenizer of AiM (arXiv 2408.12245, section 3; weights and layout of LlamaGen, arXiv 2406.06525).

    image -> encoder -> 1x1 conv -> nearest code on the unit sphere -> 1x1 conv -> decoder -> image

Parameter names are those of the official checkpoints (their prefix there is `vqvae.`).
Shapes: B batch, C channels, H W height and width, T = H W tokens in raster order, D code dimension, V codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, interpolate, mse_loss, normalize, pad, scaled_dot_product_attention, silu

GROUPS, EPS = 32, 1e-6
USAGE_WINDOW = 65536


@dataclass(frozen=True)
class VQConfig:
    """Sizes of the tokenizer; the defaults are the published f=16 one (71.88M parameters).

    ch: channels of the first level, times ch_mult on each; beta: weight of the commitment loss.
    Raises ValueError for channels that GroupNorm cannot split into 32 groups.
    """

    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    z_channels: int = 256
    codes: int = 16384
    code_dim: int = 8
    beta: float = 0.25

    def __post_init__(self) -> None:
        if not self.ch_mult or min(*self.ch_mult, self.num_res_blocks, self.z_channels, self.codes, self.code_dim) < 1:
            raise ValueError("a tokenizer needs at least one level, and sizes of at least 1")
        if self.ch < 1 or any(self.ch * mult % GROUPS for mult in self.ch_mult):
            raise ValueError(f"ch x ch_mult must be multiples of {GROUPS}, not {self.ch} x {self.ch_mult}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(self.ch * mult for mult in self.ch_mult)


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels, eps=EPS)


def conv3(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1)


class ResBlock(nn.Module):
    """x + conv(swish(GN(conv(swish(GN(x)))))), with a 1x1 convolution on x where the width changes."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(c_in), conv3(c_in, c_out)
        self.norm2, self.conv2 = norm(c_out), conv3(c_out, c_out)
        self.nin_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h_BCHW = self.conv1(silu(self.norm1(x_BCHW)))
        h_BCHW = self.conv2(silu(self.norm2(h_BCHW)))
        return self.nin_shortcut(x_BCHW) + h_BCHW


class AttnBlock(nn.Module):
    """x + single-head attention over the T = H W positions, scaled by C^-1/2."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.norm = norm(c)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(c, c, 1) for _ in range(4))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        n_BCHW = self.norm(x_BCHW)
        q_BTC, k_BTC, v_BTC = (conv(n_BCHW).flatten(2).transpose(1, 2) for conv in (self.q, self.k, self.v))
        h_BTC = scaled_dot_product_attention(q_BTC, k_BTC, v_BTC)
        return x_BCHW + self.proj_out(h_BTC.transpose(1, 2).reshape(x_BCHW.shape))


class Downsample(nn.Module):
    """Halves H and W; the padding is on the right and the bottom only."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(pad(x_BCHW, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles H and W: nearest neighbour, then a convolution."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv = conv3(c, c)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The residual blocks of one resolution, each followed by attention at the deepest one; then `resample`."""

    def __init__(self, c_in: int, c_out: int, blocks: int, *, attention: bool, resample: str = "") -> None:
        super().__init__()
        self.res = nn.ModuleList(ResBlock(c_in if k == 0 else c_out, c_out) for k in range(blocks))
        self.attn = nn.ModuleList(AttnBlock(c_out) for _ in range(blocks if attention else 0))
        self.downsample = Downsample(c_out) if resample == "down" else nn.Identity()
        self.upsample = Upsample(c_out) if resample == "up" else nn.Identity()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        for k, res in enumerate(self.res):
            x_BCHW = res(x_BCHW)
            if self.attn:
                x_BCHW = self.attn[k](x_BCHW)
        return self.upsample(self.downsample(x_BCHW))


def middle(c: int) -> nn.Sequential:
    return nn.Sequential(ResBlock(c, c), AttnBlock(c), ResBlock(c, c))


class Encoder(nn.Module):
    """Images (B, 3, H, W) -> (B, z_channels, H/f, W/f)."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        widths = config.widths
        last = len(widths) - 1
        self.conv_in = conv3(3, config.ch)
        self.conv_blocks = nn.ModuleList(
            Level(c_in, c, config.num_res_blocks, attention=i == last, resample="" if i == last else "down")
            for i, (c_in, c) in enumerate(zip((config.ch, *widths), widths, strict=False))
        )
        self.mid = middle(widths[-1])
        self.norm_out, self.conv_out = norm(widths[-1]), conv3(widths[-1], config.z_channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h_BCHW = self.conv_in(x_BCHW)
        for level in self.conv_blocks:
            h_BCHW = level(h_BCHW)
        return self.conv_out(silu(self.norm_out(self.mid(h_BCHW))))


class Decoder(nn.Module):
    """(B, z_channels, H/f, W/f) -> images (B, 3, H, W); the encoder's mirror with one block more a level."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        widths = config.widths[::-1]
        last = len(widths) - 1
        self.conv_in = conv3(config.z_channels, widths[0])
        self.mid = middle(widths[0])
        self.conv_blocks = nn.ModuleList(
            Level(c_in, c, config.num_res_blocks + 1, attention=i == 0, resample="" if i == last else "up")
            for i, (c_in, c) in enumerate(zip((widths[0], *widths), widths, strict=False))
        )
        self.norm_out, self.conv_out = norm(widths[-1]), conv3(widths[-1], 3)

    def forward(self, z_BCHW: Tensor) -> Tensor:
        h_BCHW = self.mid(self.conv_in(z_BCHW))
        for level in self.conv_blocks:
            h_BCHW = level(h_BCHW)
        return self.conv_out(silu(self.norm_out(h_BCHW)))


class VectorQuantizer(nn.Module):
    """Nearest code on the unit sphere.

    `codebook_used` remembers the last 65536 choices made while training. It starts as zeros, as in the official code:
    code 0 counts as used from the beginning.
    """

    codebook_used: Tensor

    def __init__(self, codes: int, code_dim: int, beta: float) -> None:
        super().__init__()
        self.beta = beta
        self.embedding = nn.Embedding(codes, code_dim)
        nn.init.uniform_(self.embedding.weight, -1 / codes, 1 / codes)
        self.register_buffer("codebook_used", torch.zeros(USAGE_WINDOW))

    def unit_codes(self) -> Tensor:
        """The codebook on the unit sphere, (V, D)."""
        return normalize(self.embedding.weight, dim=-1)

    def forward(self, z_BDHW: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Quantised z (B, D, H, W), indices (B H W,) in raster order, vq loss, commitment loss, share of codes in use.

        Gradients of the result go straight through to the normalised z.
        """
        B, D, H, W = z_BDHW.shape
        z_ND = normalize(z_BDHW.permute(0, 2, 3, 1).reshape(-1, D), dim=-1)
        indices_N = self.nearest(z_ND)
        q_ND = embedding(indices_N, self.unit_codes())
        vq_loss = mse_loss(q_ND, z_ND.detach())
        commit_loss = self.beta * mse_loss(z_ND, q_ND.detach())
        if self.training:
            self._remember(indices_N)
        usage = (torch.bincount(self.codebook_used.long(), minlength=self.embedding.num_embeddings) > 0).float().mean()
        q_ND = z_ND + (q_ND - z_ND).detach()
        return q_ND.view(B, H, W, D).permute(0, 3, 1, 2), indices_N, vq_loss, commit_loss, usage

    @torch.no_grad()
    def nearest(self, z_ND: Tensor) -> Tensor:
        """Index of the code nearest to each unit vector: |z - e|^2 = 2 - 2 z.e, so that with the largest cosine."""
        return (z_ND @ self.unit_codes().T).argmax(-1)

    def lookup(self, tokens_BT: Tensor, height: int, width: int) -> Tensor:
        """Normalised codes of raster-ordered tokens, (B, D, height, width)."""
        q_BTD = embedding(tokens_BT, self.unit_codes())
        return q_BTD.transpose(1, 2).unflatten(2, (height, width))

    def _remember(self, indices_N: Tensor) -> None:
        n = min(len(indices_N), USAGE_WINDOW)
        self.codebook_used.copy_(torch.cat([self.codebook_used[n:], indices_N[-n:].to(self.codebook_used)]))


class VQVAE(nn.Module):
    """Images (B, 3, H, W) in about [-1, 1] to tokens (B, T) and back; H and W are multiples of `downsample`."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quantize = VectorQuantizer(config.codes, config.code_dim, config.beta)
        self.quant_conv = nn.Conv2d(config.z_channels, config.code_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.code_dim, config.z_channels, 1)

    @property
    def vocab_size(self) -> int:
        return self.config.codes

    @property
    def downsample(self) -> int:
        """f: pixels of an image's side to one token."""
        return 2 ** (len(self.config.ch_mult) - 1)

    def num_tokens(self, image_size: int) -> int:
        """Tokens of a square image. Raises ValueError for a side that is no multiple of `downsample`."""
        if image_size < 1 or image_size % self.downsample:
            raise ValueError(f"images of {image_size} pixels cannot be cut into tokens of {self.downsample}")
        return (image_size // self.downsample) ** 2

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reconstruction (B, 3, H, W), vq loss, commitment loss (beta within it), share of the codebook in use."""
        q_BDHW, _, vq_loss, commit_loss, usage = self.quantize(self.pre_quant(images_BCHW))
        return self.decode(q_BDHW), vq_loss, commit_loss, usage

    def encode(self, images_BCHW: Tensor) -> Tensor:
        """Tokens (B, T), int64 in raster order; leaves the usage statistics alone."""
        z_BDHW = self.pre_quant(images_BCHW)
        z_BTD = normalize(z_BDHW.flatten(2).transpose(1, 2), dim=-1)
        return self.quantize.nearest(z_BTD)

    def decode_tokens(self, tokens_BT: Tensor) -> Tensor:
        """Square images (B, 3, H, H), not clamped. Raises ValueError when T is no square."""
        side = math.isqrt(tokens_BT.shape[1])
        if side * side != tokens_BT.shape[1]:
            raise ValueError(f"{tokens_BT.shape[1]} tokens do not fill a square image")
        return self.decode(self.quantize.lookup(tokens_BT, side, side))

    def pre_quant(self, images_BCHW: Tensor) -> Tensor:
        """What is quantised, not yet normalised: (B, D, H/f, W/f)."""
        if any(side < 1 or side % self.downsample for side in images_BCHW.shape[-2:]):
            raise ValueError(f"{tuple(images_BCHW.shape)}: height and width must be multiples of {self.downsample}")
        return self.quant_conv(self.encoder(images_BCHW))

    def decode(self, q_BDHW: Tensor) -> Tensor:
        """Images of quantised vectors."""
        return self.decoder(self.post_quant_conv(q_BDHW))
