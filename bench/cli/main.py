"""The command line: `bench new | run | rehearse | status | logs | stop | resume | merge | list | check | show | compare | ...`.

Data go to stdout, progress and errors to stderr. Exit statuses: 0 all as expected, 1 a measured verdict differs, 2 usage or
declaration error, 3 something that had to be measured was not, 4 an error of ours, 130 interrupted. Nothing heavy is imported
before a verb runs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from retable import __version__
from retable.bench.cli.outlet import outlets
from retable.bench.errors import INTERNAL, INTERRUPTED, USAGE, BenchError
from retable.bench.plugins import declared, load_plugin
from retable.bench.report import STYLES

DEFAULT_STORE = "results/work"
DEFAULT_RESULTS = "results"
GATE_FORMATS = ("terminal", "junit", "markdown", "github", "json")
FORMATS = ("terminal", "markdown", "latex", "csv", "json", "parquet", *STYLES)
MOST_SEEDS, MOST_PROCESSES = 10_000, 1_024
EPILOG = """exit statuses:
  0 all as expected   1 a measured verdict or number differs   2 usage or declaration error
  3 something that had to be measured was not        4 an internal error        130 interrupted"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run the verb, and turn the errors a user can meet into one sentence and an exit status.

    The status is that of the verb, whoever listens: a reader that has gone away or a full disk behind stdout changes no verdict.
    """
    with outlets() as (out, _), stopped_gently():
        status = _main(argv)
        out.flush()
        if out.failure is None or isinstance(out.failure, BrokenPipeError):
            return status
        print(f"bench: stdout: {out.failure.strerror or out.failure}", file=sys.stderr)
        return status or USAGE


def _main(argv: Sequence[str] | None) -> int:
    grammar = parser()
    if "_ARGCOMPLETE" in os.environ:
        from retable.bench.cli.complete import complete

        complete(grammar)
    arguments = grammar.parse_args(argv)
    arguments.argv = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments.plugin = [*declared(Path.cwd()), *arguments.plugin]
        for plugin in arguments.plugin:
            load_plugin(plugin)
        verb = import_module(f"retable.bench.cli.{arguments.verb}")
        status: int = verb.main(arguments)
        return status
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("bench: interrupted; what was finished is stored", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        print(f"bench: {error.strerror or error}{f': {error.filename}' if error.filename else ''}", file=sys.stderr)
        return USAGE
    except Exception as error:
        import traceback

        traceback.print_exc()
        print(f"bench: internal error: {type(error).__name__}; what was finished is stored", file=sys.stderr)
        return INTERNAL


@contextmanager
def stopped_gently() -> Iterator[None]:
    """SIGTERM and the end of the terminal stop a command as Ctrl-C does; who asked to ignore them (nohup) is obeyed."""
    from threading import current_thread, main_thread

    before: dict[signal.Signals, Any] = {}
    if current_thread() is main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, _interrupted)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def parser() -> argparse.ArgumentParser:
    """The whole grammar of the command."""
    top = argparse.ArgumentParser(
        prog="bench",
        description="Rebuild the tables of papers and judge their claims.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"bench {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--plugin", action="append", default=[], metavar="FILE|MODULE", help="load more components")
    common.add_argument("--json", action="store_true", help="print JSON")
    stored = argparse.ArgumentParser(add_help=False)
    stored.add_argument(
        "--store",
        default=os.environ.get("BENCH_STORE", DEFAULT_STORE),
        metavar="DIR",
        help=f"folder of the record store (default: $BENCH_STORE or {DEFAULT_STORE})",
    )
    frozen = argparse.ArgumentParser(add_help=False)
    frozen.add_argument(
        "--results",
        default=os.environ.get("BENCH_RESULTS", DEFAULT_RESULTS),
        metavar="DIR",
        help=f"folder of the published versions (default: $BENCH_RESULTS or {DEFAULT_RESULTS})",
    )
    origin = argparse.ArgumentParser(add_help=False)
    origin.add_argument(
        "--from",
        dest="source",
        metavar="VERSION",
        help="read a published version in place of the store: v1, newest, SUITE/v1, or its path",
    )
    of_suite = argparse.ArgumentParser(add_help=False)
    of_suite.add_argument("suite", metavar="SUITE", help="suite file, or the name of one in suites/")
    of_suite.add_argument("--profile", default="mini", metavar="NAME", help="mini (default) or paper")
    of_suite.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="PARAMETER=VALUE",
        help="another value than the suite's: method.NAME.lr=1e-3, dataset.NAME.size=16, task.NAME.batch_size=50",
    )

    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    run = verbs.add_parser(
        "run", parents=[common, stored, of_suite], help="run what is not stored yet, print the table"
    )
    run.add_argument("--only", default="*", metavar="GLOB", help="only entries whose name matches")
    run.add_argument("--seeds", type=repetitions, metavar="N|I,J", help="repetitions: a count, or their numbers")
    run.add_argument(
        "--jobs", type=jobs, metavar="N", help="worker processes (default: one a core; 0: in this process)"
    )
    run.add_argument("--offline", action="store_true", help="refuse the network")
    run.add_argument("--verify-data", action="store_true", help="read data and weights again, whatever was remembered")
    run.add_argument("--dry-run", action="store_true", help="say what would run")
    run.add_argument("--explain", action="store_true", help="say for every stage why it is or is not cached")
    run.add_argument("--quiet", action="store_true", help="no progress")
    run.add_argument(
        "--repeat",
        type=runs,
        default=1,
        metavar="N",
        help="run every case N times in all and certify whether each bit comes back; records stay as they are",
    )
    run.add_argument(
        "--vary",
        type=variations,
        default=(),
        metavar="threads,batch,numerics,node",
        help="certify also what other numbers of threads, batches on the same weights, numerics, or nodes change",
    )

    run.add_argument(
        "--executor", choices=("local", "ray", "slurm"), default="local", help="where jobs run (default: local)"
    )
    run.add_argument("--address", default="", metavar="A", help="of a Ray cluster, or `local` for a stand-in here")
    run.add_argument("--partition", default="", metavar="NAME", help="SLURM's partition")
    run.add_argument("--spool", default="", metavar="DIR", help="folder that this machine and SLURM's nodes both see")
    run.add_argument("--max-jobs", type=runs_at_once, metavar="N", help="jobs at once (default: ray 1000, slurm 100)")
    run.add_argument("--detach", action="store_true", help="go on without a terminal; see status, logs, stop, resume")

    a_run = argparse.ArgumentParser(add_help=False)
    a_run.add_argument("run", nargs="?", default="", metavar="RUN", help="a run or its suite (default: the newest)")
    verbs.add_parser("status", parents=[common, stored, a_run], help="the runs over a store, and how far they are")
    verbs.add_parser("stop", parents=[common, stored, a_run], help="end a run that was left, and what it started")
    resume = verbs.add_parser("resume", parents=[common, stored, a_run], help="take up a run that died or was stopped")
    resume.add_argument("--detach", action="store_true", help="go on without a terminal")
    logs = verbs.add_parser("logs", parents=[common, stored], help="what the stages of a case printed")
    logs.add_argument(
        "case", metavar="CASE", help="SUITE/ENTRY[/PROFILE[/REPETITION]], the start of a key, or a suite: its errata"
    )
    merge = verbs.add_parser("merge", parents=[common, stored], help="take over the records of other machines")
    merge.add_argument("others", nargs="+", metavar="STORE", help="folders of their stores")
    rehearse = verbs.add_parser(
        "rehearse", parents=[common], help="the paper's profile at small sizes on made-up files; nothing of it is kept"
    )
    rehearse.add_argument("suites", nargs="*", metavar="SUITE", help="suites (default: all in suites/)")
    rehearse.add_argument("--only", default="*", metavar="GLOB", help="only entries whose name matches")
    rehearse.add_argument(
        "--jobs", type=jobs, metavar="N", help="worker processes (default: one a core; 0: in this process)"
    )
    rehearse.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu (default), cuda or cuda:0")
    rehearse.add_argument("--quiet", action="store_true", help="no progress")

    fresh = verbs.add_parser("new", parents=[common], help="write a suite, or a component with a suite, that runs")
    fresh.add_argument("kind", choices=("suite", "method", "dataset", "metric", "task"), help="what to write")
    fresh.add_argument("name", metavar="NAME", help="its name: a-z, 0-9, '-', '_' and '.'")

    listing = verbs.add_parser("list", parents=[common, frozen], help="the suites, their scorecard, their claims")
    listing.add_argument("folder", nargs="?", default="suites", metavar="DIR", help="folder of suite files")
    listing.add_argument("--verdicts", action="store_true", help="the scorecard, from the newest published versions")
    listing.add_argument("--claims", action="store_true", help="every claim with its strength, predicate and verdict")
    listing.add_argument(
        "--markdown", action="store_true", help="with --verdicts: as a README has it; with --claims: tables"
    )
    listing.add_argument("--into", metavar="FILE", help="with --verdicts: write it between the marks of this file")

    check = verbs.add_parser("check", parents=[common], help="check suite files without running anything")
    check.add_argument("suites", nargs="*", metavar="SUITE", help="suite files (default: all in suites/)")
    check.add_argument(
        "--falsify", action="store_true", help="also whether each claim could come out either way, and be believed"
    )

    show = verbs.add_parser("show", parents=[common, stored, frozen, origin], help="where a number came from")
    show.add_argument(
        "case", metavar="CASE", help="SUITE (its rows), SUITE/ENTRY[/PROFILE[/REPETITION]], or the start of a key"
    )

    compare = verbs.add_parser(
        "compare", parents=[common, stored], help="two rows, number by number, in pairs of equal seeds"
    )
    compare.add_argument("first", metavar="SUITE/ROW", help="a row of a suite")
    compare.add_argument("second", metavar="ROW", help="another one, of the same suite or SUITE/ROW")
    compare.add_argument("--profile", default="mini", metavar="NAME", help="mini (default) or paper")
    compare.add_argument("--metric", action="append", default=[], metavar="GLOB", help="only such metrics")

    table = verbs.add_parser(
        "table",
        parents=[common, stored, frozen, origin, of_suite],
        help="the tables of a suite from the store or a version",
    )
    table.add_argument(
        "--format",
        choices=FORMATS,
        default="terminal",
        metavar="FORMAT",
        help=f"one of {', '.join(FORMATS)}; those after parquet are tabulate's",
    )
    table.add_argument(
        "--output", metavar="FILE|DIR/", help="write there instead of stdout; a folder has a file a table"
    )
    some = table.add_argument_group("what is shown")
    some.add_argument("--table", action="append", default=[], metavar="NAME", help="only this table (again for more)")
    some.add_argument("--row", action="append", default=[], metavar="GLOB", help="only such rows; `!GLOB` leaves out")
    some.add_argument("--column", action="append", default=[], metavar="NAME", help="only it, by its head or metric")
    latex = table.add_argument_group("with --format latex")
    latex.add_argument("--document", action="store_true", help="a document that compiles by itself")
    latex.add_argument("--caption", default="", metavar="TEXT", help="instead of the table's title and source")
    latex.add_argument("--label", default="", metavar="NAME", help="for \\ref (default: tab:SUITE-TABLE)")
    latex.add_argument("--baseline", default="", metavar="ROW", help="differences to this row, over equal seeds")
    latex.add_argument("--transpose", action="store_true", help="rows as columns")
    latex.add_argument("--width", type=points, default=397.5, metavar="PT", help="of the text (default: 397.5)")

    report = verbs.add_parser(
        "report", parents=[common, stored, frozen, origin], help="a site of suites, and LaTeX, CSV and JSON files"
    )
    report.add_argument("suites", nargs="*", metavar="SUITE", help="suites (default: all in suites/)")
    report.add_argument("--profile", default="mini", metavar="NAME", help="mini (default) or paper")
    report.add_argument("--out", default="reports/out", metavar="DIR", help="folder for them (default: reports/out)")

    gate = verbs.add_parser(
        "gate", parents=[common, stored, of_suite, frozen, origin], help="the verdicts, and an exit status for CI"
    )
    gate.add_argument(
        "--against", metavar="VERSION", help="also hold numbers to a frozen version: v1, SUITE/v1, its path, or newest"
    )
    gate.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="RULE",
        help="what must hold: 'fid <= 3', 'decode_ratio of decode >= 3', 'fid drops by 5 %%', 'nll rises by at most 1 %%'",
    )
    gate.add_argument("--only", default="*", metavar="GLOB", help="only what concerns entries whose names match")
    gate.add_argument(
        "--format", choices=GATE_FORMATS, default="terminal", help="what is printed, or written with --out"
    )
    gate.add_argument("--out", metavar="FILE", help="write the format there; stdout has the text")

    freeze = verbs.add_parser(
        "freeze", parents=[common, stored, of_suite, frozen], help="publish results as an immutable version"
    )
    freeze.add_argument("--attest", action="store_true", help="with an in-toto statement of what it rests on")
    freeze.add_argument("--partial", action="store_true", help="also when some cases have no result")

    verify = verbs.add_parser("verify", parents=[common, frozen], help="published versions against their manifests")
    verify.add_argument(
        "version", nargs="?", metavar="SUITE[/vN]", help="one version, or those of a suite (default: all)"
    )

    export = verbs.add_parser(
        "export", parents=[common, frozen], help="a published version in a format that others read"
    )
    export.add_argument("version", metavar="SUITE[/vN]", help="the version, or a suite's newest")
    export.add_argument(
        "--format", choices=("eee", "ro-crate", "in-toto"), required=True, help="Every Eval Ever, RO-Crate, in-toto"
    )
    export.add_argument("--out", metavar="DIR", help="folder for the files (in-toto goes to stdout without it)")

    diff = verbs.add_parser("diff", parents=[common, stored, frozen], help="which numbers moved, and why")
    diff.add_argument("old", metavar="A", help="a version (SUITE/v1, or SUITE for the newest), or `store`")
    diff.add_argument("new", metavar="B", help="what to compare it with; v2 is that of the same suite")
    completion = verbs.add_parser(
        "completion", parents=[common], help="what a shell needs to complete suites, rows, metrics"
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help='for bash: eval "$(bench completion bash)"')

    doctor = verbs.add_parser(
        "doctor", parents=[common, stored], help="this machine, the data at hand, the store's health"
    )
    doctor.add_argument(
        "suite", metavar="SUITE", nargs="?", help="what a profile of this suite lacks here, all at once"
    )
    doctor.add_argument("--profile", default="paper", metavar="NAME", help="with SUITE: paper (default) or another")
    doctor.add_argument(
        "--numerics", action="store_true", help="whether this machine computes the bits that others do: minutes"
    )
    doctor.add_argument("--record", action="store_true", help="with --numerics: what is computed here becomes the rule")
    return top


def repetitions(text: str) -> tuple[int, ...]:
    """`3` is 0, 1, 2; `4,7` is just those."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a count nor numbers with commas") from None
    if min(numbers) < 0 or numbers == (0,):
        raise argparse.ArgumentTypeError("repetitions are counted from 0, and there must be at least one")
    if max(numbers) > (MOST_SEEDS if "," not in text else 999_999):
        raise argparse.ArgumentTypeError(f"{text} is too many: a count goes to {MOST_SEEDS:,}, a number to 999,999")
    return tuple(range(numbers[0])) if "," not in text else numbers


def runs(text: str) -> int:
    """A number of runs from 1 to 99."""
    if not text.isdecimal() or not 1 <= int(text) <= 99:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs from 1 to 99")
    return int(text)


def runs_at_once(text: str) -> int:
    """A number of jobs from 1 on."""
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of jobs from 1 to 100,000")
    return int(text)


def variations(text: str) -> tuple[str, ...]:
    """Settings with commas."""
    words = tuple(text.split(","))
    if unknown := [word for word in words if word not in ("threads", "batch", "numerics", "node")]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} cannot be varied; threads, batch, numerics and node can")
    return words


def points(text: str) -> float:
    """A width of text from 100 to 2000 points; `pt` may follow."""
    try:
        width = float(text.removesuffix("pt"))
    except ValueError:
        width = 0.0
    if not 100 <= width <= 2000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a width of text from 100 to 2000 points")
    return width


def jobs(text: str) -> int:
    """A number of processes from 0 (in this process) on."""
    if not text.isdecimal() or int(text) > MOST_PROCESSES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes up to {MOST_PROCESSES:,}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
