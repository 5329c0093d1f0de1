"""Sizes of the Vision Transformer, without torch (arXiv 2010.11929, Table 1)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ViTSize:
    """`width` D, `mlp` the hidden width of the feed-forward net, `patch` and `image_size` in pixels.

    Raises ValueError for sizes that do not fit each other.
    """

    width: int
    depth: int
    heads: int
    mlp: int
    patch: int = 16
    image_size: int = 224
    in_channels: int = 3
    qkv_bias: bool = True
    final_norm: bool = True

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "mlp", "patch", "image_size", "in_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"`width` must be a multiple of the {self.heads} `heads`, not {self.width}")
        if self.patch > self.image_size:
            raise ValueError(f"`patch` must be at most the {self.image_size} pixels of an image, not {self.patch}")

    @property
    def side(self) -> int:
        """Patches along a side of the image; pixels that fill none are not seen."""
        return self.image_size // self.patch

    @property
    def tokens(self) -> int:
        """N: the patches and the CLS token."""
        return 1 + self.side**2


VIT_SIZES = {
    "b16": ViTSize(width=768, depth=12, heads=12, mlp=3072),
    "l16": ViTSize(width=1024, depth=24, heads=16, mlp=4096),
}
