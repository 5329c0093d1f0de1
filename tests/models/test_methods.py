"""What every method must do: fit as a function of the seed, come back from its own state, draw and score images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from retable.bench.datasets.digits import Digits
from retable.bench.datasets.photo_patches import PhotoPatches
from retable.models.aim.method import AiM, VQTokenizer
from retable.models.transformer.method import Transformer

SHORT = {"steps": 2, "batch_size": 4}
STAGE2 = {
    "mamba2": AiM(d_model=32, n_layer=2, d_state=8, headdim=16, num_groups=2, **SHORT),
    "mamba1": AiM(d_model=32, n_layer=2, d_state=8, layer="Mamba1", num_groups=2, **SHORT),
    "no-adaln": AiM(d_model=32, n_layer=2, d_state=8, headdim=16, adaln="none", position_table=False, **SHORT),
    "transformer": Transformer(d_model=32, n_layer=2, **SHORT),
}


@pytest.fixture(scope="module", params=["digits", "photo-patches"])
def world(request: pytest.FixtureRequest) -> tuple[Any, Any, VQTokenizer]:
    """A data set with a hardly trained tokenizer that cuts its images into 8 x 8 tokens."""
    data = Digits(size=16).load() if request.param == "digits" else PhotoPatches(size=32, per_class=20).load()
    mult = (1,) * (2 if request.param == "digits" else 3)
    method = VQTokenizer(ch=32, ch_mult=mult, num_res_blocks=1, z_channels=32, codes=32, reseed_step=1, **SHORT)
    tokenizer, _ = method.fit(data, {}, seed=0, device="cpu")
    return data, tokenizer, method


@pytest.mark.parametrize("name", STAGE2)
def test_second_stages(name: str, world: tuple[Any, Any, VQTokenizer]) -> None:
    data, tokenizer, _ = world
    method = STAGE2[name]

    def fit(seed: int) -> Any:
        torch.manual_seed(seed)
        return method.fit(data, {"tokenizer": tokenizer}, seed=seed, device="cpu")[0]

    one, two, other = fit(3), fit(3), fit(4)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters_counted(), two.parameters_counted(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters_counted(), other.parameters_counted(), strict=True))
    again = method.load(one.state_dict(), data, {"tokenizer": tokenizer}, device="cpu")
    images = torch.from_numpy(data.held_out.images(np.arange(3))).float() / 127.5 - 1
    labels = torch.tensor([0, 1, data.num_classes])
    assert torch.equal(one.nll(images, labels), again.nll(images, labels))
    drawn = [model.sample(labels, guidance=2.0, generator=torch.Generator().manual_seed(1)) for model in (one, again)]
    assert torch.equal(*drawn)
    assert drawn[0].shape == images.shape


def test_the_tokenizer_comes_back_from_its_state(world: tuple[Any, Any, VQTokenizer]) -> None:
    data, tokenizer, method = world
    again = method.load(tokenizer.state_dict(), data, {}, device="cpu")
    images = torch.from_numpy(data.train.images(np.arange(4))).float() / 127.5 - 1
    assert torch.equal(again.encode(images), tokenizer.encode(images))
    assert again.encode(images).shape == (4, 64)
