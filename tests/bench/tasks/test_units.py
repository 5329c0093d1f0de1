"""Options in another unit than their own are refused, with what was probably meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from retable.bench.errors import BenchError
from retable.bench.tasks.attack import Attack
from retable.bench.tasks.certify import Certify
from retable.bench.tasks.detect import Detect
from retable.models.rsc_snn.method import RSCSNN


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Attack(eps=8.0), r"`eps` must lie between 0 and 1, .*not be 8; did you mean 8/255 = 0\.0313725\?"),
        (lambda: Attack(eps=1.0), r"did you mean 1/255 = 0\.00392157\?"),
        (lambda: Attack(eps=-0.1), r"`eps` must lie between 0 and 1, pixels are 0 to 1, not be -0\.1$"),
        (lambda: Attack(eps=float("nan")), "not be nan$"),
        (lambda: Attack(curve=(0.1, 16.0)), r"`curve` must lie .*did you mean 16/255 = 0\.0627451\?"),
        (lambda: Attack(curve=(0.0,)), "`curve` must hold budgets above 0"),
        (lambda: Attack(eps_l2=128.0), r"`eps_l2` must lie between 0 and 10, .*did you mean 128/255 = 0\.501961\?"),
        (lambda: Certify(sigma=64.0), r"`sigma` must lie between 0 and 2, .*did you mean 64/255 = 0\.25098\?"),
        (lambda: Certify(sigma=0.0), "`sigma` must be above 0"),
        (lambda: Certify(sigma=float("inf")), "not be inf$"),
        (lambda: Certify(alpha=0.1 * 50), r"did you mean 5 % = 0\.05\?"),
        (lambda: Certify(alpha=0.999), r"`alpha` .* not be 0\.999; did you mean 1 - 0\.999 = 0\.001\?"),
        (lambda: Certify(alpha=0.0), "strictly between 0 and 1/2, not be 0$"),
        (lambda: Detect(iou=65.0), r"`iou` must lie between 0 and 1, not be 65; did you mean 65 % = 0\.65\?"),
        (lambda: Detect(threshold=-1.0), "`threshold` must lie between 0 and 1, not be -1$"),
        (lambda: RSCSNN(coding="rsc", sigma=32.0), r"`sigma` .*did you mean 32/255 = 0\.12549\?"),
        (lambda: RSCSNN(adv_eps=8.0), r"`adv_eps` .*did you mean 8/255"),
        (lambda: RSCSNN(adv_alpha=2.0), r"`adv_alpha` .*did you mean 2/255"),
    ],
)
def test_another_unit_is_refused(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises((BenchError, ValueError), match=sentence):
        make()


def test_what_papers_use_is_accepted() -> None:
    for eps in (0.0, 1 / 255, 0.3, 0.99):
        Attack(eps=eps)
    for eps in (0.25, 0.5, 3.0, 5.0):
        Attack(eps_l2=eps)
    for sigma in (0.12, 0.25, 0.5, 1.0, 2.0):
        Certify(sigma=sigma)
    for alpha in (1e-6, 0.001, 0.05):
        Certify(alpha=alpha)
