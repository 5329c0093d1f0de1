"""The task `attack`, its metrics and the checklist, on classifiers whose robustness is known exactly."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from retable.bench.datasets.images import ArraySplit, ImageData
from retable.bench.errors import BenchError
from retable.bench.metrics.masking import CHECKS, Masking, MaskingFailures, check, weaker
from retable.bench.metrics.robustness import CleanAccuracy, RobustAccuracy, RobustArea, RobustShare
from retable.bench.tasks.attack import Attack
from retable.bench.tasks.certify import evenly_spread
from retable.bench.tasks.perturb import Perturber, Pixels, within_l2

pytest.importorskip("torchattacks")
QUICK: dict[str, Any] = {
    "eps": 0.11,
    "more_steps": (20,),
    "curve": (0.05, 0.2),
    "eot": 3,
    "votes": 5,
    "also": (),
    "queries": 30,
    "tries": 5,
    "source_epochs": 2,
    "images": 60,
}


class Bars(nn.Module):
    """Three classes: mean brightness of three rows, through `body`; the input is normalised inside unless `plain`."""

    def __init__(self, plain: bool = False, noise: float = 0.0) -> None:
        super().__init__()
        self.scale, self.shift = (1.0, 0.0) if plain else (4.0, -0.5)
        self.noise = noise
        self.weight = nn.Parameter(torch.ones(()))
        self.norm = nn.BatchNorm1d(3)

    def prepare(self, pixels: Tensor) -> Tensor:
        return (pixels.float() / 255 + self.shift) * self.scale

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.noise * torch.randn_like(x) if self.noise else x
        return self.norm(self.weight * 10 / self.scale * x.mean((1, 3)))


class Masked(Bars):
    """The same with a gradient of zero."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach()) + 0 * x.sum()


class Blind(Bars):
    """The same without any gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


def bars(count: int = 60) -> ImageData:
    """3x3 images with one bright row, by margins between 0 and 0.5 of brightness."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    pixels = np.full((count, 1, 3, 3), 100, np.uint8)
    for i, label in enumerate(labels):
        pixels[i, 0, label] += rng.integers(5, 120, dtype=np.uint8)
    split = ArraySplit(pixels=pixels, labels=labels)
    return ImageData(name="bars", train=split, held_out=split, num_classes=3, image_shape=(1, 3, 3))


def attacked(model: nn.Module, **options: Any) -> Any:
    return Attack(**{**QUICK, **options}).evidence(model, bars(), seed=0, device="cpu")


def exact(data: ImageData, eps: float) -> np.ndarray:
    """An attacker darkens the bright row by eps and brightens another by eps: right where the margin exceeds 2 eps."""
    pixels = data.held_out.images(np.arange(len(data.held_out))).astype(int)
    margin = pixels.max((1, 2, 3)) - pixels.min((1, 2, 3))
    return margin / 255 > 2 * eps


@pytest.mark.parametrize("plain", [True, False], ids=["unnormalised", "normalised"])
def test_gradient_attacks_find_the_exact_margin_of_a_linear_model(plain: bool) -> None:
    evidence = attacked(Bars(plain), also=("autoattack",), autoattack="library")
    wanted = exact(evidence.data, 0.11)
    assert 0.2 < wanted.mean() < 0.8
    for name in ("fgsm", "pgd", "pgd-20", "worst"):
        assert np.array_equal(evidence.correct(name), wanted), name
    assert np.array_equal(evidence.correct("pgd@0.05"), exact(evidence.data, 0.05))
    assert not evidence.correct("pgd@1").any()
    assert (evidence.correct("autoattack") >= wanted).all()
    assert (evidence.correct("square") >= wanted).all()


def test_what_is_reported() -> None:
    evidence = attacked(Bars())
    worst, pgd = (RobustAccuracy(attack=name).measure(evidence) for name in ("worst", "pgd"))
    assert CleanAccuracy().measure(evidence).value == 100
    assert worst.value == 100 * evidence.correct("worst").mean()
    assert pgd.details["eot"] == 1
    assert RobustShare().measure(evidence).value == pytest.approx(worst.value / 100)
    eps, accuracy = zip(*evidence.curve()[:-1], strict=True)
    assert eps == (0, 0.05, 0.11, 0.2)
    assert RobustArea().measure(evidence).value == pytest.approx(np.trapezoid(accuracy, eps) / 0.2)
    assert "ran no attack 'cw'" in str(RobustAccuracy(attack="cw").measure(evidence).reason)
    content = json.loads(evidence.artefacts()["attack.json"])
    assert content["accuracy"]["worst"] == worst.value
    assert set(content["checklist"]) == set(CHECKS)
    assert np.shape(content["loss_surface"]) == (5, 5)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_an_honest_model_passes_every_check(noise: float) -> None:
    evidence = attacked(Bars(noise=noise))
    assert evidence.stochastic == bool(noise)
    assert {name: check(name, evidence).passed for name in CHECKS} == dict.fromkeys(CHECKS, True)
    assert MaskingFailures().measure(evidence).value == 0


def test_a_masked_gradient_is_caught() -> None:
    evidence = attacked(Masked())
    failed = {name for name in CHECKS if Masking(check=name).measure(evidence).value == 0}
    assert {"black-box", "large-eps", "gradients", "loss-rises"} <= failed
    assert MaskingFailures().measure(evidence).value == len(failed)
    assert evidence.correct("pgd").all()
    assert not evidence.correct("worst").all()


def test_every_step_of_an_attack_and_every_vote_draw_their_own_noise() -> None:
    """Noise that came again would be a deterministic defence, and robustness against it a number without meaning."""
    drawn: list[bytes] = []

    class Noisy(Bars):
        def forward(self, x: Tensor) -> Tensor:
            noise = 0.05 * torch.randn_like(x)
            drawn.extend(one.numpy().tobytes() for one in noise)
            return super().forward(x + noise)

    x, labels = torch.full((2, 1, 3, 3), 0.5), torch.zeros(2, dtype=torch.int64)
    perturber = Perturber(Pixels(Noisy()), seed=0, draws=3)
    options = {"eps": 0.1, "alpha": 0.02, "steps": 4, "eot_iter": 3, "random_start": False}
    attacked_x = perturber.strongest("EOTPGD", x, labels, **options)
    with torch.no_grad(), perturber.seeded("pgd seen"):
        Pixels(perturber.pixels.model, draws=5)(attacked_x)
    assert len(drawn) >= 2 * (4 * 3 + 3 + 5)
    assert len(set(drawn)) == len(drawn)


def test_attacks_leave_the_model_and_the_random_state_as_they_were() -> None:
    model = Bars().train()
    attacked(model)
    assert not model.training
    assert torch.equal(model.norm.running_mean, torch.zeros(3))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    perturber, x = Perturber(Pixels(model), seed=0), torch.rand(4, 1, 3, 3, generator=torch.Generator())
    perturber.strongest("PGD", x, torch.zeros(4, dtype=torch.int64), eps=0.1, alpha=0.02, steps=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.norm.training


def test_the_strongest_image_is_kept_when_the_last_is_not() -> None:
    """The loss peaks within the budget: every later step leaves the peak again."""

    class Peak(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            away = (x.mean((1, 2, 3)) - 0.55).abs()
            return torch.stack([away - 0.03, torch.zeros_like(away)], 1)

    x, labels = torch.full((2, 1, 2, 2), 0.5), torch.zeros(2, dtype=torch.int64)
    options = {"eps": 0.2, "alpha": 0.07, "steps": 6, "random_start": False}
    last, strongest = (
        getattr(Perturber(Peak(), seed=0), how)("PGD", x, labels, **options) for how in ("last", "strongest")
    )
    away = [(images.mean((1, 2, 3)) - 0.55).abs().max() for images in (last, strongest)]
    assert away[1] <= away[0]
    assert (Peak()(strongest).argmax(1) == 1).all()
    assert (strongest - x).abs().max() <= 0.2 + 1e-6


def test_perturbations_are_shortened_to_their_budget() -> None:
    x, moved = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    moved[0] += 1
    moved[1, 0, 0, 0] = 0.1
    assert within_l2(x, moved, 0.5).flatten(1).norm(dim=1).tolist() == pytest.approx([0.5, 0.1])


def test_paired_comparison() -> None:
    one, other = np.array([True] * 12 + [False] * 8), np.array([False] * 20)
    assert weaker(one, other) == pytest.approx(0.5**12)
    assert weaker(other, one) == 1
    assert weaker(one, one) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"eps": -0.1}, "`eps` must lie between 0 and 1, pixels are 0 to 1, not be -0.1"),
        ({"eps_l2": float("nan")}, "`eps_l2` must lie between 0 and 10"),
        ({"steps": 0}, "`steps` must be at least 1, not 0"),
        ({"curve": (1.5,)}, "`curve` must lie between 0 and 1"),
        ({"more_steps": (5,)}, "`more_steps` must be above `steps` = 7"),
        ({"widths": (0.0,)}, "widths of the surrogate must be above 0"),
    ],
)
def test_impossible_attacks(options: Any, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        Attack(**options)


def test_requests_that_a_model_cannot_meet() -> None:
    with pytest.raises(BenchError, match="the attack needs gradients, and the model's logits have none"):
        attacked(Blind())
    with pytest.raises(BenchError, match="Bars has only one gradient: leave out width"):
        attacked(Bars(), widths=(0.5,))
    labels = torch.zeros(1, dtype=torch.int64)
    for x in (torch.full((1, 1, 3, 3), 1.5), torch.full((1, 1, 3, 3), float("nan"))):
        with pytest.raises(BenchError, match=r"attacked pixels must lie in \[0, 1\]"):
            Perturber(Pixels(Bars()), seed=0).last("FGSM", x, labels, eps=0.1)
    square = Perturber(Pixels(Blind().eval()), seed=0).last(
        "Square", torch.full((1, 1, 3, 3), 0.5), labels, eps=0.1, n_queries=5, seed=1
    )
    assert square.shape == (1, 1, 3, 3)


def test_without_torchattacks_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    with pytest.raises(BenchError, match="pip install --no-deps torchattacks"):
        attacked(Bars())


def test_autoattack_judges_what_each_of_its_attacks_left() -> None:
    """100 iterations find the exact margin of a linear model, and what survives is not the image as it was."""
    evidence = attacked(Bars(), also=("autoattack",))
    assert {"apgd-ce", "apgd-dlr"} <= set(evidence.predictions)
    assert np.array_equal(evidence.correct("autoattack"), exact(evidence.data, 0.11))
    x = torch.from_numpy(bars().held_out.images(np.arange(60))).float() / 255
    labels = torch.from_numpy(bars().held_out.labels)
    left = Perturber(Pixels(Bars()), seed=0).apgd(x, labels, eps=0.01, loss="ce", steps=10)
    assert bool(((left - x).abs().amax((1, 2, 3)) > 0.005).all())


def test_autoattack_s_parts_take_a_hundred_steps_each() -> None:
    """torchattacks gives them ten."""
    gradients = 0

    class Counted(Bars):
        def forward(self, x: Tensor) -> Tensor:
            nonlocal gradients
            gradients += x.requires_grad
            return super().forward(x)

    few = {"images": 3, "more_steps": (8,), "curve": (), "queries": 3, "tries": 1}
    attacked(Counted(), **few)
    others = gradients
    attacked(Counted(), **few, also=("autoattack",))
    assert gradients - 2 * others >= 2 * 100


def test_two_classes_have_no_difference_of_logits() -> None:
    data = bars()
    two = ArraySplit(pixels=data.held_out.pixels, labels=data.held_out.labels % 2)
    binary = ImageData(name="two", train=two, held_out=two, num_classes=2, image_shape=(1, 3, 3))

    class Two(Bars):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, :2]

    evidence = Attack(**{**QUICK, "also": ("autoattack",), "images": 6}).evidence(Two(), binary, seed=0, device="cpu")
    assert "apgd-dlr" not in evidence.predictions
    with pytest.raises(BenchError, match="3 classes"):
        Attack(**{**QUICK, "also": ("autoattack",), "autoattack": "library", "images": 6}).evidence(
            Two(), binary, seed=0, device="cpu"
        )


def test_one_image_has_no_standard_error() -> None:
    evidence = attacked(Bars(), images=1)
    assert "standard_error" not in RobustAccuracy(attack="pgd").measure(evidence).details


@pytest.mark.parametrize(("available", "wanted"), [(1000, 64), (10_000, 500), (950, 500), (1499, 500), (3, 8)])
def test_images_are_taken_from_all_of_the_set(available: int, wanted: int) -> None:
    chosen = evenly_spread(available, wanted)
    assert len(set(chosen.tolist())) == min(available, wanted)
    assert chosen[0] == 0
    assert available - 1 - chosen[-1] <= max(available // 8, available // wanted)
