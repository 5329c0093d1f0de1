"""Three novels of Jane Austen (public domain, as in the R package janeaustenr), kept beside this file; plain ASCII."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from retable.bench.errors import BenchError

if TYPE_CHECKING:
    from retable.bench.datasets.texts.text import TextData

FILE = Path(__file__).with_name("austen.txt.xz")
SHA256 = "6da9161f7e113c89ac82c2ffce794a6f7ba9ba55c136ad7354be36c17aa0a499"
"""Of the three texts with a form feed between them."""


@dataclass(frozen=True, kw_only=True)
class Austen:
    """Training: Pride and Prejudice, Sense and Sensibility (1.36 MB). Held out: Persuasion (0.47 MB)."""

    NAME: ClassVar[str] = "austen"

    def digest(self) -> str:
        """SHA-256 of the text, checked by `load`."""
        return SHA256

    def load(self) -> TextData:
        """Raises BenchError when the file is damaged."""
        import lzma
        from hashlib import sha256

        from retable.bench.datasets.texts.text import TextData

        try:
            raw = lzma.decompress(FILE.read_bytes())
        except (OSError, lzma.LZMAError) as error:
            raise BenchError(f"{FILE} cannot be read ({error}); reinstall the package") from error
        if sha256(raw).hexdigest() != SHA256:
            raise BenchError(f"{FILE} differs from the pinned text; reinstall the package")
        first, second, third = raw.decode("ascii").split("\f")
        return TextData(name="austen", train=f"{first}\n\n{second}", held_out=third)
