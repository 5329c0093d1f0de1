"""`bench completion`: what a shell evaluates to complete `bench`; argcomplete makes it."""

from __future__ import annotations

from argparse import Namespace

from retable.bench.errors import OK, BenchError


def main(arguments: Namespace) -> int:
    """Print the shell's code."""
    try:
        from argcomplete import shellcode
    except ModuleNotFoundError as error:
        raise BenchError('completion needs argcomplete: pip install "retable[completion]"') from error
    print(shellcode(["bench"], shell=arguments.shell))
    return OK
