"""Folders of language models: every parameter comes from the files and all of these are used, or the folder is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file

from retable.models.common.errors import CheckpointError
from retable.models.spikellm import published, tiny_llama
from retable.models.spikellm.published import folder_digest, read_folder

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers writes it: two layers, a head of its own."""
    folder = tmp_path_factory.mktemp("lm")
    torch.manual_seed(0)
    model = tiny_llama.new(32, 2, 2, 2, 48)
    model.lm.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    for file in good.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def change(folder: Path, tensors: Callable[[State], State], **config: Any) -> None:
    state = load_file(folder / "model.safetensors")
    changed = {name: tensor.clone() for name, tensor in tensors(state).items()}
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    declared = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**declared, **config}))


def same(state: State) -> State:
    return state


def prefixed(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


def times(name: str, factor: float) -> Callable[[State], State]:
    return lambda state: {**state, name: state[name] * factor}


NORM, HEAD = "model.norm.weight", "lm_head.weight"


@pytest.mark.parametrize(
    ("tensors", "config", "sentence"),
    [
        (prefixed("_orig_mod."), {}, r"lm_head\.weight \(and \d+ more\) are missing; _orig_mod\.lm_head\.weight \(and"),
        (prefixed("module."), {}, r"module\.lm_head\.weight \(and \d+ more\) are of no place"),
        (prefixed("base_model.model."), {}, r"base_model\.model\.lm_head\.weight \(and"),
        (lambda s: {n: t for n, t in s.items() if "layers.1" not in n}, {}, r"model\.layers\.1\.input_.*are missing"),
        (lambda s: {n: t for n, t in s.items() if n != HEAD}, {}, r"lm_head\.weight is missing"),
        (lambda s: {**s, "model.norm.wieght": s[NORM]}, {}, r"model\.norm\.wieght is of no place in this model"),
        (same, {"num_hidden_layers": 1}, r"model\.layers\.1\.input_layernorm\.weight \(and 8 more\) are of no place"),
        (same, {"num_hidden_layers": 3}, r"model\.layers\.2\.input_layernorm\.weight \(and 8 more\) are missing"),
        (lambda s: {**s, NORM: s[NORM][:-1]}, {}, r"model\.norm\.weight \(31,\) is of another shape"),
        (times(NORM, float("nan")), {}, r"model\.norm\.weight holds values that are not finite"),
        (times(HEAD, float("inf")), {}, r"lm_head\.weight holds values that are not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    folder: Path, tensors: Callable[[State], State], config: dict[str, Any], sentence: str
) -> None:
    change(folder, tensors, **config)
    with pytest.raises(CheckpointError, match=sentence) as told:
        read_folder(folder, "float32")
    assert str(folder) in str(told.value)
    assert "\n" not in str(told.value)


def test_values_beyond_half_precision_are_named(folder: Path) -> None:
    change(folder, times(NORM, 1e6))
    read_folder(folder, "float32")
    with pytest.raises(
        CheckpointError, match=r"model\.norm\.weight holds values that are not finite in torch\.float16"
    ):
        read_folder(folder, "float16")


def test_folders_that_fit_are_read_as_they_are(folder: Path) -> None:
    """The names of the inner model alone, with a tied head, and buffers of older releases, which follow from the config."""
    state = load_file(folder / "model.safetensors")
    change(
        folder,
        lambda s: (
            {n.removeprefix("model."): t for n, t in s.items() if n != HEAD}
            | {"layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
        ),
        tie_word_embeddings=True,
    )
    lm, _ = read_folder(folder, "float32")
    assert torch.equal(lm.lm_head.weight, state["model.embed_tokens.weight"])
    assert torch.equal(lm.state_dict()["model.layers.1.mlp.up_proj.weight"], state["model.layers.1.mlp.up_proj.weight"])


def test_a_tied_head_that_the_file_holds_with_other_values_is_not_dropped(folder: Path) -> None:
    head = load_file(folder / "model.safetensors")[HEAD]
    change(folder, same, tie_word_embeddings=True)
    try:
        lm, _ = read_folder(folder, "float32")
    except CheckpointError as error:
        assert "ties" in str(error)  # noqa: PT017 - either is right, and transformers' releases differ
    else:
        assert torch.equal(lm.lm_head.weight, head)


def test_an_adapter_is_not_loaded_on_top(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds an adapter"):
        read_folder(folder, "float32")


def test_code_in_a_folder_is_never_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when asked: nobody is asked."""
    (folder / "mine.py").write_text(f"open({str(folder / 'canary')!r}, 'w')\n")
    change(folder, same, model_type="mine", auto_map={"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"})
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    with pytest.raises(CheckpointError, match="cannot be read as a language model"):
        read_folder(folder, "float32")
    assert not (folder / "canary").exists()


@pytest.mark.parametrize("content", [b"", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", b"PK\x03\x04"])
def test_a_damaged_file_is_one_sentence(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as a language model"):
        read_folder(folder, "float32")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_folder_is_known_by_what_its_files_hold(folder: Path, name: str) -> None:
    before = folder_digest(folder)
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)
    assert folder_digest(folder) != before


def test_a_conversion_that_somebody_changed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    made = []

    def convert(file: Path, folder: Path) -> None:
        made.append(file)
        (folder / "model.safetensors").write_bytes(b"converted")

    package = tmp_path / "package.gguf"
    package.write_bytes(b"packaged")
    monkeypatch.setattr(published, "_packaged", lambda: package)
    monkeypatch.setattr(published, "GGUF_SHA256", published.sha256_of(package))
    monkeypatch.setattr(published, "_convert", convert)
    tensors = published.smollm2_folder() / "model.safetensors"
    published.smollm2_folder()
    assert len(made) == 1
    tensors.write_bytes(b"convertEd")
    assert (published.smollm2_folder() / "model.safetensors").read_bytes() == b"converted"
    assert len(made) == 2
