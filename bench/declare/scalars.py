"""Single values of a suite file: what a name, a metric, a duration, a printed number may look like."""

from __future__ import annotations

from retable.bench.declare.printed import PATTERN
from retable.bench.declare.shapes import Either, Items, Number, Text

NAME = Text(
    noun="a name (a-z, 0-9, '.', '_', '-'; 80 characters at most; none that a file system reserves)",
    pattern=r"(?!(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$))[a-z0-9][a-z0-9._-]{0,79}",
)
METRIC = Text(
    noun="a metric's name such as fid or decode_ms[1024]",
    pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[^\[\]]+\])?",
    suggests="metric",
)
DURATION = Text(noun="a duration such as 200 s, 5 min, 2 h or 30 d", pattern=r"[0-9]{1,9}(\.[0-9]{1,9})? ?(s|min|h|d)")
SIZE = Text(noun="a size such as 512 MB, 4 GB or 4 GiB", pattern=r"[0-9]{1,9}(\.[0-9]{1,9})? ?(MB|MiB|GB|GiB|TB|TiB)")
REPORTED = Either(
    options=(
        Number(),
        Text(
            noun="a number as printed (6.95, 148M, 92.1 ± 0.3, <0.1, 1,234 or 92.1 %) or `not found`",
            pattern=PATTERN,
        ),
    )
)
TOLERANCE = Either(
    options=(Number(minimum=0), Text(noun="a percentage such as 0.5 %", pattern=r"[0-9]{1,9}(\.[0-9]{1,9})? ?%"))
)
SHARE = Either(
    options=(Number(minimum=0), Text(noun="a percentage such as 5 %", pattern=r"[0-9]{1,9}(\.[0-9]{1,9})? ?%"))
)
ARXIV = Text(
    noun='an arXiv number in quotes such as "2408.12245"',
    pattern=r"[0-9]{4}\.[0-9]{4,5}(v[0-9]+)?|[a-z-]+(\.[A-Z]{2})?/[0-9]{7}(v[0-9]+)?",
)
FORMAT = Text(noun="`si`, or a number format such as .2f, .4g or ,d", pattern=r"si|[,_]?(d|(\.[0-9]{1,2})?[eEfFgG%])")

REPETITIONS = Items(of=Number(whole=True, minimum=0, maximum=999_999))
METRICS = Items(of=METRIC)
PROFILE_NAMES = Items(of=NAME)
