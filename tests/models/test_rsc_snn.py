"""Codings, networks and training of RSC-SNN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from retable.bench.registry import resolve
from retable.bench.tasks.attack import Attack
from retable.bench.tasks.certify import Certify
from retable.models.rsc_snn.classifier import CodedClassifier
from retable.models.rsc_snn.coding import Coding
from retable.models.rsc_snn.method import ERSCT, RSCSNN
from retable.models.rsc_snn.network import VGG, WideResNet, kl_divergence, pre_synaptic
from retable.models.rsc_snn.neuron import TriangleNeuron, attacked_neurons
from retable.models.rsc_snn.training import Perturbation, distilled
from tests.bench.small_snn import image_data

SMALL: dict[str, Any] = {
    "T": 2,
    "plan": (4, "A"),
    "hidden": (),
    "epochs": 2,
    "warmup": 0.0,
    "batch_size": 16,
    "lr": 1e-2,
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "options",
    [
        {"coding": "direct"},
        {"coding": "poisson"},
        {"coding": "rsc", "sigma": 0.1},
        {"coding": "rsc", "sigma": 0.1, "per_step": False, "adversary": "pgd", "adv_steps": 2},
        {"coding": "rsc", "sigma": 0.1, "adversary": "gaussian"},
        {"coding": "rsc", "sigma": 0.1, "spiking": False, "adversary": "fgsm"},
        {"coding": "poisson", "body": "wrn-16", "widen": 1},
    ],
    ids=str,
)
def test_a_method_fits_comes_back_and_draws_its_noise(options: dict[str, Any]) -> None:
    assert resolve("method", "rsc-snn") is RSCSNN
    data, method = image_data(), RSCSNN(**{**SMALL, **options})
    one, _ = method.fit(data, {}, seed=1, device="cpu")
    two, _ = method.fit(data, {}, seed=1, device="cpu")
    again = method.load(one.state_dict(), data, {}, device="cpu")
    x = one.prepare(torch.from_numpy(data.held_out.images(np.arange(8))))
    assert 0 <= x.min() <= x.max() <= 1
    with torch.no_grad():
        logits = one.steps(x, seeded())
        assert torch.equal(two.steps(x, seeded()), logits)
        assert torch.equal(again.steps(x, seeded()), logits)
        assert logits.shape == (2 if method.spiking else 1, 8, 3)
        assert torch.equal(one(x), one(x)) == (options["coding"] == "direct")


def test_e_rsct_learns_from_a_teacher_of_the_same_layers() -> None:
    data = image_data()
    teacher, _ = RSCSNN(**SMALL, coding="direct", spiking=False).fit(data, {}, seed=0, device="cpu")
    student = ERSCT(**SMALL, coding="rsc", sigma=0.1, kd=1.0, pre=1.0)
    model, log = student.fit(data, {"teacher": teacher}, seed=0, device="cpu")
    plain, _ = RSCSNN(**SMALL, coding="rsc", sigma=0.1).fit(data, {}, seed=0, device="cpu")
    assert not torch.equal(model.network.body[0].weight, plain.network.body[0].weight)
    assert np.isfinite(log["loss"])
    other, _ = RSCSNN(**{**SMALL, "plan": (6, "A")}, coding="direct", spiking=False).fit(data, {}, seed=0, device="cpu")
    with pytest.raises(ValueError, match="the teacher must have the student's layers"):
        student.fit(data, {"teacher": other}, seed=0, device="cpu")


def test_the_suite_s_tasks_take_the_method() -> None:
    data = image_data()
    model, _ = RSCSNN(**SMALL, coding="poisson").fit(data, {}, seed=0, device="cpu")
    certified = Certify(n0=10, n=20, images=3).evidence(model, data, seed=0, device="cpu")
    assert (certified.law, certified.copies, certified.norm) == ("bernoulli", 2, "L1")
    options: dict[str, Any] = {"more_steps": (3,), "curve": (), "widths": (0.5,), "also": ("expected", "rate")}
    small = {"steps": 2, "eot": 2, "votes": 2, "queries": 5, "tries": 2, "source_epochs": 1, "images": 6}
    evidence = Attack(eps=0.1, **options, **small).evidence(model, data, seed=0, device="cpu")
    assert evidence.stochastic
    assert {"expected", "rate", "width-0.5", "transfer", "square", "random", "worst"} - set(evidence.predictions) == {
        "worst"
    }


@given(T=st.integers(1, 5), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_codings_have_the_mean_of_the_image_and_their_gradients(T: int, seed: int) -> None:
    x = torch.rand(2, 1, 3, 3, generator=seeded(seed)).requires_grad_()
    weight = torch.randn(T, *x.shape, generator=seeded(seed + 1))
    for coding, of in (
        (Coding("direct", T), weight.sum(0)),
        (Coding("poisson", T), weight.mean(0)),
        (Coding("rsc", T, 0.3), weight.sum(0)),
        (Coding("rsc", T, 0.3, per_step=False), weight.sum(0)),
    ):
        z = coding(x, seeded(seed))
        (grad,) = torch.autograd.grad((z * weight).sum(), x)
        assert torch.allclose(grad, of, atol=1e-5)
        expected = coding(x, seeded(seed), "expected")
        assert torch.equal(expected, x.expand_as(z))
        if coding.name == "rsc":
            assert torch.equal(z[0], z[-1]) == (T == 1 or not coding.per_step)


def test_moments_of_the_noise() -> None:
    x = torch.full((20_000,), 0.3)
    spikes, noisy = (coding(x, seeded()) for coding in (Coding("poisson", 4), Coding("rsc", 4, 0.5)))
    for z, variance in ((spikes, 0.3 * 0.7), (noisy, 0.25)):
        assert z.mean() == pytest.approx(0.3, abs=0.01)
        assert z.var() == pytest.approx(variance, rel=0.05)
        assert z.mean(0).var() == pytest.approx(variance / 4, rel=0.05)


def test_noise_comes_before_normalisation_and_spikes_are_not_normalised() -> None:
    """Radii and budgets are in units of the pixels, so the noise is too, in training and in evaluation alike."""
    x, mean, std = torch.rand(2, 1, 4, 4, generator=seeded(1)), torch.tensor([0.25]), torch.tensor([0.5])
    for coding in (Coding("rsc", 3, 0.3), Coding("poisson", 3), Coding("direct", 3)):
        model = CodedClassifier(torch.nn.Identity(), 1, coding)
        model.mean_C.copy_(mean)
        model.std_C.copy_(std)
        drawn = coding(x, seeded())
        wanted = drawn if coding.name == "poisson" else (drawn - 0.25) / 0.5
        for training in (True, False):
            torch.testing.assert_close(model.train(training).coded(x, seeded()), wanted)


def test_a_teacher_of_the_student_s_own_weights_teaches_nothing_whatever_its_noise() -> None:
    """It sees the clean image, so a noisy coding of its own must not matter: the loss is the cross-entropy alone."""
    data = image_data()
    student, teacher = (RSCSNN(**SMALL, coding=c, sigma=s).build(data) for c, s in (("direct", 0.0), ("rsc", 0.5)))
    teacher.load_state_dict(student.eval().state_dict())
    x = student.prepare(torch.from_numpy(data.train.images(np.arange(6))))
    labels = torch.from_numpy(data.train.labels[:6])
    method = ERSCT(**SMALL, coding="direct", kd=1.0, pre=1.0)
    loss, logits_TBK = distilled(teacher, method, 1.0, 1.0, 4.0, None)(student, x, labels)
    torch.testing.assert_close(loss, F.cross_entropy(logits_TBK.mean(0), labels))


def test_the_student_is_pulled_towards_the_teacher_s_softened_classes() -> None:
    """tau^2 KL(teacher || student), where the two orders differ."""
    teacher, student = torch.tensor([[4.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 2.0]])
    p, q = (torch.softmax(logits / 4, -1) for logits in (teacher, student))
    assert float(kl_divergence(teacher, student, 4.0)) == pytest.approx(16 * float((p * (p / q).log()).sum()))
    assert float(kl_divergence(student, teacher, 4.0)) != pytest.approx(float(kl_divergence(teacher, student, 4.0)))


def test_an_attacker_s_derivatives_end_with_the_block() -> None:
    neuron = TriangleNeuron()
    x = torch.full((3, 1), 0.4).requires_grad_()

    def gradient() -> torch.Tensor:
        return torch.autograd.grad(neuron(x).sum(), x)[0]

    before = gradient()
    with attacked_neurons(torch.nn.Sequential(neuron), "bptt", 0.01):
        assert not gradient().any()
    with attacked_neurons(torch.nn.Sequential(neuron), "rate", None):
        assert torch.equal(gradient(), torch.ones(3, 1))
    assert torch.equal(gradient(), before)


def test_training_is_attacked_within_the_budget() -> None:
    data = image_data()
    model = RSCSNN(**SMALL, coding="direct").build(data).train()
    x = model.prepare(torch.from_numpy(data.train.images(np.arange(20))))
    labels = torch.from_numpy(data.train.labels[:20])
    attacked = Perturbation(adversary="pgd", eps=0.05, alpha=0.02, steps=4)(model, x, labels)
    assert model.training
    assert (attacked - x).abs().max() <= 0.05 + 1e-6
    assert 0 <= attacked.min() <= attacked.max() <= 1
    model.eval()
    assert F.cross_entropy(model(attacked), labels) > F.cross_entropy(model(x), labels)


def test_sizes() -> None:
    with torch.device("meta"):
        wide = WideResNet()
        vgg = RSCSNN(image_size=32, in_channels=3, num_classes=10).build(None)
    assert sum(p.numel() for p in wide.parameters()) == 2_748_890
    assert [name for name, _ in vgg.network.named_children()] == ["body", "classifier"]
    assert vgg.network.classifier[1].weight.shape == (4096, 512 * 4 * 4)
    logits, currents = pre_synaptic(
        RSCSNN(**SMALL, coding="direct").build(image_data()).network, torch.rand(2, 1, 16, 16)
    )
    assert logits.shape == (2, 2, 3)
    assert [current.shape for current in currents] == [(2, 4, 16, 16)]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: RSCSNN(coding="rsc", sigma=-0.1), "`sigma` must lie between 0 and 2, pixels are 0 to 1, not be -0.1"),
        (lambda: RSCSNN(coding="poisson", sigma=0.1), "poisson has none, so it cannot be 0.1"),
        (lambda: RSCSNN(plan=(0,)), "`plan` must hold numbers of channels of at least 1 and A for pooling"),
        (lambda: RSCSNN(tau=1.5), "`tau` must lie between 0 and 1, not be 1.5"),
        (lambda: RSCSNN(width=0.0), "`width` must be above 0, not 0.0"),
        (lambda: RSCSNN(adv_steps=0), "`adv_steps` must be at least 1, not 0"),
        (lambda: ERSCT(kd=-1.0), "`kd` must be at least 0, not -1.0"),
        (lambda: Coding("direct", 0), "`T` must be at least 1, not 0"),
        (lambda: Coding("poisson", 2)(torch.tensor([[1.5]])), r"x must lie in \[0, 1\], not in \[1.5, 1.5\]"),
        (lambda: Coding("rsc", 2, 0.1)(torch.tensor([[float("nan")]])), r"x must lie in \[0, 1\]"),
        (
            lambda: VGG(image_size=1, plan=(2, "A"), hidden=()),
            "image_size 1 is too small for the 1 poolings of the plan",
        ),
    ],
)
def test_impossible_models(make: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
