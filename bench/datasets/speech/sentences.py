"""What the synthesiser says: three words in turn make 125 sentences a language."""

from __future__ import annotations

from itertools import product

PARTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "en": (
        ("the old man", "my sister", "a young bird", "our teacher", "the grey cat"),
        ("saw", "follows", "will find", "carried", "likes"),
        ("the red house", "a warm river", "three apples", "the winter moon", "a long story"),
    ),
    "cmn": (
        ("老人", "我妹妹", "小鸟", "我们老师", "灰猫"),
        ("看见", "喜欢", "要找", "带来", "画了"),
        ("红房子", "一条河", "三个苹果", "冬天的月亮", "很长的故事"),
    ),
}
JOINTS = {"en": " ", "cmn": ""}


def sentences(language: str) -> tuple[str, ...]:
    """All of them, in the order of the words."""
    return tuple(JOINTS[language].join(words) + "." for words in product(*PARTS[language]))
