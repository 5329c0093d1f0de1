"""SpikeYOLO as methods: fit and come back, sizes, the forms of inference and what they cost, impossible parameters."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from retable.bench.accountant import Accountant
from retable.bench.metrics.operations import FiringRate
from retable.bench.registry import resolve
from retable.bench.tasks.detect import Detect
from retable.models.spikeyolo.detector import Detector
from retable.models.spikeyolo.layers import Driven, SpikeConv, neuron_of
from retable.models.spikeyolo.method import BinarySteps, Detection, PlainYOLO, SpikeYOLO
from retable.models.spikeyolo.network import spikeyolo
from retable.models.spikeyolo.sizes import SPIKEYOLO_SIZES, Size
from retable.models.spikeyolo.virtual import VirtualSteps, binary_steps, to_virtual_steps
from retable.models.spiking.neurons import ILIF
from tests.models.spikeyolo_data import squares

TINY: dict[str, Any] = {"width": 0.0625, "depth": 0.1}
METHODS = (SpikeYOLO, PlainYOLO)


def fitted(component: type[Detection] = SpikeYOLO, data: Any = None, **options: Any) -> Detector:
    method = component(**{"epochs": 1, "batch_size": 8, "warmup": 0.0, "norm_batches": 1, **TINY, **options})
    return method.fit(data or squares(), {}, seed=0, device="cpu")[0]


def random_network(**options: Any) -> Any:
    """A tiny network whose norms have seen something, in evaluation mode."""
    torch.manual_seed(0)
    network = spikeyolo(
        Size(0.1, 0.0625), 2, 3, options.pop("T", 1), neuron_of(options.pop("kind", "ilif"), options.pop("D", 4))
    )
    network(torch.rand(4, 3, 64, 64) * 2)
    return network.eval()


def test_the_registry_knows_the_methods() -> None:
    for name, component in (
        ("spikeyolo", SpikeYOLO),
        ("plain-spiking-yolo", PlainYOLO),
        ("spikeyolo-binary-steps", BinarySteps),
    ):
        assert resolve("method", name) is component


@pytest.mark.parametrize("component", METHODS)
@pytest.mark.parametrize("options", [{}, {"spiking": False}, {"T": 2, "D": 1, "neuron": "lif"}])
def test_a_fitted_model_comes_back(component: type[Detection], options: dict[str, Any]) -> None:
    data = squares()
    model = fitted(component, data, **options)
    again = component(**TINY, **options).load(model.state_dict(), data, {}, device="cpu")
    x = model.prepare(torch.from_numpy(data.held_out.images(np.arange(4))))
    with torch.no_grad():
        for left, right in zip(model(x), again(x), strict=True):
            assert torch.equal(left, right)
    assert [p.shape for p in again.parameters_counted()] == [p.shape for p in model.parameters_counted()]


def test_training_repeats_and_follows_its_seed() -> None:
    method, data = SpikeYOLO(epochs=1, batch_size=8, warmup=0.0, **TINY), squares()
    one, two, other = (method.fit(data, {}, seed=seed, device="cpu")[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(("steps", "T"), [(4, 4), (4, 2), (2, 1)])
def test_event_frames_are_grouped_into_steps(steps: int, T: int) -> None:
    data = squares(8, steps=steps)
    model = fitted(data=data, T=T, D=2, neuron="ilif-gen1")
    x = model.prepare(torch.from_numpy(data.held_out.images(np.arange(3))))
    assert x.shape == (3, T, 2, 64, 64)
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert len(model.detect(x)) == 3


def test_an_ann_sees_every_event_frame() -> None:
    data = squares(8, steps=4)
    model = fitted(data=data, spiking=False)
    assert model.T == 4
    assert model.prepare(torch.from_numpy(data.held_out.images(np.arange(2)))).shape == (2, 4, 2, 64, 64)


def test_event_frames_that_cannot_be_grouped_are_refused() -> None:
    with pytest.raises(ValueError, match="T must divide"):
        fitted(data=squares(8, steps=4), T=3)
    drawn = Detector(random_network(), T=2)
    with pytest.raises(ValueError, match="T must be their number 4"):
        drawn.prepare(torch.zeros(1, 4, 3, 64, 64, dtype=torch.uint8))


def test_the_task_detects_and_counts() -> None:
    data = squares()
    evidence = Detect(account_samples=2, pictures=0).evidence(fitted(data=data), data, seed=0, device="cpu")
    assert len(evidence.found) == len(data.held_out)
    assert not evidence.account.uncounted
    assert not evidence.account.lost_marks
    assert evidence.account.figure("literature", "sop").value > 0


def test_images_of_any_size_are_padded_and_boxes_cut() -> None:
    model = Detector(random_network(), T=1, image_size=(50, 70))
    x = model.prepare(torch.randint(0, 255, (2, 3, 50, 70), dtype=torch.uint8))
    assert x.shape == (2, 3, 64, 96)
    for one in model.detect(x, threshold=0.0):
        assert len(one) > 0
        assert one.boxes_n4.min() >= 0
        assert (one.boxes_n4 <= [70, 50, 70, 50]).all()
        assert (np.diff(one.scores_n) <= 0).all()


def test_nothing_found_is_an_empty_result() -> None:
    model = Detector(random_network(), T=1)
    (one,) = model.detect(torch.zeros(1, 3, 64, 64), threshold=1.0)
    assert len(one) == 0
    assert one.boxes_n4.shape == (0, 4)
    assert one.classes_n.dtype == np.int64


# Sizes


@pytest.mark.parametrize(
    ("size", "count", "keys"),
    [("13.2M", 13_271_632, 755), ("23.1M", 23_153_024, 755), ("48M", 47_841_856, 947), ("69M", 68_478_400, 947)],
)
def test_published_sizes_are_exact(size: Any, count: int, keys: int) -> None:
    with torch.device("meta"):
        model = SpikeYOLO(size=size).build(None)
    assert sum(weight.numel() for weight in model.parameters_counted()) == count
    assert len(model.network.state_dict()) == keys


def test_the_event_network_is_counted_with_two_classes() -> None:
    with torch.device("meta"):
        model = SpikeYOLO(size="23.1M", num_classes=2, neuron="ilif-gen1").build(None)
    assert sum(weight.numel() for weight in model.parameters_counted()) == 23_122_838


@pytest.mark.parametrize(("size", "count"), [("n", 3_157_200), ("s", 11_166_560), ("m", 25_902_640)])
def test_the_plain_rival_has_the_sizes_of_yolov8(size: Any, count: int) -> None:
    with torch.device("meta"):
        model = PlainYOLO(size=size).build(None)
    assert sum(weight.numel() for weight in model.parameters_counted()) == count


# Forms of inference


@settings(max_examples=30, deadline=None)
@given(D=st.integers(1, 8), T=st.integers(1, 3), seed=st.integers(0, 99))
def test_binary_steps_fire_first_and_sum_to_the_integer(D: int, T: int, seed: int) -> None:
    s = torch.randint(0, D + 1, (T, 2, 5), generator=torch.Generator().manual_seed(seed)).float()
    b = binary_steps(s, D).unflatten(0, (T, D))
    assert set(b.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(b.sum(1), s)
    assert bool((b[:, 1:] <= b[:, :-1]).all())


@pytest.mark.parametrize(("kind", "T", "D"), [("ilif", 1, 4), ("ilif", 2, 2), ("ilif-gen1", 2, 4)])
def test_merged_and_binary_forms_give_the_same_maps_and_spikes(kind: Any, T: int, D: int) -> None:
    network, x = random_network(kind=kind, T=T, D=D).double(), torch.rand(2, 3, 64, 64).double()
    spikes: dict[str, list[torch.Tensor]] = {"built": [], "binary": []}

    def watch(kept: list[torch.Tensor], neurons: type[nn.Module], slots: int) -> None:
        for module in network.modules():
            if isinstance(module, neurons):
                module.register_forward_hook(
                    lambda m, a, out: kept.append(out.unflatten(0, (len(out) // slots, slots)).sum(1))
                )

    with torch.no_grad():
        watch(spikes["built"], ILIF, 1)
        built = network(x)
        network.merge()
        merged = network(x)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
        assert to_virtual_steps(network) == len(spikes["built"]) // 2
        watch(spikes["binary"], VirtualSteps, D)
        binary = network(x)
    for one, two, three in zip(built, merged, binary, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(three, one, rtol=1e-9, atol=1e-9)
    assert len(spikes["binary"]) > 50
    for left, right in zip(spikes["built"], spikes["binary"], strict=False):
        assert torch.equal(left, right)


def test_the_binary_method_needs_integers() -> None:
    data, trained = squares(), fitted()
    binary, log = BinarySteps().fit(data, {"trained": trained}, seed=0, device="cpu")
    x = trained.prepare(torch.from_numpy(data.held_out.images(np.arange(2))))
    for one, two in zip(trained.detect(x), binary.detect(x), strict=True):
        np.testing.assert_allclose(one.scores_n, two.scores_n, atol=1e-4)
    again = BinarySteps().load(binary.state_dict(), data, {"trained": trained}, device="cpu")
    assert log["neurons"] == sum(isinstance(module, VirtualSteps) for module in again.modules())
    assert any(isinstance(module, ILIF) for module in trained.modules())
    with pytest.raises(ValueError, match="`trained` must have I-LIF neurons"):
        BinarySteps().fit(data, {"trained": fitted(spiking=False)}, seed=0, device="cpu")


def test_binary_steps_want_a_merged_network() -> None:
    network = random_network()
    to_virtual_steps(network)
    with pytest.raises(ValueError, match="merge the network first"):
        network(torch.zeros(1, 3, 64, 64))


# What it costs


@pytest.mark.parametrize(("T", "D"), [(1, 4), (2, 2), (4, 1)])
def test_an_integer_spike_costs_its_value_in_accumulates(T: int, D: int) -> None:
    """By hand: MACs T r accumulates, r the mean integer that enters; each weight met once a unit, as over T x D steps."""
    torch.manual_seed(1)
    net = nn.Sequential(SpikeConv(3, 4, 3, neuron_of("ilif", D)), SpikeConv(4, 5, 1, neuron_of("ilif", D), 2)).eval()
    for module in net:
        assert isinstance(module, Driven)
        module.merge()
    x, entering = torch.rand(T, 2, 3, 6, 6) * 5, []
    for module in net:
        module.lif.register_forward_hook(lambda m, a, out: entering.append(out))
    with torch.no_grad():
        net(x)
        with Accountant(net, rules=("full", "literature")) as accountant:
            net(x)
    integers, account = entering[:2], accountant.result(samples=2)
    assert integers[0].max() == D
    macs = (3 * 4 * 9 * 6 * 6, 4 * 5 * 1 * 3 * 3)
    by_hand = sum(mac * T * float(s.double().mean()) for mac, s in zip(macs, integers, strict=True))
    assert account.figure("literature", "sop").value == pytest.approx(by_hand, rel=1e-9)
    assert account.figure("literature", "energy").value == pytest.approx(0.9e-9 * by_hand, rel=1e-6)
    loop = (
        sum(
            int(s[t, b, c, y, x]) * 4
            for s in integers[:1]
            for t, b, c, y, x in np.ndindex(*s.shape)
            for oy in range(6)
            for ox in range(6)
            if abs(oy - y) <= 1 and abs(ox - x) <= 1
        )
        + int(integers[1][..., ::2, ::2].sum()) * 5
    )
    assert account.figure("full", "ac").value == loop / 2
    assert account.figure("full", "spikes").value == sum(float(s.sum()) for s in integers) / 2


def test_binary_steps_cost_the_same_accumulates() -> None:
    network, x = random_network(), torch.rand(1, 3, 64, 64)
    network.merge()
    figures, rates = [], []
    for form in ("integer", "binary"):
        if form == "binary":
            to_virtual_steps(network)
        with torch.no_grad(), Accountant(network, rules=("full", "literature")) as accountant:
            network(x)
        account = accountant.result(samples=1)
        assert not account.uncounted
        assert not account.lost_marks
        figures.append([account.figure("full", name).value for name in ("ac", "spikes", "mac")])
        figures[-1].append(account.figure("literature", "sop").value)
        rates.append(FiringRate().measure(SimpleNamespace(account=account, why_no_account="")).value)
    assert figures[0] == pytest.approx(figures[1], rel=1e-9)
    assert rates[0] == pytest.approx(4 * rates[1], rel=1e-9), "a rate is a step's, and a step has D slots"


def test_the_published_network_has_the_macs_of_the_energy_sheet_without_its_mistakes() -> None:
    """104.514 G merged MACs at 640 x 640 (the sheet's 101.211 G with two rows put right); a hundredth of them at 64 x 64."""
    network = spikeyolo(SPIKEYOLO_SIZES["23.1M"], 80, 3, 1, nn.ReLU).eval()
    network.merge()
    with torch.no_grad(), Accountant(network, rules=("literature",)) as accountant:
        network(torch.rand(1, 3, 64, 64))
    account = accountant.result(samples=1)
    assert account.figure("literature", "mac").value * 100 == pytest.approx(104.514e9, rel=5e-6)
    assert account.figure("literature", "energy").value * 100 == pytest.approx(480.8, abs=0.05)


# Impossible parameters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"T": 0}, "`T` must be at least 1"),
        ({"D": 0}, "`D` must be at least 1"),
        ({"neuron": "lif"}, "`D` must be 1"),
        ({"width": 0.0}, "`width` must be above 0"),
        ({"depth": -1.0}, "`depth` must be above 0"),
        ({"num_classes": 0}, "`num_classes` must be at least 1"),
        ({"epochs": 2, "warmup": 2.0}, "`warmup`"),
        ({"final_lr": 1.5}, "`final_lr`"),
        ({"clip": 0.0}, "`clip` must be above 0"),
        ({"prior_side": 0}, "`prior_side`"),
    ],
)
def test_impossible_parameters_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpikeYOLO(**options)


def test_data_and_parameters_must_agree() -> None:
    with pytest.raises(ValueError, match="`num_classes` is 7, but squares has 2"):
        SpikeYOLO(num_classes=7, **TINY).build(squares())
    with pytest.raises(ValueError, match="must leave 2 channels"):
        SpikeYOLO(width=0.001).build(None)


@pytest.mark.parametrize(("shape", "message"), [((1, 3, 40, 64), "multiples of 32"), ((1, 4, 64, 64), "3 channels")])
def test_input_of_another_shape_is_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        random_network()(torch.zeros(shape))
