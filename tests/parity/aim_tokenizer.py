"""AiM's VQ tokenizer (arXiv 2408.12245; stage 1) against fixtures of the official modules."""

from __future__ import annotations

from typing import Any

import torch

from retable.models.aim.tokenizer import VQVAE, VectorQuantizer, VQConfig
from tests.parity.close import FORWARD, GRADIENT, assert_close
from tests.parity.conftest import Adapter, Golden


def tokenizer(*goldens: Golden) -> VQVAE:
    """The fixtures' tokenizer with every weight that they hold; a name that is not the official one is an error."""
    config = goldens[0].config
    model = VQVAE(
        VQConfig(
            ch=config["ch"],
            ch_mult=tuple(config["ch_mult"]),
            num_res_blocks=config["nrb"],
            z_channels=config["zc"],
            codes=config["ne"],
            code_dim=config["ed"],
        )
    ).eval()
    state: dict[str, Any] = {}
    for golden in goldens:
        state |= golden.tensors("sd/")
    missing, unexpected = model.load_state_dict(state, strict=False)
    halves = {name.split(".")[0] for name in state}
    lacking = [name for name in missing if name.split(".")[0] in halves and name != "quantize.codebook_used"]
    assert not lacking, f"the fixture lacks {lacking}"
    assert not unexpected, f"no parameter is called {unexpected}"
    return model


def check_encoder(golden: Golden) -> None:
    model, out = tokenizer(golden), golden.tensors("out/")
    image = golden.tensors("in/")["image"]
    with torch.no_grad():
        z = model.pre_quant(image)
        tokens = model.encode(image)
        assert_close(z, out["pre_quant"], "pre_quant", **FORWARD)
        assert torch.equal(tokens, out["indices"]), "token ids differ"
        quant, indices, *_ = model.quantize(z)
        assert torch.equal(indices.view_as(tokens), tokens), "encode and the quantiser choose different codes"
        assert_close(quant, out["quant"], "quant", **FORWARD)


def check_decoder(golden: Golden) -> None:
    encoder = golden.sibling("vq_decoder", "vq_encoder")
    model, given, out = tokenizer(golden, encoder), golden.tensors("in/"), golden.tensors("out/")
    height, width = out["quant"].shape[-2:]
    with torch.no_grad():
        assert_close(model.quantize.lookup(given["indices"], height, width), out["quant"], "quant", **FORWARD)
        assert_close(model.decode(out["quant"]), out["image"], "image from quant", **FORWARD)
        if height == width:
            assert_close(model.decode_tokens(given["indices"]), out["image"], "image", **FORWARD)
            assert_close(model.decode_tokens(given["random_indices"]), out["random_image"], "random_image", **FORWARD)
        else:
            random = model.quantize.lookup(given["random_indices"], height, width)
            assert_close(model.decode(random), out["random_image"], "random_image", **FORWARD)
    image = encoder.tensors("in/")["image"].requires_grad_()
    reconstruction, *_ = model(image)
    reconstruction.sum().backward()
    assert_close(reconstruction, out["straight_through_image"], "straight_through_image", **FORWARD)
    expected = golden.tensors("grad/")["image_of_sum_of_reconstruction"]
    assert_close(image.grad, expected, "gradient of the image", **GRADIENT)


def check_quantizer(golden: Golden) -> None:
    config, out = golden.config, golden.tensors("out/")
    assert config["l2_norm"], "codes without normalisation are not what AiM uses"
    assert config["entropy_loss_ratio"] == 0, "AiM's tokenizer has no entropy loss"
    quantizer = VectorQuantizer(config["n_e"], config["e_dim"], config["beta"]).train()
    quantizer.load_state_dict(golden.tensors("sd/"), strict=False)
    z_q, indices, vq_loss, commit_loss, usage = quantizer(golden.tensors("in/")["z"])
    assert_close(z_q, out["z_q"], "z_q", **FORWARD)
    assert torch.equal(indices, out["indices"].flatten()), "indices differ"
    assert_close(vq_loss, out["vq_loss"], "vq_loss", **FORWARD)
    assert_close(commit_loss, out["commit_loss"], "commit_loss", **FORWARD)
    assert_close(torch.zeros(()), out["entropy_loss_times_ratio"], "entropy loss", **FORWARD)
    assert_close(usage, out["codebook_usage"], "codebook_usage", **FORWARD)


ADAPTERS: dict[str, Adapter] = {
    "vq_encoder": check_encoder,
    "vq_decoder": check_decoder,
    "vq_quantizer": check_quantizer,
}
