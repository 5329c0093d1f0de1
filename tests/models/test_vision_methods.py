"""The survey's families as methods: fit and come back, published sizes, impossible parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from retable.bench.registry import resolve
from retable.models.common.errors import CheckpointError, MissingWeights
from retable.models.vision import method
from tests.bench.small_snn import image_data

FAMILIES: dict[str, tuple[type, dict[str, Any]]] = {
    "spikformer": (method.Spikformer, {"dim": 32, "depth": 1}),
    "sdt": (method.SpikeDrivenTransformer, {"dim": 32, "depth": 1}),
    "meta-spikeformer": (method.MetaSpikeformer, {"widths": (8, 16, 16, 16)}),
    "qkformer": (method.QKFormer, {"dim": 32, "heads": 2}),
    "sew-resnet": (method.SEWResNet, {"widths": (8, 8, 8)}),
    "ms-resnet": (method.MSResNet, {"widths": (8, 8, 8)}),
    "spikingresformer": (method.SpikingResformer, {"widths": (16, 16, 16), "heads": (1, 1, 1)}),
    "qcfs": (method.QCFS, {"widths": (8, 8)}),
}
"""Of each family the smallest network that has all of its parts."""
MILLIONS = {
    ("spikformer", "8-384"): 16.83,
    ("spikformer", "8-512"): 29.71,
    ("spikformer", "10-512"): 36.03,
    ("spikformer", "8-768"): 66.36,
    ("sdt", "8-384"): 16.82,
    ("sdt", "6-512"): 23.37,
    ("sdt", "8-512"): 29.69,
    ("sdt", "10-512"): 36.01,
    ("sdt", "8-768"): 66.34,
    ("meta-spikeformer", "31.3M"): 31.33,
    ("meta-spikeformer", "55.4M"): 55.35,
    ("meta-spikeformer", "124M"): 123.74,
    ("qkformer", "10-384"): 16.47,
    ("qkformer", "10-512"): 29.08,
    ("qkformer", "10-768"): 64.96,
    ("sew-resnet", "18"): 11.69,
    ("sew-resnet", "34"): 21.80,
    ("sew-resnet", "50"): 25.56,
    ("sew-resnet", "101"): 44.55,
    ("sew-resnet", "152"): 60.19,
    ("ms-resnet", "18"): 11.69,
    ("ms-resnet", "34"): 21.80,
    ("ms-resnet", "104"): 77.35,
}


def family(name: str, **options: Any) -> Any:
    component, _ = FAMILIES[name]
    assert resolve("method", name) is component
    return component(**options)


@pytest.mark.parametrize(
    ("name", "more"),
    [*((name, {}) for name in FAMILIES), ("sdt", {"dvs_mode": True}), ("qkformer", {"protocol": "official"})],
)
def test_no_samples_have_no_logits(name: str, more: dict[str, Any]) -> None:
    model = family(name, T=2, **FAMILIES[name][1], **more).build(image_data(count=6, shape=(3, 32, 32))).eval()
    assert model.steps(model.prepare(torch.zeros(0, 3, 32, 32, dtype=torch.uint8))).shape == (2, 0, 3)


@pytest.mark.parametrize("spiking", [True, False])
@pytest.mark.parametrize("shape", [(3, 32, 32), (4, 2, 32, 32)], ids=["images", "events"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_fits_comes_back_and_reads_out_each_step(name: str, shape: tuple[int, ...], spiking: bool) -> None:
    options = {"T": 2, "epochs": 1, "warmup": 0.0, "batch_size": 6, "spiking": spiking, **FAMILIES[name][1]}
    data, component = image_data(count=6, shape=shape), family(name, **options)
    if name == "qcfs" and len(shape) == 4:
        with pytest.raises(ValueError, match="takes the same image at each step, and bands has event frames"):
            component.build(data)
        return
    model, _ = component.fit(data, {}, seed=0, device="cpu")
    again = component.load(model.state_dict(), data, {}, device="cpu")
    with torch.no_grad():
        x = model.prepare(torch.from_numpy(data.held_out.images(np.arange(3))))
        logits_TBK = model.steps(x)
        assert logits_TBK.shape == (2 if spiking else 1, 3, 3)
        assert torch.allclose(model(x), logits_TBK.mean(0), atol=1e-5)
        assert torch.equal(again.steps(x), logits_TBK)


@pytest.mark.parametrize(("name", "size"), MILLIONS)
def test_a_published_size_has_its_number_of_parameters(name: str, size: str) -> None:
    with torch.device("meta"):
        model = family(name, size=size).build(None)
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 == pytest.approx(MILLIONS[name, size], abs=0.006)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: method.Spikformer(dim=60), "`dim` must be a multiple of 8"),
        (lambda: method.Spikformer(pooling="012"), "`pooling` must be four digits"),
        (lambda: method.SpikeDrivenTransformer(heads=0), "divides into `heads` = 0"),
        (lambda: method.SpikeDrivenTransformer(depth=0), "`depth` must be at least 1, not 0"),
        (lambda: method.QKFormer(depths=(1, 0, 1)), r"`depths` must be at least 1 in each stage, not \[1, 0, 1\]"),
        (lambda: method.QKFormer(dim=32, heads=3), "a 4th of it divides into `heads` = 3, not 32"),
        (
            lambda: method.MetaSpikeformer(heads=7),
            "`widths` must be a multiple of 8 so that it divides into `heads` = 7",
        ),
        (lambda: method.SEWResNet(blocks=(1, 1)), r"`blocks` \[1, 1\] must be at least 1 for each of the 3 `widths`"),
        (lambda: method.MSResNet(widths=(3, 4, 5)), "`widths` must be even"),
        (lambda: method.SpikingResformer(heads=(1, 3, 4)), "divides into `heads` = 3, not 32"),
        (lambda: method.SpikingResformer(widths=(8, 16, 32)), "`widths` must be multiples of 16, not 8"),
        (lambda: method.SEWResNet(spiking=False, connect="iand"), "`connect` must be add where `spiking` is false"),
        (lambda: method.QCFS(levels=0), "`levels` must be at least 1, not 0"),
    ],
)
def test_impossible_architectures(make: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


def test_published_weights_are_read_instead_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    data = image_data(count=6, shape=(3, 32, 32))
    source = family("sew-resnet", T=2, widths=(8, 8, 8))
    state = source.build(data).network.state_dict()
    wrapped = {f"module.{key.replace('.0.weight', '.module.0.weight')}": value for key, value in state.items()}
    torch.save({"model": wrapped}, tmp_path / "sew.pth")
    component = family("sew-resnet", T=2, widths=(8, 8, 8), weights="sew.pth")
    model, log = component.fit(data, {}, seed=0, device="cpu")
    assert log == {"weights": "sew.pth"}
    assert all(torch.equal(value, state[key]) for key, value in model.network.state_dict().items())
    assert model.mean_C.tolist() == pytest.approx([0.485, 0.456, 0.406])
    digest = component.weights_digest()
    torch.save({"model": {**wrapped, "module.fc.bias": torch.ones(3)}}, tmp_path / "sew.pth")
    assert component.weights_digest() != digest
    torch.save({"odd": torch.ones(1)}, tmp_path / "sew.pth")
    with pytest.raises(CheckpointError, match=r"sew.pth: .* is missing"):
        component.fit(data, {}, seed=0, device="cpu")
    with pytest.raises(MissingWeights, match=r"put the state dict gone\.pth there"):
        family("sew-resnet", weights="gone.pth").fit(data, {}, seed=0, device="cpu")


def test_the_released_cifar_spikformer_loads_with_its_linear_layers() -> None:
    """A bias before a norm is taken away by its running mean, so that the norm of W x + b is that of the released file."""
    component = family("spikformer", T=2, dim=32, depth=1, in_channels=3, image_size=32, num_classes=3)
    state = component.build(None).network.state_dict()
    want = {key: torch.randn(value.shape) for key, value in state.items()}
    released: dict[str, torch.Tensor] = {}
    for key, value in want.items():
        layer, _, part = key.rpartition(".")
        if not layer.endswith("_conv") or not layer.startswith("block."):
            released[f"module.{key}"] = value
            continue
        linear = f"module.{layer.removesuffix('_conv')}_linear"
        released[f"{linear}.{part}"] = value.flatten(1) if part == "weight" else value
        if layer.rpartition(".")[2] in ("q_conv", "k_conv", "v_conv"):
            released[f"{linear}.bias"] = torch.randn(len(value))
    for key in [key for key in released if key.endswith(("q_linear.bias", "k_linear.bias", "v_linear.bias"))]:
        mean = key.replace("_linear.bias", "_bn.running_mean")
        released[mean] = released[mean] + released[key]
    found = component.published_keys(released)
    assert set(found) == set(want)
    for key, value in want.items():
        torch.testing.assert_close(found[key], value, msg=key)


def test_the_released_cifar_qkformer_loads_under_its_own_names() -> None:
    theirs = ("module.stage3.0.ssa.q_conv.weight", "module.stage1.0.mlp.mlp1_conv.weight", "stage1.0.mlp.mlp2_bn.bias")
    found = family("qkformer").published_keys(dict.fromkeys(theirs, torch.ones(1)))
    assert list(found) == ["stage3.0.attn.q_conv.weight", "stage1.0.mlp.fc1_conv.weight", "stage1.0.mlp.fc2_bn.bias"]
