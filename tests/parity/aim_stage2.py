"""AiM's stage 2 (arXiv 2408.12245): blocks, the whole stack, cached guided decoding and sampling against fixtures."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from retable.models.aim.config import AiMConfig
from retable.models.aim.sampling import GuidedDecoder, filter_logits, sample_tokens
from retable.models.aim.stage2 import AiM, Block
from retable.models.aim.tokenizer import VQVAE, VQConfig
from tests.parity.close import FORWARD, GRADIENT, assert_close
from tests.parity.conftest import Adapter, Golden


def stage2(golden: Golden, prefix: str = "sd/") -> AiM:
    """The fixture's model; every key must be known, and none may be missing."""
    model = AiM(AiMConfig.from_official(golden.config)).eval()
    model.load_state_dict(golden.tensors(prefix))
    return model


def check_gradients(golden: Golden, named: dict[str, torch.Tensor]) -> None:
    for name, expected in golden.tensors("grad/").items():
        gradient = named[name].grad
        assert gradient is not None, f"no gradient reaches {name}"
        assert_close(gradient, expected, f"gradient of {name}", **GRADIENT)


def check_block(golden: Golden) -> None:
    config, given, out = golden.config, golden.tensors("in/"), golden.tensors("out/")
    grouped = config["adaln_group"]
    block = Block(
        AiMConfig(
            d_model=config["d_model"],
            ssm_cfg=config["mixer"],
            adaln="group" if grouped else "plain",
            norm_eps=config["norm_eps"],
        )
    )
    block.load_state_dict(golden.tensors("sd/"))
    hidden, cond = given["hidden"].requires_grad_(), given["cond"].requires_grad_()
    residual = given["residual"].requires_grad_() if "residual" in given else None
    modulation = block.modulation(cond)
    assert modulation is not None
    y, r = block(hidden, residual, modulation.rows())
    assert_close(block.shift_scale_gate(cond), out["shift_scale_gate"], "shift, scale, gate", **FORWARD)
    assert_close(y, out["hidden"], "hidden", **FORWARD)
    assert_close(r, out["residual"], "residual", **FORWARD)
    (y.sum() + 0.5 * r.sum()).backward()
    check_gradients(golden, {**dict(block.named_parameters()), "hidden": hidden, "cond": cond})


def check_stage2(golden: Golden) -> None:
    model, given, out = stage2(golden), golden.tensors("in/"), golden.tensors("out/")
    labels_B, code_BT = given["class"].squeeze(1), given["code"]
    seen = record_layers(model)
    logits_BTV = model(labels_B, code_BT[:, :-1])
    assert_close(logits_BTV, out["logits"], "logits", **FORWARD)
    hidden, residual = (torch.stack(tensors) for tensors in zip(*seen, strict=True))
    assert_close(hidden, out["layer_hidden"], "hidden of every layer", **FORWARD)
    assert_close(residual, out["layer_residual"], "residual of every layer", **FORWARD)
    check_modulation(model, labels_B, out["adaln_group"])
    loss = F.cross_entropy(logits_BTV.flatten(0, 1), code_BT.flatten())
    assert_close(loss, out["loss"], "loss", **FORWARD)
    loss.backward()
    check_gradients(golden, dict(model.named_parameters()))
    with torch.no_grad():
        shifted_BTV = model(labels_B, code_BT[:, :-1], position_offset=1)
        assert_close(shifted_BTV, out["logits_positions_plus1"], "logits at positions 1..", **FORWARD)
        for name in [name for name in out if name.startswith("cached_guided_logits_scale")]:
            guidance = float(name.removeprefix("cached_guided_logits_scale"))
            decoded_BTV = decode(model, given["class_for_cached"].squeeze(1), code_BT, guidance)
            assert_close(decoded_BTV, out[name], name, **FORWARD)


def record_layers(model: AiM) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """A list that fills with (hidden, residual) of every layer as the model runs."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    for layer in model.backbone.layers:
        layer.register_forward_hook(lambda module, given, result: seen.append(result))
    return seen


def check_modulation(model: AiM, labels_B: torch.Tensor, expected: torch.Tensor) -> None:
    e_BD = model.backbone.cls_embed(labels_B)
    shared = model.backbone.adaln_group(e_BD) if model.config.adaln == "group" else e_BD
    assert_close(shared.view_as(expected), expected, "shared modulation", **FORWARD)


def decode(model: AiM, labels_B: torch.Tensor, code_BT: torch.Tensor, guidance: float, offset: int = 1) -> torch.Tensor:
    """Guided logits (B, T, V) of cached decoding, fed with the given tokens."""
    decoder = GuidedDecoder(model, labels_B, guidance=guidance, position_offset=offset)
    logits = [decoder.logits_BV]
    logits += [decoder.feed(code_BT[:, t]) for t in range(code_BT.shape[1] - 1)]
    return torch.stack(logits, dim=1)


def check_sampling(golden: Golden) -> None:
    config, out = golden.config, golden.tensors("out/")
    model, labels_B = stage2(golden), golden.tensors("in/")["class"].squeeze(1)
    with torch.no_grad():
        guided_BTV = decode(model, labels_B, out["tokens"], config["cfg_scale"])
    assert_close(guided_BTV, out["guided_logits"], "guided logits", **FORWARD)
    filtered = filter_logits(guided_BTV.flatten(0, 1), config["top_k"], config["top_p"]).view_as(guided_BTV)
    assert_close(filtered, out["guided_logits_filtered"], "filtered logits", **FORWARD)
    drawn = sample_tokens(
        model,
        labels_B,
        guidance=config["cfg_scale"],
        top_k=config["top_k"],
        top_p=config["top_p"],
        position_offset=1,
        generator=torch.Generator().manual_seed(config["sampling_seed"]),
        official_rng=True,
    )
    assert torch.equal(drawn, out["tokens"]), "other tokens than the official sampler draws from the same seed"


def check_filters(golden: Golden) -> None:
    for index, case in enumerate(golden.config["cases"]):
        logits_BV = golden.tensors(f"case{index}/in/")["logits"]
        out = golden.tensors(f"case{index}/out/")
        filtered_BV = filter_logits(logits_BV, case["top_k"], case["top_p"])
        assert_close(filtered_BV, out["filtered"], f"case {index} filtered", **FORWARD)
        assert_close(filtered_BV.softmax(-1), out["probs"], f"case {index} probabilities", **FORWARD)


def check_end_to_end(golden: Golden) -> None:
    config, given, out = golden.config, golden.tensors("in/"), golden.tensors("out/")
    model, vqvae = stage2(golden, "sd/mamba."), tokenizer_of(golden)
    with torch.no_grad():
        target_BT = vqvae.encode(given["image"])
        assert torch.equal(target_BT, out["target"].view_as(target_BT)), "token ids differ"
        logits_BTV = model(given["class"], target_BT[:, :-1])
        assert_close(logits_BTV, out["logits"], "logits", **FORWARD)
        loss = F.cross_entropy(logits_BTV.flatten(0, 1), target_BT.flatten())
        assert_close(loss, out["loss"], "loss", **FORWARD)
        guided_BTV = decode(model, given["class"], out["tokens"], config["cfg_scale"])
        assert_close(guided_BTV, out["guided_logits"], "guided logits", **FORWARD)
        assert_close(vqvae.decode_tokens(out["tokens"]), out["generated_image"], "generated image", **FORWARD)


def tokenizer_of(golden: Golden) -> VQVAE:
    """The tokenizer whose weights lie in the fixtures that the configuration names, or in their siblings."""
    sizes: dict[str, Any] = golden.config["vq"]
    vqvae = VQVAE(
        VQConfig(
            ch=sizes["ch"],
            ch_mult=tuple(sizes["ch_mult"]),
            num_res_blocks=sizes["nrb"],
            z_channels=sizes["zc"],
            codes=sizes["ne"],
            code_dim=sizes["ed"],
        )
    ).eval()
    state: dict[str, torch.Tensor] = {}
    for name in golden.config["vq_weights_in"]:
        named = golden.path.with_name(name)
        source = Golden(named) if named.exists() else golden.sibling("aim_end_to_end", name.removesuffix(".npz"))
        state |= source.tensors("sd/")
    missing, unexpected = vqvae.load_state_dict(state, strict=False)
    assert set(missing) <= {"quantize.codebook_used"}, f"the fixtures lack {missing}"
    assert not unexpected
    return vqvae


ADAPTERS: dict[str, Adapter] = {
    "block_adaln": check_block,
    "stage2": check_stage2,
    "cfg_sampling": check_sampling,
    "logit_filters": check_filters,
    "aim_end_to_end": check_end_to_end,
}
