"""`digits-cnn`: the small classifier whose last hidden layer is the feature space of scores on handwritten digits."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class DigitsCNN(nn.Module):
    """Three convolutions, a 64-d hidden layer (the features), a linear classifier. Input (B, 3, 16, 16) in [-1, 1].

    The features are GELU units, which neither die nor saturate, and few enough that some hundred images already have a
    covariance of full rank.
    """

    PIXELS: ClassVar[int] = 16
    DIM: ClassVar[int] = 64
    CLASSES: ClassVar[int] = 10

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Flatten(),
        )
        self.hidden = nn.Linear(64 * (self.PIXELS // 4) ** 2, self.DIM)
        self.classifier = nn.Linear(self.DIM, self.CLASSES)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, 64) and logits (B, 10)."""
        features_BD = nn.functional.gelu(self.hidden(self.trunk(x_BCHW)))
        return features_BD, self.classifier(features_BD)
