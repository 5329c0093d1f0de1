"""PRIME's spiking autoencoder: its readout and norms, the two passes of the posterior, prefixes, the method that fills holes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from retable.bench.registry import resolve
from retable.models.prime.blocks import MembraneOutput, TdBN
from retable.models.prime.config import VAE_NEURON, VAEConfig
from retable.models.prime.inpainter import Inpainter, damaged
from retable.models.prime.method import Prime, PrimeInpainting
from retable.models.prime.neurons import Fire
from retable.models.prime.vae import Prior, SpikingVAE
from retable.models.spiking.neurons import LIF
from tests.models.test_prime import SMALL, SMALL_VAE, events, seeded, stripes

TINY = VAEConfig(T=6, channels=(4, 4), latent=5, k=3, image_size=8)


@pytest.mark.parametrize("synapses", ["topology", "weights"])
def test_an_inpainter_fits_comes_back_and_fills_sample_by_sample(synapses: Any) -> None:
    assert resolve("method", "prime-inpainting") is PrimeInpainting
    data, method = stripes(), PrimeInpainting(**SMALL_VAE, synapses=synapses)
    fitted, log = method.fit(data, {}, seed=1, device="cpu")
    again = method.load(fitted.state_dict(), data, {}, device="cpu")
    assert np.isfinite(log["loss"])
    x = damaged(fitted.prepare(torch.from_numpy(data.held_out.images(np.arange(6)))), method.hole)
    seeds = torch.arange(6)
    for afresh in (False, True):
        with torch.no_grad():
            whole = fitted.fillings(x, seeds, afresh=afresh)
            alone = torch.cat([fitted.fillings(x[i : i + 1], seeds[i : i + 1], afresh=afresh) for i in range(6)], 1)
            assert torch.equal(again.fillings(x, seeds, afresh=afresh), whole)
        assert whole.shape == (4, 6, 1, 8, 8)
        assert torch.allclose(whole, alone, atol=1e-6)


def test_a_hole_is_black_and_the_rest_is_untouched() -> None:
    x = torch.rand(2, 1, 8, 8)
    y = damaged(x, (3, 5))
    assert (y[..., 3:5, 3:5] == -1).all()
    assert int((y != x).sum()) == 2 * 4
    assert (x >= 0).all()


def test_the_autoencoder_s_spikes_are_those_of_the_shared_neuron_its_gradient_is_not() -> None:
    x = torch.randn(6, 40, generator=seeded())
    shared = LIF(tau=4 / 3, threshold=0.2, decay_input=False, strict=True)
    assert torch.equal(shared(x), Fire(VAE_NEURON)(x))
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    shared(one).sum().backward()
    Fire(VAE_NEURON)(two).sum().backward()
    assert not torch.allclose(one.grad, two.grad)


def test_the_membrane_of_the_autoencoder_takes_its_first_coefficients_for_fewer_steps() -> None:
    output = MembraneOutput(4)
    x = torch.ones(4, 1)
    assert torch.allclose(output(x), torch.tensor([0.512 + 0.64 + 0.8 + 1]))
    assert torch.allclose(output(x[:1]), torch.tensor([0.512]))
    assert torch.allclose(output.successive(x, attenuated=True).flatten(), torch.tensor([0.512, 1.152, 1.952, 2.952]))
    assert torch.allclose(output.successive(x, attenuated=False).flatten(), torch.tensor([1, 1.8, 2.44, 2.952]))


def test_td_bn_merges_time_and_scales_by_the_threshold() -> None:
    norm = TdBN(3, alpha=2.0)
    y = norm(torch.randn(500, 3, 4, 4) * 7 + 2)
    assert torch.allclose(y.std((0, 2, 3)), torch.full((3,), 0.4), atol=1e-2)
    assert int(norm.num_batches_tracked or 0) == 1


def warmed(seed: int = 0) -> SpikingVAE:
    """Running statistics of the data, without which a network in evaluation mode is silent."""
    torch.manual_seed(seed)
    model = SpikingVAE(TINY)
    for _ in range(120):
        model(torch.rand(16, 1, 8, 8) * 2 - 1)
    return model.eval()


def test_carried_potentials_give_what_prefixes_run_again_give() -> None:
    model = warmed()
    x_TBC = model.encode(torch.rand(4, 1, 8, 8) * 2 - 1, None)
    q_TBCk, z_TBC = model.posterior(x_TBC, draws_of(3))
    z, indices = model.posterior.rerun(x_TBC, draws_of(3))
    again = model.posterior.layers(torch.cat((x_TBC, z), 2))
    assert 0 < float(q_TBCk.mean()) < 1
    assert torch.equal(again, q_TBCk)
    assert torch.equal(z[1:], z_TBC[:-1])
    assert len(indices) == TINY.T


def draws_of(seed: int) -> Any:
    generator = seeded(seed)
    return lambda count, k: torch.randint(0, k, (count,), generator=generator)


def test_a_training_pass_normalises_every_prefix_of_the_posterior_and_the_rest_once() -> None:
    model = SpikingVAE(TINY)
    model(torch.rand(4, 1, 8, 8))
    seen = {name: int(count) for name, count in model.state_dict().items() if name.endswith("num_batches_tracked")}
    assert set(seen.values()) == {1, TINY.T}
    assert all((count == TINY.T) == name.startswith("posterior.") for name, count in seen.items())


@torch.no_grad()
def test_one_run_holds_the_images_of_all_prefixes() -> None:
    model = warmed()
    x = torch.rand(3, 1, 8, 8) * 2 - 1
    successive = model.successive(x, draws_of(3), attenuated=True)
    for n in range(1, TINY.T + 1):
        assert torch.allclose(model(x, n, draws_of(3)).image, successive[n - 1], atol=1e-6)
    assert torch.allclose(model.successive(x, draws_of(3))[-1], successive[-1], atol=1e-6)
    assert float(successive[-1].std()) > 0


@torch.no_grad()
def test_samples_of_the_prior_follow_its_draws() -> None:
    model = warmed()
    one, two, other = (model.sample(4, draws_of(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_scheduled_sampling_starts_at_the_sixth_step_and_in_training_only() -> None:
    torch.manual_seed(0)
    prior, z = Prior(5, 3), torch.ones(9, 2, 5)
    assert torch.equal(prior.mixed(z.clone(), 1.0)[:6], z[:6])
    assert not torch.equal(prior.mixed(z.clone(), 1.0)[6:], z[6:])
    assert torch.equal(prior.mixed(z.clone(), 0.0), z)
    prior.eval()
    assert torch.equal(prior(z, scheduled=1.0), prior(z))


def test_the_wrapper_runs_for_the_networks_steps() -> None:
    assert Inpainter(SpikingVAE(TINY)).T == TINY.T


def test_rates_and_optimisers_are_the_released_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam (decay in the gradient) on a cosine by the epoch for events, AdamW (decay beside it) at one rate for holes."""
    seen: list[tuple[str, float, float]] = []

    def watched(optimizer: torch.optim.Optimizer, lr: float) -> None:
        (group,) = optimizer.param_groups
        seen.append((type(optimizer).__name__, lr, group["weight_decay"]))

    monkeypatch.setattr("retable.models.prime.training.set_rate", watched)
    Prime(**{**SMALL, "epochs": 4, "lr": 2.0, "weight_decay": 5e-4}).fit(events(train=20), {}, seed=0, device="cpu")
    assert [lr for _, lr, _ in seen] == pytest.approx([2.0, 1 + 0.5**0.5, 1.0, 1 - 0.5**0.5])
    assert {(name, decay) for name, _, decay in seen} == {("Adam", 5e-4)}
    seen.clear()
    PrimeInpainting(**{**SMALL_VAE, "epochs": 2}).fit(stripes(train=20), {}, seed=0, device="cpu")
    assert seen == [("AdamW", 5e-3, 1e-3)] * 2


def test_scheduled_sampling_grows_from_a_tenth_to_three_tenths(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    forward = SpikingVAE.forward

    def watched(self: SpikingVAE, *args: Any, scheduled: float = 0.0) -> Any:
        seen.append(scheduled)
        return forward(self, *args, scheduled=scheduled)

    monkeypatch.setattr(SpikingVAE, "forward", watched)
    PrimeInpainting(**{**SMALL_VAE, "epochs": 3}).fit(stripes(train=20), {}, seed=0, device="cpu")
    assert seen == pytest.approx([0.1, 0.2, 0.3])
