"""AiM's VQ tokenizer: images to tokens and back, its published size and layout, and its training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retable.bench.datasets.images import ArraySplit, ImageData
from retable.models.aim.tokenizer import VQVAE, Downsample, VectorQuantizer, VQConfig
from retable.models.aim.tokenizer_training import TokenizerRecipe, _Batches, evaluate, reseed_codes, train_tokenizer

SMALL = VQConfig(ch=32, ch_mult=(1, 1), num_res_blocks=1, z_channels=32, codes=16, code_dim=4)


def images(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def small(seed: int = 0) -> VQVAE:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VQVAE(SMALL).eval()


def gradients(count: int, size: int = 8) -> ArraySplit:
    """Smooth images of two classes: ramps to the right and ramps downward, of varied steepness."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, size)
    labels = np.arange(count) % 2
    flat = np.stack([np.tile(ramp, (size, 1)) if label else np.tile(ramp[:, None], (1, size)) for label in labels])
    pixels = (flat * rng.uniform(80, 255, (count, 1, 1))).astype(np.uint8)
    return ArraySplit(pixels=np.repeat(pixels[:, None], 3, axis=1), labels=labels.astype(np.int64))


RAMPS = ImageData(name="ramps", train=gradients(40), held_out=gradients(10), num_classes=2, image_shape=(3, 8, 8))
SHORT = TokenizerRecipe(steps=24, batch_size=8, lr=3e-3, reseed_step=6)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Layers this small only wait for each other on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained() -> tuple[VQVAE, dict[str, Any]]:
    return train_tokenizer(SMALL, RAMPS, SHORT, seed=3)


def test_published_size() -> None:
    with torch.device("meta"):
        model = VQVAE(VQConfig())
    counts = [sum(p.numel() for p in part.parameters()) for part in (model, model.encoder, model.decoder)]
    assert [round(count / 1e6, 2) for count in counts] == [71.88, 29.30, 42.45]
    assert (model.vocab_size, model.downsample, model.num_tokens(256)) == (16384, 16, 256)
    assert model.encode(torch.empty(2, 3, 256, 256, device="meta")).shape == (2, 256)
    assert model.decode_tokens(torch.empty(2, 256, dtype=torch.int64, device="meta")).shape == (2, 3, 256, 256)


def test_every_group_norm_has_the_published_groups_and_epsilon() -> None:
    norms = [module for module in small().modules() if isinstance(module, torch.nn.GroupNorm)]
    assert len(norms) > 20
    assert {(norm.num_groups, norm.eps) for norm in norms} == {(32, 1e-6)}


def test_published_key_layout() -> None:
    with torch.device("meta"):
        state = VQVAE(VQConfig()).state_dict()
    shapes = {
        "encoder.conv_in.weight": (128, 3, 3, 3),
        "encoder.conv_blocks.2.res.0.nin_shortcut.weight": (256, 128, 1, 1),
        "encoder.conv_blocks.3.downsample.conv.weight": (256, 256, 3, 3),
        "encoder.conv_blocks.4.res.1.norm2.bias": (512,),
        "encoder.conv_blocks.4.attn.1.proj_out.weight": (512, 512, 1, 1),
        "encoder.mid.1.q.weight": (512, 512, 1, 1),
        "encoder.mid.2.conv2.weight": (512, 512, 3, 3),
        "encoder.norm_out.weight": (512,),
        "encoder.conv_out.weight": (256, 512, 3, 3),
        "decoder.conv_in.weight": (512, 256, 3, 3),
        "decoder.mid.0.norm1.weight": (512,),
        "decoder.conv_blocks.0.attn.2.k.weight": (512, 512, 1, 1),
        "decoder.conv_blocks.0.upsample.conv.weight": (512, 512, 3, 3),
        "decoder.conv_blocks.1.res.0.nin_shortcut.weight": (256, 512, 1, 1),
        "decoder.conv_blocks.4.res.2.conv1.weight": (128, 128, 3, 3),
        "decoder.conv_out.weight": (3, 128, 3, 3),
        "quantize.embedding.weight": (16384, 8),
        "quantize.codebook_used": (65536,),
        "quant_conv.weight": (8, 256, 1, 1),
        "post_quant_conv.weight": (256, 8, 1, 1),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    for absent in ("encoder.conv_blocks.4.downsample", "encoder.conv_blocks.3.attn", "decoder.conv_blocks.4.upsample"):
        assert not [name for name in state if name.startswith(absent)]


@given(
    levels=st.lists(st.sampled_from([1, 2]), min_size=1, max_size=3),
    blocks=st.integers(1, 2),
    tokens=st.integers(2, 4),
    batch=st.integers(1, 2),
)
@settings(max_examples=8, deadline=None)
def test_tokens_of_any_size_and_back(levels: list[int], blocks: int, tokens: int, batch: int) -> None:
    config = VQConfig(ch=32, ch_mult=tuple(levels), num_res_blocks=blocks, z_channels=32, codes=16, code_dim=4)
    model = VQVAE(config).eval()
    size = tokens * model.downsample
    ids = model.encode(images(batch, size))
    assert (ids.shape, ids.dtype) == ((batch, model.num_tokens(size)), torch.int64)
    assert 0 <= int(ids.min()) <= int(ids.max()) < model.vocab_size
    assert model.decode_tokens(ids).shape == (batch, 3, size, size)


def test_forward_decodes_what_encode_chooses() -> None:
    model, x = small(), images(3, 8)
    with torch.no_grad():
        reconstruction, *_ = model(x)
        torch.testing.assert_close(reconstruction, model.decode_tokens(model.encode(x)), rtol=1e-5, atol=1e-5)


def test_tokens_do_not_depend_on_the_batch() -> None:
    model, x = small(), images(5, 8)
    alone = torch.cat([model.encode(image[None]) for image in x])
    assert torch.equal(model.encode(x), alone)


def test_tokens_are_in_raster_order() -> None:
    model = small()
    tokens = torch.zeros(1, 16, dtype=torch.int64)
    tokens[0, 6] = 1  # row 1, column 2 of 4x4
    codes = model.quantize.lookup(tokens, 4, 4)
    differs = (codes != codes[:, :, :1, :1]).any(1)[0]
    assert differs.nonzero().tolist() == [[1, 2]]


@given(scales=st.lists(st.floats(0.01, 100), min_size=16, max_size=16))
@settings(max_examples=10, deadline=None)
def test_only_the_direction_of_a_code_matters(scales: list[float]) -> None:
    model, x = small(), images(2, 8)
    with torch.no_grad():
        tokens, decoded = model.encode(x), model.decode_tokens(model.encode(x))
        model.quantize.embedding.weight.mul_(torch.tensor(scales)[:, None])
        assert torch.equal(model.encode(x), tokens)
        torch.testing.assert_close(model.decode_tokens(tokens), decoded, rtol=1e-3, atol=1e-4)


def test_the_chosen_code_is_the_nearest_in_squared_distance() -> None:
    quantizer, z = VectorQuantizer(50, 4, 0.25), torch.randn(2, 4, 3, 3)
    q, indices, vq_loss, commit_loss, _ = quantizer.eval()(z)
    z_ND = torch.nn.functional.normalize(z.permute(0, 2, 3, 1).reshape(-1, 4), dim=1)
    distances = torch.cdist(z_ND.double(), quantizer.unit_codes().double())
    assert torch.equal(indices, distances.argmin(1))
    torch.testing.assert_close(vq_loss.double(), distances.min(1).values.square().mean() / 4, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(commit_loss, 0.25 * vq_loss)
    torch.testing.assert_close(q.norm(dim=1), torch.ones(2, 3, 3))


def test_gradients_go_straight_through_the_quantiser() -> None:
    quantizer = VectorQuantizer(16, 4, 0.25).eval()
    z, weight = torch.randn(1, 4, 2, 2, requires_grad=True), torch.randn(1, 4, 2, 2)
    (straight,) = torch.autograd.grad((quantizer(z)[0] * weight).sum(), z)
    (direct,) = torch.autograd.grad((torch.nn.functional.normalize(z, dim=1) * weight).sum(), z)
    torch.testing.assert_close(straight, direct)


def test_codebook_use_is_remembered_only_in_training_and_forgotten_after_its_window() -> None:
    quantizer = VectorQuantizer(4, 2, 0.25).eval()
    with torch.no_grad():
        quantizer.embedding.weight.copy_(torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]))
    left, up = (torch.tensor([x, y]).view(1, 2, 1, 1) for x, y in ((-1.0, 0.0), (0.0, 1.0)))
    assert float(quantizer(left)[-1]) == 0.25
    quantizer.train()
    assert float(quantizer(left)[-1]) == 0.5
    assert float(quantizer(up)[-1]) == 0.75
    assert float(quantizer(up.expand(1, 2, 300, 300))[-1]) == 0.25
    assert quantizer.codebook_used.shape == (65536,)


def test_downsampling_pads_right_and_bottom() -> None:
    layer, x = Downsample(1), torch.arange(16.0).view(1, 1, 4, 4)
    with torch.no_grad():
        for p in layer.parameters():
            p.zero_()
        layer.conv.weight[0, 0, 0, 0] = 1
        assert torch.equal(layer(x), x[:, :, ::2, ::2])
        layer.conv.weight[0, 0, 0, 0], layer.conv.weight[0, 0, 2, 2] = 0, 1
        assert layer(x).flatten().tolist() == [10, 0, 0, 0]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: VQConfig(ch=48), "multiples of 32"),
        (lambda: VQConfig(ch_mult=()), "at least one level"),
        (lambda: VQConfig(codes=0), "at least 1"),
        (lambda: small().num_tokens(7), "7 pixels"),
        (lambda: small().encode(images(1, 7)), "multiples of 2"),
        (lambda: small().decode_tokens(torch.zeros(1, 15, dtype=torch.int64)), "15 tokens"),
        (lambda: TokenizerRecipe(lr=0.0), "above 0"),
    ],
)
def test_bad_sizes_get_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_training_reconstructs_the_data(trained: tuple[VQVAE, dict[str, Any]]) -> None:
    model, log = trained
    curve = log["curve"]
    assert not model.training
    assert curve[-1]["mse"] < curve[0]["mse"] / 4
    assert [point["step"] for point in curve] == list(range(SHORT.steps))
    for split in ("train", "held_out"):
        assert log[split]["mse"] < curve[0]["mse"] / 4
        assert 1 < log[split]["codes_used"] <= SMALL.codes
    assert (log["train"]["images"], log["held_out"]["images"]) == (40, 10)
    assert json.loads(json.dumps(log, allow_nan=False)) == log


def test_training_follows_from_its_seed_alone(trained: tuple[VQVAE, dict[str, Any]]) -> None:
    model, log = trained
    torch.manual_seed(999)
    before = torch.get_rng_state()
    again, log_again = train_tokenizer(SMALL, RAMPS, SHORT, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert log_again == log
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    _, other = train_tokenizer(SMALL, RAMPS, TokenizerRecipe(steps=2, batch_size=8, reseed_step=0), seed=4)
    assert other["curve"][0] != log["curve"][0]


def test_training_that_diverges_says_so() -> None:
    recipe = TokenizerRecipe(steps=6, batch_size=4, lr=1e30, reseed_step=0)
    with pytest.raises(FloatingPointError, match="not finite at step"):
        train_tokenizer(SMALL, RAMPS, recipe, seed=0)


def test_reconstruction_error_is_that_of_encode_and_decode() -> None:
    model, split = small(), gradients(7)
    x = torch.from_numpy(split.pixels).float() / 127.5 - 1
    with torch.no_grad():
        expected = (model.decode_tokens(model.encode(x)) - x).square().mean()
    found = evaluate(model, split)
    assert found["mse"] == pytest.approx(float(expected), rel=1e-5)
    assert found["codes_used"] == len(model.encode(x).unique())


def test_reseeding_replaces_every_code_by_an_encoder_output() -> None:
    model = small().train()
    optimizer = torch.optim.Adam(model.parameters())
    sum(term.sum() for term in model(images(2, 8))).backward()  # type: ignore[union-attr]
    optimizer.step()
    old = model.quantize.embedding.weight.detach().clone()
    batches = _Batches(gradients(40), 4, seed=0, device="cpu")
    reseed_codes(model, batches, optimizer)
    codes = model.quantize.embedding.weight.detach()
    assert not (codes[:, None] == old).all(-1).any()
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(SMALL.codes))
    with torch.no_grad():
        z = model.pre_quant(torch.from_numpy(gradients(40).pixels).float() / 127.5 - 1)
    z_ND = torch.nn.functional.normalize(z.permute(0, 2, 3, 1).reshape(-1, SMALL.code_dim), dim=1)
    assert float(torch.cdist(codes, z_ND).min(1).values.max()) < 1e-3
    assert model.quantize.embedding.weight not in optimizer.state


@given(steps=st.integers(1, 500))
def test_learning_rate_is_constant_then_linear_to_zero(steps: int) -> None:
    recipe = TokenizerRecipe(steps=steps, lr=1.0)
    rates = [recipe.lr_at(step) for step in range(steps)]
    assert all(rate == 1.0 for rate in rates[: steps // 2 + 1])
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(min(1.0, 2 / steps))
    assert recipe.lr_at(steps) == 0


def test_a_pass_visits_every_image_once() -> None:
    split = gradients(12)
    seen: list[int] = []

    class Spy:
        augments = True

        def __len__(self) -> int:
            return len(split)

        def images(self, indices: Any, rng: np.random.Generator | None = None) -> Any:
            assert rng is not None, "training asks for augmentation where the data have it"
            seen.extend(indices)
            return split.images(indices)

    batches = _Batches(Spy(), 4, seed=0, device="cpu")
    for _ in range(6):
        batches.draw()
    assert sorted(seen[:12]) == sorted(seen[12:]) == list(range(12))
    assert seen[:12] != seen[12:]
    other = _Batches(split, 4, seed=1, device="cpu")
    other.draw()
    assert not torch.equal(other.order, batches.order)
