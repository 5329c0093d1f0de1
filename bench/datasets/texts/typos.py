"""Generated multiple choice: which continuation of a text is spelt right? The other three have two letters swapped.

The questions are made from the held-out text alone, by digests of their numbers, so that they are the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from retable.bench.errors import BenchError

NAME = "generated-typos"
VERSION = 1
CONTEXT, WORDS, CHOICES = 96, 4, 4
"""Characters before the continuation, words in it, and choices."""


@dataclass(frozen=True)
class Question:
    context: str
    choices: tuple[str, ...]
    gold: int


def questions(text: str, count: int) -> list[Question]:
    """`count` questions from places all over a text. Raises BenchError where the text is too short for them."""
    made: list[Question] = []
    words, number = _places(text), 0
    while len(made) < count:
        if number >= 20 * count + 100 or not words:
            raise BenchError(f"the held-out text yields {len(made)} questions of {NAME}, not the {count} asked for")
        question = _question(text, words, number)
        made += [question] if question else []
        number += 1
    return made


def _places(text: str) -> list[int]:
    """Where words begin, far enough from both ends."""
    return [i for i in range(CONTEXT, len(text) - 100) if text[i - 1] == " " and text[i].isalpha()]


def _draw(number: int, purpose: str, below: int) -> int:
    return int.from_bytes(sha256(f"{NAME}:{VERSION}:{number}:{purpose}".encode()).digest()[:8]) % below


def _question(text: str, places: list[int], number: int) -> Question | None:
    """None where a continuation has too few letters that can be swapped."""
    start = places[_draw(number, "place", len(places))]
    right = " ".join(text[start : start + 100].split()[:WORDS])
    context = " ".join(text[start - CONTEXT : start].split())
    pairs = [i for i in range(1, len(right) - 1) if right[i : i + 2].isalpha() and right[i] != right[i + 1]]
    if len(pairs) < CHOICES - 1 or not context:
        return None
    wrong = []
    for k in range(CHOICES - 1):
        i = pairs.pop(_draw(number, f"pair {k}", len(pairs)))
        wrong.append(right[:i] + right[i + 1] + right[i] + right[i + 2 :])
    gold = _draw(number, "gold", CHOICES)
    return Question(context, (*wrong[:gold], right, *wrong[gold:]), gold)
