"""Python's own help topics (`pydoc_data.topics`): always there, and different in every version of Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from retable.bench.datasets.texts.text import TextData


@dataclass(frozen=True, kw_only=True)
class HelpTopics:
    """Topics in the order of their names; every fifth is held out."""

    NAME: ClassVar[str] = "help-topics"

    def digest(self) -> str:
        """SHA-256 of the topics of this Python."""
        from hashlib import sha256

        return sha256(repr(_topics()).encode()).hexdigest()

    def load(self) -> TextData:
        from retable.bench.datasets.texts.text import TextData

        texts = [text for _, text in _topics()]
        train = [text for i, text in enumerate(texts) if i % 5]
        return TextData(name="help-topics", train="\n\n".join(train), held_out="\n\n".join(texts[::5]))


def _topics() -> list[tuple[str, str]]:
    from pydoc_data.topics import topics

    return sorted(topics.items())
