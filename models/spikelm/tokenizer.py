"""BERT's tokenizer: WordPiece over a published vocabulary, or whole words that a corpus has most often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from retable.models.common.weights import weights_file
from retable.models.spikellm.published import require

PAD, UNKNOWN, CLS, SEP, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class Tokenizer:
    """Lower-case tokens, [CLS] first [SEP] or [CLS] first [SEP] second [SEP], cut and padded to `length`.

    Raises ValueError for a vocabulary without BERT's special tokens, MissingWeights without the extra `language`.
    """

    def __init__(self, model: Any, length: int) -> None:
        tokenizers = require("tokenizers")
        self.inner = tokenizers.Tokenizer(model)
        self.length = length
        ids = {name: self.inner.token_to_id(name) for name in SPECIAL}
        if missing := [name for name, number in ids.items() if number is None]:
            raise ValueError(f"the vocabulary has no token {missing[0]}")
        self.pad, self.mask = ids[PAD], ids[MASK]
        self.special = torch.tensor(sorted(ids.values()))
        self.inner.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
        self.inner.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        self.inner.post_processor = tokenizers.processors.BertProcessing((SEP, ids[SEP]), (CLS, ids[CLS]))
        self.inner.enable_truncation(length)
        self.inner.enable_padding(length=length, pad_id=self.pad, pad_token=PAD)

    @classmethod
    def of_words(cls, sentences: Iterable[str], most: int, length: int) -> Tokenizer:
        """The words that `sentences` have most often, at most `most` with the special ones; ties by the alphabet."""
        tokenizers = require("tokenizers")
        normalize = tokenizers.normalizers.BertNormalizer(lowercase=True).normalize_str
        split = tokenizers.pre_tokenizers.BertPreTokenizer().pre_tokenize_str
        counts = Counter(word for sentence in sentences for word, _ in split(normalize(sentence)))
        commonest = sorted(counts, key=lambda word: (-counts[word], word))[: most - len(SPECIAL)]
        vocabulary = {word: number for number, word in enumerate((*SPECIAL, *commonest))}
        return cls(tokenizers.models.WordLevel(vocabulary, unk_token=UNKNOWN), length)

    @classmethod
    def published(cls, name: str, length: int) -> Tokenizer:
        """WordPiece over the `vocab.txt` that `name` is below $BENCH_DATA; a special token written in a text is that token,
        as in BERT's own tokenizer. Raises MissingWeights.
        """
        model = require("tokenizers").models.WordPiece.from_file(str(weights_file(name)), unk_token=UNKNOWN)
        found = cls(model, length)
        found.inner.add_special_tokens(list(SPECIAL))
        return found

    def __len__(self) -> int:
        return int(self.inner.get_vocab_size())

    def __call__(self, first: Sequence[str], second: Sequence[str] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(ids, mask, types), int64 (B, N): the mask is 1 for tokens, the type 1 for those of the second sentence."""
        pairs = list(first) if second is None else list(zip(first, second, strict=True))
        found = self.inner.encode_batch(pairs)
        parts = ([e.ids for e in found], [e.attention_mask for e in found], [e.type_ids for e in found])
        ids, mask, types = (torch.tensor(part, dtype=torch.int64).view(-1, self.length) for part in parts)
        return ids, mask, types

    def digest(self) -> str:
        """SHA-256 of the tokenizer's own serialisation."""
        return sha256(self.inner.to_str().encode()).hexdigest()
