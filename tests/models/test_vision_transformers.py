"""The spiking Transformers: what they compute, their closed forms, twins, sizes and refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from retable.models.spiking.neurons import LIF, PLIF
from retable.models.vision.layers import lif, linear_attention, relu, softmax_attention
from retable.models.vision.meta_spikeformer import META_SPIKEFORMER_SIZES, BNAndPad, MetaSpikeFormer
from retable.models.vision.qkformer import QKFORMER_SIZES, QKFormer, TokenAttention
from retable.models.vision.spike_driven import SDSA, SDT_SIZES, MembraneMLP, SpikeDrivenTransformer
from retable.models.vision.spikformer import SPIKFORMER_SIZES, SSA, Spikformer

SMALL: dict[str, Callable[..., Any]] = {
    "spikformer": partial(Spikformer, embed_dims=16, num_heads=2, depths=1, pooling_stat="0011"),
    "sdt": partial(SpikeDrivenTransformer, embed_dims=32, num_heads=2, depths=1, pooling_stat="0011"),
    "sdt-v2": partial(MetaSpikeFormer, embed_dim=(8, 8, 16, 16), num_heads=2, depths=(1, 1)),
    "qkformer": partial(QKFormer, embed_dims=32, num_heads=2, depths=(1, 1, 1), layout="cifar", protocol="corrected"),
}
TWINS = {"spikformer": {"attention": "softmax"}, "sdt": {}, "sdt-v2": {}, "qkformer": {"attention": "softmax"}}
UNUSED = ("norm1", "norm2", "talking_heads")
each_network = pytest.mark.parametrize("name", SMALL)


def small(name: str, **options: Any) -> Any:
    """A network for 3 x 16 x 16 and 5 classes whose neurons fire: BN spreads and lifts their inputs, the head is random."""
    torch.manual_seed(0)
    network = SMALL[name](**{"image_size": 16, "num_classes": 5, **options})
    nn.init.normal_(network.head.weight)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None  # the statistics of a few batches, without the initial ones
            nn.init.constant_(module.weight, 2.0)
            nn.init.normal_(module.bias, 0.5, 0.3)
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, network.in_channels, *network.image_size))
    return network.eval()


def frames(batch: int = 2, steps: int = 4) -> Tensor:
    return torch.randn(batch, steps, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@each_network
def test_an_image_is_repeated_and_the_steps_average_to_the_logits(name: str) -> None:
    network, image = small(name, T=3), frames()[:, 0]
    with torch.no_grad():
        logits, steps = network(image), network.steps(image)
        as_frames = network(image[:, None].expand(-1, 3, -1, -1, -1))
    assert logits.shape == (2, 5)
    assert steps.shape == (3, 2, 5)
    torch.testing.assert_close(steps.mean(0), logits)
    torch.testing.assert_close(as_frames, logits)
    assert not torch.equal(steps[0], steps[-1]), "neurons that keep no state"


@each_network
@pytest.mark.parametrize("size", [(16, 16), (17, 30), (34, 34)])
def test_one_step_and_any_image_size(name: str, size: tuple[int, int]) -> None:
    network = small(name, T=1, image_size=size, in_channels=2)
    assert network(torch.randn(2, 2, *size)).isfinite().all()


@each_network
def test_steps_do_not_see_later_frames(name: str) -> None:
    network, x = small(name), frames()
    changed = torch.cat([x[:, :2], torch.randn(2, 2, 3, 16, 16)], dim=1)
    with torch.no_grad():
        before, after = network.steps(x), network.steps(changed)
    assert torch.equal(before[:2], after[:2])
    assert not torch.equal(before[2:], after[2:])


@each_network
def test_a_sample_does_not_see_its_batch(name: str) -> None:
    network, x = small(name), frames(3)
    with torch.no_grad():
        together, alone = network(x), torch.cat([network(one[None]) for one in x])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_qkformer_as_released_carries_potentials_from_sample_to_sample() -> None:
    official, corrected = small("qkformer", protocol="official"), small("qkformer", protocol="corrected")
    corrected.load_state_dict(official.state_dict())
    x = frames(3)
    with torch.no_grad():
        torch.testing.assert_close(official(x[:1, :1]), corrected(x[:1, :1]))
        assert not torch.allclose(official(x), torch.cat([official(one[None]) for one in x]))
        assert not torch.allclose(official(x), official(x.flip(0)).flip(0))


def inputs_of_convolutions(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            module.register_forward_pre_hook(lambda _, given, name=name: seen.setdefault(name, given[0]))
    with torch.no_grad():
        network(x)
    return seen


def test_spike_driven_convolutions_see_spikes_alone() -> None:
    seen = inputs_of_convolutions(small("sdt"), frames())
    image = seen.pop("patch_embed.proj_conv")
    assert not torch.equal(image, image.round())
    assert len(seen) == 4 + 6
    for name, entering in seen.items():
        assert entering.unique().tolist() == [0.0, 1.0], name


@pytest.mark.parametrize(
    ("name", "image"), [("spikformer", "patch_embed.proj_conv"), ("qkformer", "patch_embed1.proj_conv")]
)
def test_added_spikes_are_integers(name: str, image: str) -> None:
    seen = inputs_of_convolutions(small(name), frames())
    del seen[image]
    for where, entering in seen.items():
        assert torch.equal(entering, entering.round()), where
        assert entering.min() >= 0, where
    assert max(float(entering.max()) for entering in seen.values()) > 1, "no residual added a spike to a spike"


spikes = st.integers(0, 2**32).map(
    lambda seed: (torch.rand(3, 3, 2, 8, 2, 3, generator=torch.Generator().manual_seed(seed)) < 0.3).float()
)


@given(qkv=spikes)
@settings(max_examples=30, deadline=None)
def test_the_mask_of_spike_driven_attention(qkv: Tensor) -> None:
    """One coincidence of k and v charges the neuron to 0.5 or more: a channel is kept if any token has one."""
    q, k, v = qkv
    coincides = ((k == 1) & (v == 1)).any(-1).any(-1)
    want = q * coincides[..., None, None]
    attention = SDSA(8, 2)
    assert torch.equal(attention.mask(q, k, v), want)
    assert (attention.mask_around(q, k, v) >= want).all(), "max pools took spikes away"


@given(qkv=spikes)
@settings(max_examples=30, deadline=None)
def test_the_mask_of_token_attention(qkv: Tensor) -> None:
    """A token of a head is kept if any of the head's channels fires in q: seen with identities as convolutions."""
    q, k, _ = qkv.flatten(4)[..., None]
    attention = TokenAttention(8, 2).eval()
    attention.q_conv, attention.q_bn, attention.q_lif = nn.Identity(), nn.Identity(), nn.Identity()
    attention.k_conv, attention.k_bn = nn.Identity(), nn.Identity()
    attention.k_lif = Returning(k.flatten(3))
    attention.proj_conv, attention.proj_bn, attention.proj_lif = nn.Identity(), nn.Identity(), nn.Identity()
    keep = q.unflatten(2, (2, 4)).amax(3, keepdim=True).expand(-1, -1, -1, 4, -1, -1).flatten(2, 3)
    assert torch.equal(attention(q), keep * k)


class Returning(nn.Module):
    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return self.value


def test_attention_without_softmax_is_the_product_in_the_other_order() -> None:
    q, k, v = (torch.rand(3, 2, 2, 2, 4, 5) < 0.4).float()
    a_TBhNN = torch.einsum("tbhdn,tbhdm->tbhnm", q, k)
    want = 0.125 * torch.einsum("tbhnm,tbhdm->tbhdn", a_TBhNN, v).flatten(2, 3)
    assert torch.equal(linear_attention(q, k, v, 0.125), want)


def test_softmax_attention_is_torchs() -> None:
    q, k, v = torch.randn(3, 2, 2, 2, 4, 5)
    rows = (part.transpose(-1, -2) for part in (q, k, v))
    want = F.scaled_dot_product_attention(*rows).transpose(-1, -2).flatten(2, 3)
    torch.testing.assert_close(softmax_attention(q, k, v), want)


def test_heads_are_blocks_of_channels() -> None:
    """A head's q, k and v decide about its own channels only."""
    attention, x = SSA(8, 2).eval(), (torch.rand(2, 1, 8, 3, 3) < 0.5).float()
    attention.proj_conv, attention.proj_bn = nn.Identity(), nn.Identity()
    before = attention(x)
    with torch.no_grad():
        attention.q_conv.weight[4:] = 0
    after = attention(x)
    assert torch.equal(before[:, :, :4], after[:, :, :4])
    assert not after[:, :, 4:].any()


def test_the_border_is_what_bn_makes_of_zero() -> None:
    layer = BNAndPad(4)
    x = torch.randn(5, 4, 6, 6)
    layer.train()(x)  # moves the running statistics
    nn.init.normal_(layer.bn.weight)
    nn.init.normal_(layer.bn.bias)
    layer.eval()
    torch.testing.assert_close(layer(x), layer.bn(F.pad(x, (1, 1, 1, 1))))


def test_a_hidden_layer_as_wide_as_its_input_has_its_own_residual() -> None:
    u = torch.randn(2, 3, 8, 2, 2)
    square, wide = MembraneMLP(8, 8).eval(), MembraneMLP(8, 16).eval()
    for layer in (square, wide):
        nn.init.zeros_(layer.fc2_bn.weight)
    hidden = square.fc1_bn(square.fc1_conv(square.fc1_lif(u).flatten(0, 1))).view_as(u)
    torch.testing.assert_close(square(u), u + hidden)
    torch.testing.assert_close(wide(u), u)


def test_distillation_gives_a_pair_in_training_and_the_mean_else() -> None:
    network, x = small("sdt-v2", kd=True), frames()
    with torch.no_grad():
        mean, steps = network(x), network.steps(x)
        torch.testing.assert_close(steps.mean(0), mean)
        network.head_kd.load_state_dict(network.head.state_dict())
        one = network(x)
        network.head_kd.weight.zero_()
        network.head_kd.bias.zero_()
        torch.testing.assert_close(2 * network(x), one)
        first, second = network.train()(x)
    assert first.shape == second.shape == (2, 5)
    assert not second.any()


def test_strides_decide_how_many_tokens_attention_has() -> None:
    for strides, side in (((2, 2, 2, 2, 1), 2), ((2, 1, 2, 1, 1), 8)):
        seen = inputs_of_convolutions(small("sdt-v2", image_size=32, strides=strides), torch.randn(1, 3, 32, 32))
        assert seen["block4.0.attn.q_conv.0.body.0"].shape[-2:] == (side, side)


def test_the_first_release_of_sdt_v2_has_no_neuron_before_its_head() -> None:
    spikes, currents = small("sdt-v2"), small("sdt-v2", head_sees="currents")
    currents.load_state_dict(spikes.state_dict())
    seen = []
    for network in (spikes, currents):
        network.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        network(frames())
    assert set(seen[0].unique().tolist()) <= {0.0, 1.0}
    assert not torch.equal(seen[1], seen[1].round())


@each_network
@pytest.mark.parametrize("twin", [False, True])
def test_it_learns_and_every_used_parameter_takes_part(name: str, twin: bool) -> None:
    options: Mapping[str, Any] = {"neuron": relu, "T": 1, **TWINS[name]} if twin else {"T": 4}
    network = small(name, **options).train()
    assert any(isinstance(module, LIF) for module in network.modules()) is not twin
    labels = torch.arange(10) % 5
    x = torch.randn(10, 3, 16, 16) + 1.5 * (labels - 2.0)[:, None, None, None]  # classes differ in brightness
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = F.cross_entropy(network(x), labels)
        optimiser.zero_grad()
        loss.backward()
        losses.append(loss.item())
        optimiser.step()
    assert sum(losses[-3:]) / 3 < losses[0]
    for key, parameter in network.named_parameters():
        used = not any(part in key.split(".") for part in UNUSED)
        assert (parameter.grad is not None) is used, key


@each_network
def test_a_learned_time_constant_in_place_of_the_fixed_one(name: str) -> None:
    network = small(name, neuron=partial(PLIF, tau=2.0, detach_reset=True))
    plain = SMALL[name](image_size=16, num_classes=5).eval()
    missing, extra = plain.load_state_dict(network.state_dict(), strict=False)
    assert not missing
    assert all(key.endswith(".w") for key in extra)
    with torch.no_grad():
        torch.testing.assert_close(network(frames()), plain(frames()))


def test_the_default_neuron() -> None:
    """v = v / 2 + x / 2, which fires at 1 and starts anew."""
    x = torch.tensor([1.5, 1.3, 0.0, 2.0])[:, None]
    assert lif()(x).flatten().tolist() == [0.0, 1.0, 0.0, 1.0]
    assert lif(threshold=0.5)(x).flatten().tolist() == [1.0, 1.0, 0.0, 1.0]


PUBLISHED = {
    # Millions as the papers print them (16.81 and 29.68 are cut off, not rounded).
    ("spikformer", "8-384"): 16.81,
    ("spikformer", "8-512"): 29.68,
    ("spikformer", "10-512"): 36.01,
    ("spikformer", "8-768"): 66.34,
    ("spikformer", "cifar-4-384"): 9.32,
    ("sdt", "8-384"): 16.81,
    ("sdt", "6-512"): 23.37,
    ("sdt", "8-512"): 29.68,
    ("sdt", "10-512"): 36.01,
    ("sdt", "8-768"): 66.34,
    ("sdt", "cifar-2-512"): 10.28,
    ("sdt", "dvs-2-256"): 2.57,
    ("sdt-v2", "31.3M"): 31.33,
    ("sdt-v2", "55.4M"): 55.35,
    ("sdt-v2", "124M"): 123.74,
    ("qkformer", "10-384"): 16.47,
    ("qkformer", "10-512"): 29.08,
    ("qkformer", "10-768"): 64.96,
    ("qkformer", "cifar-4-384"): 6.74,
}
SIZES = {
    "spikformer": (Spikformer, SPIKFORMER_SIZES),
    "sdt": (SpikeDrivenTransformer, SDT_SIZES),
    "sdt-v2": (MetaSpikeFormer, META_SPIKEFORMER_SIZES),
    "qkformer": (QKFormer, QKFORMER_SIZES),
}
COUNTED_WITH_100_CLASSES = {("sdt", "cifar-2-512"), ("qkformer", "cifar-4-384")}
"""Their papers state one size for CIFAR-10 and CIFAR-100; it is the larger."""


def on_meta(name: str, size: str, **options: Any) -> Any:
    build, sizes = SIZES[name]
    with torch.device("meta"):
        return build(**{**sizes[size], **options})


def test_every_size_has_its_published_parameters() -> None:
    assert set(PUBLISHED) == {(name, size) for name, (_, sizes) in SIZES.items() for size in sizes}
    for (name, size), millions in PUBLISHED.items():
        options = {"num_classes": 100} if (name, size) in COUNTED_WITH_100_CLASSES else {}
        parameters = on_meta(name, size, **options).named_parameters()
        used = sum(p.numel() for key, p in parameters if not any(part in key.split(".") for part in UNUSED))
        assert millions - 0.005 <= used / 1e6 < millions + 0.01, f"{name} {size}: {used / 1e6} M"


def test_a_published_size_runs_without_data() -> None:
    network = on_meta("qkformer", "10-384")
    assert network(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 1000)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("spikformer", {"num_heads": 3}, "num_heads must divide embed_dims = 16, which 3 does not"),
    ("spikformer", {"num_heads": 0}, "num_heads must divide"),
    ("spikformer", {"embed_dims": 12, "num_heads": 2}, "8 must divide embed_dims = 12"),
    ("spikformer", {"pooling_stat": "0021"}, "pooling_stat must have a 0 or 1"),
    ("spikformer", {"pooling_stat": "11"}, "pooling_stat must have a 0 or 1"),
    ("spikformer", {"attention": "vsa"}, "attention is ssa or softmax, not 'vsa'"),
    ("spikformer", {"image_size": 0}, "image_size must be"),
    ("spikformer", {"image_size": (8, 8, 8)}, "image_size must be"),
    ("spikformer", {"T": 0}, "T must be at least 1, not 0"),
    ("spikformer", {"in_channels": 0}, "in_channels must be at least 1"),
    ("sdt", {"num_heads": 5}, "num_heads must divide embed_dims = 32"),
    ("sdt", {"depths": 0}, "depths must be at least 1, not 0"),
    ("sdt-v2", {"num_heads": 3}, "num_heads must divide embed_dim.2. = 16"),
    ("sdt-v2", {"embed_dim": (8, 8, 16)}, "embed_dim must have the widths of four stages"),
    ("sdt-v2", {"embed_dim": (7, 8, 16, 16)}, "2 must divide embed_dim.0. = 7"),
    ("sdt-v2", {"strides": (2, 2, 2)}, "strides must have the five down-samplings' steps"),
    ("sdt-v2", {"head_sees": "rates"}, "head_sees is spikes or currents"),
    ("qkformer", {"num_heads": 16}, "num_heads must divide embed_dims / 4 = 8, which 16 does not"),
    ("qkformer", {"depths": (1, 2)}, "depths must have the number of blocks of three stages"),
    ("qkformer", {"layout": "dvs"}, "layout is imagenet or cifar, not 'dvs'"),
    ("qkformer", {"protocol": "paper"}, "protocol is official or corrected, not 'paper'"),
]


@pytest.mark.parametrize(("name", "options", "message"), WRONG)
def test_arguments_that_make_no_network(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SMALL[name](**options)


@each_network
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 16, 16), r"x must be images \(B, C, H, W\) or event frames \(B, T, C, H, W\), not \(3, 16, 16\)"),
        ((2, 3, 16, 20), r"x must end in \(C, H, W\) = \(3, 16, 16\)"),
        ((2, 4, 1, 16, 16), r"x must end in \(C, H, W\) = \(3, 16, 16\)"),
    ],
)
def test_inputs_of_another_shape(name: str, shape: tuple[int, ...], message: str) -> None:
    network = SMALL[name](image_size=16)
    for call in (network, network.steps):
        with pytest.raises(ValueError, match=message):
            call(torch.zeros(shape))
