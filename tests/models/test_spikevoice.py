"""SpikeVoice: the released layout, what each neuron and attention can see, the variance adaptor, the twins."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from retable.models.common.errors import CheckpointError
from retable.models.spikevoice.attention import SpikeDrivenAttention, lif
from retable.models.spikevoice.block import SequentialBlock, STSABlock, spiking_block
from retable.models.spikevoice.checkpoint import load_released
from retable.models.spikevoice.losses import losses
from retable.models.spikevoice.network import SpikeVoice, sinusoids
from retable.models.spikevoice.recipe import Recipe
from retable.models.spikevoice.sizes import Arm, Config
from retable.models.spikevoice.variance import Control, Targets, bins, regulate

SMALL: dict[str, Any] = {
    "d": 8, "encoder_blocks": 1, "decoder_blocks": 1, "filter": 12, "predictor": 8, "bins": 8, "postnet": 8, "mels": 6,
    "symbols": 9, "longest": 30,
}  # fmt: skip
TEXTS = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
LENGTHS = torch.tensor([4, 2])
TARGETS = Targets(
    durations=torch.tensor([[2, 3, 1, 2], [4, 1, 0, 0]]),
    pitch=torch.tensor([[0.5, -0.5, 0.1, 0.9], [-0.9, 0.3, 0.0, 0.0]]),
    energy=torch.tensor([[0.1, 0.2, -0.3, 0.4], [0.5, -0.6, 0.0, 0.0]]),
)


def network(seed: int = 0, **options: Any) -> SpikeVoice:
    torch.manual_seed(seed)
    return lively(SpikeVoice(Config(**SMALL | options)))


def lively(module: nn.Module) -> Any:
    """With biases that make neurons fire, so that what they cannot see is no accident."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d):
            nn.init.constant_(norm.bias, 1.8)
    return module.eval()


class Fixed(nn.Module):
    """A predictor that always says the same."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = values

    def forward(self, x: Tensor, pad: Tensor) -> Tensor:
        return self.values


def block(arm: Arm = "stsa", T: int = 4) -> Any:
    torch.manual_seed(1)
    return lively(spiking_block(Config(**SMALL | {"arm": arm, "T": T}), heads=2))


def stream(T: int = 4, B: int = 2, L: int = 5, D: int = 8) -> Tensor:
    return 3 * torch.randn(T, B, L, D, generator=torch.Generator().manual_seed(2))


NO_PADDING = torch.zeros(2, 5, dtype=torch.bool)


class TestReleasedLayout:
    def test_the_published_configuration_is_counted_to_the_last_weight(self) -> None:
        with torch.device("meta"):
            model = SpikeVoice(Config())
        parts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
        assert len(model.state_dict()) == 636
        assert sum(parts.values()) == 37_315_907
        assert parts == {
            "encoder": 12_708_096, "variance_adaptor": 1_316_099, "decoder": 18_923_008, "lif_m": 0, "mel_linear": 20_560,
            "postnet": 4_348_144,
        }  # fmt: skip

    def test_tables_and_bins_are_stored_but_not_trained(self) -> None:
        model = network()
        trained = {name for name, _ in model.named_parameters()}
        fixed = {name for name in model.state_dict() if name not in trained and "batch_norm" not in name}
        assert {name for name in fixed if not name.startswith("postnet")} == {
            "encoder.position_enc", "decoder.position_enc", "variance_adaptor.pitch_bins", "variance_adaptor.energy_bins"
        }  # fmt: skip

    def test_a_released_file_fills_the_model(self, tmp_path: Path) -> None:
        path = tmp_path / "spikevoice.pth"
        torch.save({"model": network(5).state_dict()}, path)
        model = network(6)
        load_released(path, model)
        assert torch.equal(model.mel_linear.weight, network(5).mel_linear.weight)

    def test_another_arm_is_refused_by_name(self, tmp_path: Path) -> None:
        path = tmp_path / "spikevoice.pth"
        torch.save(network(arm="sequential").state_dict(), path)
        with pytest.raises(CheckpointError, match="slf_attn_t"):
            load_released(path, network())


class TestNeuron:
    @pytest.mark.parametrize(
        ("x", "fires_at"), [(2.0, [1, 1, 1, 1]), (1.1, [0, 0, 0, 1]), (16 / 15 - 1e-3, [0, 0, 0, 0])]
    )
    def test_a_constant_input_fires_when_it_has_charged(self, x: float, fires_at: list[int]) -> None:
        assert lif()(torch.full((4, 1), x)).flatten().tolist() == fires_at

    def test_nothing_flows_back_through_the_reset(self) -> None:
        x = torch.tensor([[3.0], [3.0]], requires_grad=True)
        lif()(x)[1].sum().backward()
        assert x.grad is not None
        assert x.grad[0] == 0  # the first step fired, so the second starts from 0 whatever the first was
        assert x.grad[1] > 0

    def test_the_state_starts_anew_in_every_pass(self) -> None:
        model = network()
        with torch.no_grad():
            first, second = (model(TEXTS, LENGTHS, TARGETS).mel for _ in range(2))
        assert torch.equal(first, second)


class TestWhatAttentionSees:
    def reaches(self, module: Any, changed: tuple[Any, ...], shown: tuple[Any, ...]) -> bool:
        """Whether any of a few changes at `changed` of (T, B, L) moves the output at `shown`."""
        x = stream()
        with torch.no_grad():
            before = module(x, NO_PADDING)
            for size in (-6.0, -2.0, 2.0, 6.0):
                moved = x.clone()
                moved[changed] += size
                if not torch.equal(module(moved, NO_PADDING)[shown], before[shown]):
                    return True
        return False

    def test_within_a_step_later_steps_cannot_be_seen(self) -> None:
        assert not self.reaches(block("sequential"), (2,), (slice(0, 2),))
        assert self.reaches(block("sequential"), (2,), (slice(3, 4),))

    def test_temporal_attention_sees_all_steps(self) -> None:
        assert self.reaches(block("stsa"), (3,), (slice(0, 1),))

    def test_neurons_of_temporal_attention_run_along_the_sequence(self) -> None:
        """Kept apart from the attention over the sequence, position 1 is seen by what comes later, not by what was."""
        attention = lively(SpikeDrivenAttention(8))
        spikes = (stream() > 1).float()

        def temporal(x: Tensor, pad: Tensor) -> Tensor:
            s_LBTD = (x > 1).float().transpose(0, 2)
            pad_LBT = torch.zeros(s_LBTD.shape[:3], dtype=torch.bool)
            return attention(s_LBTD, torch.zeros_like(s_LBTD), pad_LBT).transpose(0, 2)

        assert spikes.mean() > 0.1
        late, early = (slice(None), slice(None), slice(2, 5)), (slice(None), slice(None), slice(0, 1))
        assert self.reaches(temporal, (slice(None), slice(None), 1), late)
        assert not self.reaches(temporal, (slice(None), slice(None), 1), early)

    @pytest.mark.parametrize("arm", ["stsa", "sequential", "softmax"])
    def test_what_lies_under_padding_changes_nothing(self, arm: Arm) -> None:
        pad = torch.tensor([[False] * 5, [False, False, False, True, True]])
        x = stream()
        moved = x.clone()
        moved[:, 1, 3:] = 7.0
        module = block(arm)
        module.pos_ffn.w_1 = nn.Conv1d(8, 12, 1)  # a wider one reads its neighbours before they are zeroed
        with torch.no_grad():
            out, other = module(x.masked_fill(pad[None, ..., None], 0), pad), module(moved, pad)
        assert torch.equal(out[:, 1, 3:], torch.zeros_like(out[:, 1, 3:]))
        if arm != "stsa":  # temporal neurons go on behind the end, where nobody looks
            assert torch.equal(out[:, :, :3], other[:, :, :3])
        assert torch.equal(out[:, 1, :3], other[:, 1, :3])

    def test_the_number_of_heads_changes_nothing_without_a_softmax(self) -> None:
        """By head: split the channels, attend within each, put them together again."""
        attention = lively(SpikeDrivenAttention(8))
        s, pad = (stream() > 0.5).float(), torch.zeros(4, 2, 5, dtype=torch.bool)
        with torch.no_grad():
            q, k, v = attention.qkv(s)
            heads = [
                q_h * lif()((k_h * v_h).sum(2, keepdim=True))
                for q_h, k_h, v_h in zip(q.split(4, -1), k.split(4, -1), v.split(4, -1), strict=True)
            ]
            whole = attention(s, torch.zeros_like(s), pad)
            assert torch.cat(heads, -1).mean() > 0.05
            assert torch.equal(whole, attention.back(torch.cat(heads, -1), torch.zeros_like(s)))

    def test_the_second_normalisation_is_that_of_queries(self) -> None:
        attention = lively(SpikeDrivenAttention(8))
        s, pad = (stream() > 0.5).float(), torch.zeros(4, 2, 5, dtype=torch.bool)
        for number, silenced in ((1, 1), (2, 0), (3, 2)):
            norm = getattr(attention, f"batch_norm{number}")
            bias = norm.bias.detach().clone()
            with torch.no_grad():
                norm.weight.zero_(), norm.bias.zero_()
                rates = [float(part.mean()) for part in attention.qkv(s)]
                norm.weight.fill_(1), norm.bias.copy_(bias)
            assert [i for i, rate in enumerate(rates) if rate == 0] == [silenced]
        assert attention(s, s, pad).isfinite().all()

    def test_batch_statistics_count_padding(self) -> None:
        attention = lively(SpikeDrivenAttention(8)).train()
        short, padded = stream(L=3), torch.cat([stream(L=3), torch.zeros(4, 2, 2, 8)], 2)
        for x in (short, padded):
            attention(x, x, torch.zeros(x.shape[:3], dtype=torch.bool))
        assert attention.batch_norm1.num_batches_tracked == 2
        means = []
        for x in (short, padded):
            attention.batch_norm1.reset_running_stats()
            attention(x, x, torch.zeros(x.shape[:3], dtype=torch.bool))
            means.append(attention.batch_norm1.running_mean.clone())
        assert not torch.allclose(means[0], means[1])


class TestVariance:
    @settings(max_examples=60, deadline=None)
    @given(
        durations=st.lists(st.lists(st.integers(-2, 5), min_size=3, max_size=3), min_size=1, max_size=3).filter(
            lambda rows: max(map(max, rows)) > 0
        )
    )
    def test_each_phoneme_lasts_its_frames(self, durations: list[list[int]]) -> None:
        x = torch.arange(1.0, 4.0).expand(2, len(durations), 3)[..., None]
        out, lengths = regulate(x, torch.tensor(durations))
        for b, row in enumerate(durations):
            expected = [i + 1.0 for i, d in enumerate(row) for _ in range(max(d, 0))]
            assert lengths[b] == len(expected)
            for t in range(2):
                assert out[t, b, :, 0].tolist() == expected + [0.0] * (out.shape[2] - len(expected))

    def test_durations_are_cut_to_whole_frames(self) -> None:
        out, lengths = regulate(torch.ones(1, 1, 2, 1), torch.tensor([[1.7, 5.1]]))
        assert (int(lengths), out.shape[2]) == (6, 6)

    @pytest.mark.parametrize(("frames", "whole"), [(0.5, 0.0), (1.5, 2.0), (2.5, 2.0), (2.6, 3.0)])
    def test_halves_are_rounded_to_even_before_the_factor(self, frames: float, whole: float) -> None:
        near = torch.tensor(frames + 1).log() + torch.arange(-8, 9) * 6e-8
        exact = (near.exp() - 1 - frames).abs().argmin()
        model = network()
        log_durations = near[exact].repeat(4, 1, 4)
        log_durations[..., 3] = 2.0  # something has to last
        model.variance_adaptor.duration_predictor = Fixed(log_durations)
        with torch.no_grad():
            out = model(TEXTS[:1], LENGTHS[:1], control=Control(duration=1.3))
        assert torch.allclose(out.durations[0, :3], torch.tensor(whole * 1.3))

    def test_silence_throughout_is_refused(self) -> None:
        with pytest.raises(ValueError, match="lasts a frame"):
            regulate(torch.ones(1, 1, 2, 1), torch.tensor([[0.4, 0.0]]))

    def test_twice_as_slow_lasts_twice_as_long(self) -> None:
        model = network()
        nn.init.constant_(model.variance_adaptor.duration_predictor.linear_layer.bias, 1.5)
        with torch.no_grad():
            once, twice = (model(TEXTS, LENGTHS, control=Control(duration=f)).lengths for f in (1.0, 2.0))
        assert once.min() > 0
        assert torch.equal(twice, 2 * once)

    @pytest.mark.parametrize(("by_pitch", "moves"), [(True, ["pitch", "energy"]), (False, ["pitch"])])
    def test_energies_follow_the_factor_of_pitches_as_released(self, by_pitch: bool, moves: list[str]) -> None:
        model = network(energy_by_pitch=by_pitch)
        embedding = model.variance_adaptor.pitch_embedding.weight
        nn.init.constant_(model.variance_adaptor.duration_predictor.linear_layer.bias, 1.5)
        nn.init.zeros_(embedding)  # else a moved pitch moves what energy is predicted from
        with torch.no_grad():
            plain, high = (model(TEXTS, LENGTHS, control=Control(pitch=f)) for f in (1.0, 3.0))
        for name in ("pitch", "energy"):
            before, after = getattr(plain, name), getattr(high, name)
            assert torch.allclose(after, (3 if name in moves else 1) * before, atol=1e-6)
            assert before.abs().max() > 0

    def test_without_targets_each_step_takes_its_own_class(self) -> None:
        adaptor = network().variance_adaptor
        values = torch.tensor([-2.0, -0.4, 0.4, 2.0])
        adaptor.pitch_predictor = Fixed(values[:, None, None])
        x, _ = adaptor._added("pitch", torch.zeros(4, 1, 1, 8), torch.zeros(1, 1, dtype=torch.bool), None, Control())
        rows = torch.bucketize(values, adaptor.pitch_bins)
        assert len(set(rows.tolist())) == 4
        assert torch.equal(x[:, 0, 0], adaptor.pitch_embedding(rows))

    @pytest.mark.parametrize(("pitch", "energy"), [("frame", "phoneme"), ("phoneme", "frame"), ("frame", "frame")])
    def test_levels_are_chosen_apart(self, pitch: Any, energy: Any) -> None:
        model = network(pitch_level=pitch, energy_level=energy)
        frames = torch.zeros(2, 9)
        targets = Targets(
            durations=TARGETS.durations,
            pitch=frames if pitch == "frame" else TARGETS.pitch,
            energy=frames if energy == "frame" else TARGETS.energy,
        )
        out = model(TEXTS, LENGTHS, targets, frames=9)
        assert [out.pitch.shape[1], out.energy.shape[1]] == [9 if level == "frame" else 4 for level in (pitch, energy)]
        mel = torch.randn(2, 9, 6)
        changed = mel.clone()
        changed[0, 8:], changed[1, 5:] = 99.0, -99.0  # behind the ends
        totals = [losses(out, given, targets, model.config).total for given in (mel, changed)]
        assert totals[0] == totals[1]
        assert torch.isfinite(totals[0])

    def test_bins_lie_between_the_bounds(self) -> None:
        assert torch.allclose(bins((0.5, 8.0), 6, "log"), torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0]))
        assert torch.allclose(bins((-1.0, 1.0), 4, "linear"), torch.tensor([-1.0, 0.0, 1.0]))
        with pytest.raises(ValueError, match="above 0"):
            bins((-1.0, 2.0), 4, "log")


class TestNetwork:
    def test_evaluation_goes_beyond_the_stored_positions_and_training_cuts(self) -> None:
        long, whole = network(longest=5), network(longest=30)
        long.load_state_dict({k: v for k, v in whole.state_dict().items() if "position" not in k}, strict=False)
        with torch.no_grad():
            assert torch.allclose(
                long(TEXTS, LENGTHS, TARGETS).mel, whole(TEXTS, LENGTHS, TARGETS).mel, atol=1e-6
            )  # fmt: skip
            out = long.train()(TEXTS, LENGTHS, TARGETS)
        assert out.mel.shape[1] == 5
        mel = torch.randn(2, 8, 6)
        assert losses(out, mel, TARGETS, long.config).total.isfinite()

    def test_without_a_time_embedding_all_steps_start_alike(self) -> None:
        model = network(arm="sequential")
        seen: list[Tensor] = []
        model.encoder.layer_stack[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for fill in (0.0, None):
            if fill is None:
                nn.init.normal_(model.encoder.time_embed)
            model(TEXTS, LENGTHS, TARGETS)
        assert torch.equal(seen[0], seen[0][:1].expand_as(seen[0]))
        assert not torch.equal(seen[1][0], seen[1][1])

    def test_speakers_differ_and_must_be_named(self) -> None:
        model = network(speakers=2)
        with torch.no_grad():
            outs = [model(TEXTS, LENGTHS, TARGETS, speakers_B=torch.full((2,), i)).mel for i in range(2)]
        assert not torch.equal(*outs)
        with pytest.raises(ValueError, match="speakers_B"):
            model(TEXTS, LENGTHS, TARGETS)

    @pytest.mark.parametrize("arm", ["stsa", "sequential", "softmax", "ann"])
    def test_every_arm_learns_a_spectrogram(self, arm: Arm) -> None:
        model = network(arm=arm, T=1 if arm == "ann" else 4, d=16, filter=32, postnet=16).train()
        mel = torch.randn(2, 8, 6, generator=torch.Generator().manual_seed(0)).cumsum(1)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        found = []
        for _ in range(60):
            loss = losses(model(TEXTS, LENGTHS, TARGETS), mel, TARGETS, model.config).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(float(loss.detach()))
        assert found[-1] < 0.6 * found[0]
        quiet = {name for name, p in model.named_parameters() if p.grad is None}
        assert all("layer_norm_" in name for name in quiet)  # the spiking predictors leave theirs unused
        assert bool(quiet) == (arm != "ann")

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"arm": "ann"}, "`T`"),
            ({"heads": 3}, "`heads`"),
            ({"kernels": (8, 1)}, "`kernels`"),
            ({"bins": 1}, "`bins`"),
        ],
    )
    def test_what_cannot_be_built_is_refused(self, options: dict[str, Any], named: str) -> None:
        with pytest.raises(ValueError, match=named):
            Config(**SMALL | options)

    def test_positions_are_sines_and_cosines_in_turn(self) -> None:
        table = sinusoids(3, 4)
        expected = torch.tensor([[0.0, 1.0, 0.0, 1.0], [0.841471, 0.540302, 0.0099998, 0.99995]])
        assert torch.allclose(table[:2], expected, atol=1e-6)

    def test_blocks_are_what_their_names_say(self) -> None:
        assert isinstance(block("stsa"), STSABlock)
        assert type(block("sequential")) is SequentialBlock


class TestRecipe:
    def test_the_published_rate_rises_to_step_4000_and_is_cut_three_times(self) -> None:
        recipe = Recipe()
        peak = recipe.rate(4000, 256)
        assert peak == pytest.approx(1 / (16 * 4000**0.5))
        assert recipe.rate(1, 256) == pytest.approx(peak / 4000)
        assert recipe.rate(16_000, 256) == pytest.approx(peak / 2)
        for n, cuts in ((300_000, 0), (300_001, 1), (400_001, 2), (500_001, 3)):
            assert recipe.rate(n, 256) == pytest.approx(peak * (4000 / n) ** 0.5 * 0.3**cuts)

    def test_a_stated_rate_rises_to_itself_and_falls_as_a_cosine(self) -> None:
        recipe = Recipe(steps=101, warmup=10, lr=2.0)
        assert recipe.rate(5, 256) == pytest.approx(1.0)
        assert recipe.rate(51, 256) == pytest.approx(1 + math.cos(math.pi * 50 / 101))
        assert max(recipe.rate(n, 256) for n in range(1, 102)) <= 2.0
