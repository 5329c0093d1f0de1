"""A small LLaMA over ASCII characters, trained here: where no published model fits a pipeline or a minute."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from retable.models.common.resume import Resume
from retable.models.spikellm.language_model import LanguageModel
from retable.models.spikellm.published import quiet, require
from retable.progress import tell

VOCABULARY = 128


def character_tokenizer() -> Any:
    """A tokenizer of transformers whose ids are ASCII codes; 2 begins, 3 ends and pads a text. Other characters vanish."""
    tokenizers, transformers = require("tokenizers"), require("transformers")
    symbols = {_byte_symbol(code): code for code in range(VOCABULARY)}
    model = tokenizers.models.BPE(vocab=symbols, merges=[])
    inner = tokenizers.Tokenizer(model)
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    begin, end = _byte_symbol(2), _byte_symbol(3)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=begin, eos_token=end, pad_token=end, model_max_length=10**9
    )


def _byte_symbol(code: int) -> str:
    """The printable character that byte-level BPE writes for a byte below 128: itself, or one from 256 on."""
    printable = range(33, 127)
    if code in printable:
        return chr(code)
    return chr(256 + [c for c in range(VOCABULARY) if c not in printable].index(code))


def new(width: int, layers: int, heads: int, kv_heads: int, hidden: int) -> LanguageModel:
    """Random weights from torch's own generator."""
    transformers = require("transformers")
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=3,
        attn_implementation="sdpa",
    )
    with quiet():
        return LanguageModel(transformers.LlamaForCausalLM(config), character_tokenizer()).eval()


def train(
    model: LanguageModel, tokens_N: Tensor, *, steps: int, batch_size: int, window: int, lr: float, seed: int
) -> dict[str, Any]:
    """AdamW with a cosine from `lr` to 0 after 5 % warm-up, on random windows. Raises ValueError for too short a text."""
    if len(tokens_N) <= window:
        raise ValueError(f"the training text has {len(tokens_N)} tokens, fewer than one window of {window}")
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.1)
    resume = Resume(lm=model.lm, optimizer=optimizer, order=generator)
    warmup, losses = max(1, steps // 20), resume.take_up().get("losses", [])
    model.train()
    for step in range(len(losses), steps):
        rate = min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = lr * rate
        starts = torch.randint(len(tokens_N) - window, (batch_size,), generator=generator)
        batch = torch.stack([tokens_N[i : i + window + 1] for i in starts.tolist()]).to(device)
        logits = model(batch[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        tell(step + 1, steps, losses[-1])
        resume.offer(losses=losses)
    if not math.isfinite(losses[-1]):
        raise FloatingPointError("training diverged: the loss is not finite; lower `lr`")
    model.eval()
    every = max(1, steps // 20)
    return {"loss": losses[::every], "last_loss": sum(losses[-20:]) / len(losses[-20:])}
