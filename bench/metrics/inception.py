"""The Inception-v3 of FID: pytorch-fid's blocks on torchvision's network, built without pytorch-fid's download."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate

DIM, CLASSES = 2048, 1008
RESIZE = "bilinear without antialiasing to 299x299 pixels (pytorch-fid's)"


def backend() -> str:
    """Whose port computes the features; the TensorFlow graph of the original evaluators differs slightly."""
    return f"pytorch-fid {version('pytorch-fid')}"


def fid_inception() -> nn.Module:
    """Inception-v3 in the layout of pytorch-fid's weight file (1008 classes, its patched pooling), random weights."""
    from pytorch_fid import inception as fid
    from torchvision.models import inception_v3

    network: Any = inception_v3(num_classes=CLASSES, aux_logits=False, weights=None, init_weights=False)
    network.Mixed_5b = fid.FIDInceptionA(192, pool_features=32)
    network.Mixed_5c = fid.FIDInceptionA(256, pool_features=64)
    network.Mixed_5d = fid.FIDInceptionA(288, pool_features=64)
    network.Mixed_6b = fid.FIDInceptionC(768, channels_7x7=128)
    network.Mixed_6c = fid.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6d = fid.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6e = fid.FIDInceptionC(768, channels_7x7=192)
    network.Mixed_7b = fid.FIDInceptionE_1(1280)
    network.Mixed_7c = fid.FIDInceptionE_2(2048)
    return network


def features_and_logits(trunk: nn.Module, weight_KD: Tensor, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """pool_3 features (B, 2048) and logits (B, 1008) of pixels 0..255; `trunk` is the network without its last layer.

    The logits are pool_3 times the last layer's weights, without its bias: so does the Inception Score of
    arXiv 1606.03498, and the evaluators that followed it.
    """
    x_BCHW = interpolate(x_BCHW.float() / 255, size=(299, 299), mode="bilinear", align_corners=False)
    features_BD = trunk(2 * x_BCHW - 1)
    return features_BD, features_BD @ weight_KD.T
