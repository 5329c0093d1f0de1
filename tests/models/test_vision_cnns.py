"""SEW-ResNet, MS-ResNet, SpikingResformer and the QCFS conversion: invariants beyond the parity fixtures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from retable.models.vision import qcfs
from retable.models.vision.layers import relu
from retable.models.vision.ms_resnet import MSResNet
from retable.models.vision.sew_resnet import SEWResNet, combine
from retable.models.vision.spikingresformer import DSSA, SpikingResformer

NETWORKS: dict[str, Callable[..., Any]] = {
    "sew": partial(SEWResNet, widths=(8, 8), layers=(1, 1), stem="small"),
    "ms": partial(MSResNet, widths=(8, 8), layers=(1, 1), stem="small"),
    "resformer": partial(
        SpikingResformer, widths=(16, 16), layers=(1, 1), num_heads=(1, 2), patch_sizes=(2, 1), stem="small"
    ),
}
each_network = pytest.mark.parametrize("name", NETWORKS)


def small(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    network = NETWORKS[name](**{"num_classes": 5, "T": 3, **options})
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 2.0)
            nn.init.constant_(module.bias, 0.3)
    nn.init.normal_(network.classifier.weight if name == "resformer" else network.fc.weight)
    with torch.no_grad():
        network(torch.randn(8, 3, 12, 12))
    return network.eval()


@each_network
def test_an_image_is_every_frame_and_the_steps_average_to_the_logits(name: str) -> None:
    network, image = small(name), torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        logits, steps = network(image), network.steps(image)
        as_frames = network(image[:, None].expand(-1, 3, -1, -1, -1))
    assert steps.shape == (3, 2, 5)
    torch.testing.assert_close(steps.mean(0), logits)
    torch.testing.assert_close(as_frames, logits)
    assert not torch.equal(steps[0], steps[-1]), "neurons that keep no state"


@each_network
def test_a_step_sees_no_later_frame_and_a_sample_no_other(name: str) -> None:
    network, x = small(name), torch.randn(2, 3, 3, 12, 12)
    later = x.clone()
    later[:, 2:] = torch.randn(2, 1, 3, 12, 12)
    with torch.no_grad():
        steps = network.steps(x)
        assert torch.equal(network.steps(later)[:2], steps[:2])
        torch.testing.assert_close(network.steps(x[:1]), steps[:, :1])


@each_network
def test_the_twin_has_the_same_weights_and_no_state(name: str) -> None:
    spiking, twin = small(name), small(name, neuron=relu, T=2)
    assert [(key, value.shape) for key, value in spiking.state_dict().items()] == [
        (key, value.shape) for key, value in twin.state_dict().items()
    ]
    with torch.no_grad():
        first, second = twin.steps(torch.randn(2, 3, 12, 12))
    torch.testing.assert_close(first, second)


@each_network
@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (torch.zeros(3, 12, 12), "x must be images"),
        (torch.zeros(1, 2, 12, 12), "3 channels, not 2"),
    ],
)
def test_inputs_of_another_shape_are_refused(name: str, x: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        small(name)(x)


@given(seed=st.integers(0, 1000))
def test_connections_are_the_logic_that_they_are_named_after(seed: int) -> None:
    a, s = torch.randint(0, 2, (2, 20), generator=torch.Generator().manual_seed(seed)).float()
    assert torch.equal(combine("and", a, s).bool(), a.bool() & s.bool())
    assert torch.equal(combine("iand", a, s).bool(), ~a.bool() & s.bool())
    assert torch.equal(combine("add", a, s), a + s)


@pytest.mark.parametrize("connect", ["add", "and", "iand"])
def test_zero_init_makes_every_block_an_identity(connect: str) -> None:
    network = SEWResNet(widths=(8,), layers=(2,), stem="small", connect=connect, zero_init=True, T=2).eval()
    x = (torch.rand(2, 2, 8, 6, 6) < 0.3).float()
    blocks = network.get_submodule("layer1")
    with torch.no_grad():
        assert torch.equal(blocks(x), x)


def test_an_attention_without_a_measured_rate_is_finite() -> None:
    block = DSSA(16, num_heads=2, patch_size=2).eval()
    assert block(torch.zeros(2, 1, 16, 4, 4)).isfinite().all()
    block.train()(torch.randn(2, 3, 16, 4, 4) * 3)
    assert (block.firing_rate_x > 0).all()


# Conversion


@settings(max_examples=30)
@given(z=st.floats(-2, 4), up=st.floats(0.1, 3), L=st.sampled_from([2, 4, 8, 16]))
def test_a_constant_input_gives_the_same_after_l_steps(z: float, up: float, L: int) -> None:
    activation = qcfs.QCFS(up, L)
    neuron = qcfs.ConvertedIF(torch.tensor(up), T=L)
    current = torch.full((1, 1), z)
    scaled = z / up * L + 0.5
    if abs(scaled - round(scaled)) < 1e-3:
        return  # at the border of two levels rounding decides
    mean = neuron(current.expand(L, 1)).mean()
    torch.testing.assert_close(mean, activation(current)[0, 0].detach(), rtol=1e-4, atol=1e-5)


def test_a_converted_network_comes_near_its_ann_with_time() -> None:
    torch.manual_seed(0)
    activation = partial(qcfs.QCFS, up=1, L=16)
    ann = qcfs.VGG(widths=((8,), (8,)), hidden=(16,), num_classes=5, image_size=8, activation=activation)
    nn.init.normal_(ann.get_submodule("classifier.1").weight)
    x = torch.rand(16, 3, 8, 8)
    with torch.no_grad():
        for _ in range(50):
            ann(x)  # running statistics
        want = ann.eval()(x)
        assert want.std(0).max() > 0, "a network that sees nothing"
        gaps = [float((qcfs.convert(ann, T)(x) - want).abs().mean()) for T in (1, 16, 64)]
    assert gaps[2] < gaps[1] < 0.5 * gaps[0]


def test_the_answer_after_t_steps_is_the_mean_of_the_first_t() -> None:
    ann = qcfs.VGG(widths=((8,),), hidden=(), num_classes=5, image_size=8).eval()
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        running = qcfs.running_mean(qcfs.convert(ann, 6).steps(x))
        torch.testing.assert_close(running[3], qcfs.convert(ann, 4)(x))


def test_balanced_thresholds_convert_a_relu_network() -> None:
    ann = qcfs.VGG(widths=((8,),), hidden=(8,), num_classes=5, image_size=8, activation=nn.ReLU).eval()
    x = torch.rand(32, 3, 8, 8)
    with pytest.raises(ValueError, match="thresholds must give a positive one"):
        qcfs.convert(ann, 4)
    thresholds = qcfs.balanced_thresholds(ann, x)
    with torch.no_grad():
        gap = (qcfs.convert(ann, 256, thresholds)(x) - ann(x)).abs().mean()
    assert gap < 0.05 * ann(x).abs().mean()
    assert all(qcfs.balanced_thresholds(ann, x, 0.9)[name] <= value for name, value in thresholds.items())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda ann: qcfs.convert(ann, 0), "T must be at least 1"),
        (lambda ann: qcfs.convert(nn.Linear(2, 2), 4), "ann has no QCFS, TCL or ReLU"),
        (lambda ann: qcfs.convert(ann, 4, {"other": 1.0}), "thresholds name other"),
        (lambda ann: qcfs.balanced_thresholds(ann, torch.rand(1, 3, 8, 8), 0.0), "quantile must be above 0"),
        (lambda ann: qcfs.QCFS(L=0), "L must be at least 1"),
        (lambda ann: qcfs.QCFS(up=-1.0), "up must be above 0"),
    ],
)
def test_impossible_conversions(make: Callable[[nn.Module], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make(qcfs.VGG(widths=((8,),), hidden=(), num_classes=5, image_size=8))
