"""What a training tells reaches whoever watches it: epoch, step, loss, the time that is left."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
import torch

from retable.bench.cli.progress import Lines
from retable.bench.run import pulse
from retable.bench.run.pulse import Beat, Seen, read
from retable.progress import Told, listening, tell


def test_what_is_told_reaches_the_innermost_listener_alone() -> None:
    outer: list[Told] = []
    inner: list[Told] = []
    tell(1, 2)
    with listening(outer.append):
        tell(1, 9)
        with listening(inner.append):
            tell(2, 9, 0.5, epoch=1, epochs=3)
        tell(3, 9)
    tell(4, 9)
    assert [one.step for one in outer] == [1, 3]
    assert inner == [Told(step=2, of=9, loss=0.5, epoch=1, epochs=3)]


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_the_time_left_is_that_of_this_part_at_the_pace_since_it_went_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, seen = Clock(), Seen()
    monkeypatch.setattr(pulse, "time", clock)
    seen.hear(Told(step=500, of=1000, loss=torch.tensor(0.25)))  # taken up at step 500
    assert seen.beat() == Beat(step=500, of=1000, loss=0.25)
    clock.now += 20
    seen.hear(Told(step=510, of=1000))
    assert seen.beat().left == 490 * 2.0
    seen.hear(Told(step=1, of=10, what="sentences"))
    assert seen.beat().left is None
    clock.now += 3
    seen.hear(Told(step=2, of=10, what="sentences"))
    assert seen.beat().left == 8 * 3.0


def test_a_method_that_tells_nothing_is_counted() -> None:
    seen = Seen()
    seen.count()
    seen.loss = torch.tensor(2.0)
    assert seen.beat().words == "step 1, loss 2"
    assert Beat().words == ""


@pytest.mark.parametrize(
    "content", ["", "[]", '{"step": "many"}', '{"pace": 3}', '{"step": 1, "of": null, "loss": []}']
)
def test_a_file_that_is_no_beat_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "k.json").write_text(content)
    assert read(tmp_path, "k") == Beat()


def test_without_a_terminal_a_long_stage_has_a_line_now_and_then(tmp_path: Path) -> None:
    beat = Beat(step=40, of=400, epoch=1, epochs=10, loss=0.5, left=90.0)
    (tmp_path / "k.json").write_text(json.dumps(vars(beat)))
    stream = StringIO()
    lines = Lines(tmp_path, stream)
    lines.started("k", "suite/row/0 fit net")
    lines.started("silent", "another")
    (since,) = {begun for _, begun, _ in list(lines._running.values())[:1]}
    for passed in range(0, 7200, 5):
        lines.look(since + passed)
    told = stream.getvalue().splitlines()
    assert told[0] == "  suite/row/0 fit net: epoch 1/10, step 40/400, loss 0.5 after 1:00, 1:30 left"
    assert 20 < len(told) < 40, "a minute apart at first, then a tenth of the time"
    lines.ended("k")
    lines.look(since + 9000)
    assert len(stream.getvalue().splitlines()) == len(told)
