"""What the spiking vision networks share. Activations are x_TBCHW, first axis time; tokens are x_TBCN with N = H W."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from retable.models.spiking.neurons import LIF

Neuron = Callable[..., nn.Module]
"""Makes a neuron layer: `neuron(threshold=...)` is a module that maps (T, ...) to (T, ...)."""
AFTER_ATTENTION = 0.5
"""Threshold of the neuron that follows an attention product; it is 1 everywhere else."""
Size = int | tuple[int, int]


def lif(threshold: float = 1.0) -> nn.Module:
    """The neuron of the surveyed Transformers: tau 2 with decay_input, hard reset to 0 without gradient, sigmoid of 4."""
    return LIF(tau=2.0, threshold=threshold, v_reset=0.0, decay_input=True, detach_reset=True)


def relu(threshold: float = 1.0) -> nn.Module:
    """The unit of an ANN twin; it has no threshold and no state."""
    return nn.ReLU()


def each_step(x_TBx: Tensor, *modules: Callable[[Tensor], Tensor]) -> Tensor:
    """The modules one after the other on all T B samples at once, so that batch statistics merge time and batch."""
    y = x_TBx.flatten(0, 1)
    for module in modules:
        y = module(y)
    return y.unflatten(0, x_TBx.shape[:2])


def as_steps(x: Tensor, T: int, in_channels: int, image_size: tuple[int, int]) -> Tensor:
    """x_TBCHW of images (B, C, H, W), the same T times, or of event frames (B, T', C, H, W), whatever their T'.

    Raises ValueError naming what does not fit.
    """
    if x.dim() not in (4, 5):
        raise ValueError(f"x must be images (B, C, H, W) or event frames (B, T, C, H, W), not {tuple(x.shape)}")
    want = (in_channels, *image_size)
    if tuple(x.shape[-3:]) != want:
        raise ValueError(
            f"x must end in (C, H, W) = {want}, the in_channels and image_size of the network, not {tuple(x.shape[-3:])}"
        )
    return x.transpose(0, 1) if x.dim() == 5 else x.expand(T, *x.shape)


def mean_of_tokens(x_TBCHW: Tensor) -> Tensor:
    """(T, B, C), what the classifiers see."""
    return x_TBCHW.flatten(3).mean(3)


def heads_of(x_TBCx: Tensor, num_heads: int) -> Tensor:
    """(T, B, h, d, N), head by head."""
    return x_TBCx.flatten(3).unflatten(2, (num_heads, -1))


def linear_attention(q_TBhdN: Tensor, k_TBhdN: Tensor, v_TBhdN: Tensor, scale: float) -> Tensor:
    """s q (k^T v) per head (Spikformer, eq. 7 without the neuron), as (T, B, C, N). Linear in N: k^T v comes first."""
    kv_TBhdd = v_TBhdN @ k_TBhdN.transpose(-1, -2)
    return ((kv_TBhdd @ q_TBhdN) * scale).flatten(2, 3)


def softmax_attention(q_TBhdN: Tensor, k_TBhdN: Tensor, v_TBhdN: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v per head, as (T, B, C, N): the attention of an ANN twin of equal size."""
    weights_TBhNN = (q_TBhdN.transpose(-1, -2) @ k_TBhdN * q_TBhdN.shape[3] ** -0.5).softmax(-1)
    return (v_TBhdN @ weights_TBhNN.transpose(-1, -2)).flatten(2, 3)


def size_of(image_size: Size) -> tuple[int, int]:
    """(H, W) of a constructor's `image_size`; ValueError unless it is one or two positive sides."""
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"image_size must be a side or (H, W) of at least 1, not {image_size!r}")
    return sides[0], sides[1]


def check_positive(**sizes: float) -> None:
    """ValueError naming the first argument that is below 1."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")


def check_divides(name: str, divisor: int, whole_name: str, whole: int) -> None:
    """ValueError naming both arguments unless the first divides the second."""
    if divisor < 1 or whole % divisor:
        raise ValueError(f"{name} must divide {whole_name} = {whole}, which {divisor} does not")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """ValueError naming the argument and what it may be."""
    if value not in choices:
        raise ValueError(f"{name} is {' or '.join(choices)}, not {value!r}")


def check_stages(layers: tuple[int, ...], **per_stage: tuple[int, ...]) -> None:
    """ValueError unless there is a stage, every number is positive and every argument has one number a stage."""
    if not layers:
        raise ValueError("layers must name one stage at least")
    for name, values in {"layers": layers, **per_stage}.items():
        if len(values) != len(layers) or min(values) < 1:
            raise ValueError(f"{name} must be {len(layers)} numbers of at least 1, one a stage, not {values}")


@torch.no_grad()
def init_weights(network: nn.Module, kinds: tuple[type[nn.Module], ...] = (nn.Linear,)) -> None:
    """Normal weights of deviation 0.02, biases 0, in modules of these kinds; the others keep torch's initial values."""
    for module in network.modules():
        if isinstance(module, kinds):
            nn.init.trunc_normal_(module.weight, std=0.02)  # type: ignore[arg-type]
            if module.bias is not None:
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
