"""Checks of the vision methods' parameters, without torch; each raises ValueError with one sentence."""

from __future__ import annotations

from retable.models.vision.recipe import Recipe


def at_least_one(recipe: Recipe, *names: str) -> None:
    """Raises ValueError naming the parameter below 1."""
    for name in names:
        value = getattr(recipe, name)
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be at least 1, not {value}")


def check_heads(name: str, width: int, heads: int, share: int = 1) -> None:
    """Raises ValueError unless a width is a multiple of 8 and its `share` part divides into heads."""
    if heads < 1 or width < 8 or width % 8 or width // share % heads:
        part = f"a {share}th of it " if share > 1 else "it "
        raise ValueError(f"`{name}` must be a multiple of 8 so that {part}divides into `heads` = {heads}, not {width}")


def check_depths(depths: tuple[int, ...], name: str = "depths") -> None:
    """Raises ValueError unless every stage has a block (or a stride)."""
    if min(depths) < 1:
        raise ValueError(f"`{name}` must be at least 1 in each stage, not {list(depths)}")


def check_pooling(pooling: str) -> None:
    """Raises ValueError unless there are four digits 0 or 1."""
    if len(pooling) != 4 or set(pooling) - {"0", "1"}:
        raise ValueError(f'`pooling` must be four digits 0 or 1 such as "0011", not {pooling!r}')


def check_widths(widths: tuple[int, ...]) -> None:
    """Raises ValueError unless there are even numbers of channels, which some stages halve."""
    if not widths or any(width < 2 or width % 2 for width in widths):
        raise ValueError(f"`widths` must be even and at least 2, not {list(widths)}")


def check_stages(blocks: tuple[int, ...], widths: tuple[int, ...]) -> None:
    """Raises ValueError unless each stage has a number of blocks and of channels."""
    check_widths(widths)
    if len(blocks) != len(widths) or min(blocks) < 1:
        raise ValueError(f"`blocks` {list(blocks)} must be at least 1 for each of the {len(widths)} `widths`")
