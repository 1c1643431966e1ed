"""The command line: `randar COMMAND`, one module a group of commands."""

import argparse
import io
import sys
from collections.abc import Sequence

from .. import __version__
from ..runtime.huge_pages import ask_for_huge_pages
from ..runtime.out_of_memory import is_out_of_memory
from . import demo, edit, files, generate, images, train


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 2 for what can't be done with this input, or 130 where it was stopped."""
    ask_for_huge_pages()  # no module above imports torch; those below do
    parser = argparse.ArgumentParser(prog="randar", description="Random-order autoregressive image models.")
    parser.add_argument("--version", action="version", version=f"randar {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in (generate, edit, images, files, train, demo):
        group.register(subparsers)
    # Output that goes to a file or a pipe on Windows is in a code page, which may lack some of our characters.
    if isinstance(sys.stdout, io.TextIOWrapper):  # a notebook's is not
        sys.stdout.reconfigure(errors="replace")
    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    # Every foreseeable mistake is one of these, with a message for the user; anything else is a fault of ours and keeps
    # its traceback.
    except (ValueError, OSError) as error:
        print(f"randar: {error}", file=sys.stderr)
        return 2
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        print(
            "randar: there is not enough memory for this. Take fewer pictures at a time (--batch), smaller ones, or a "
            "smaller model; --dtype bfloat16 halves the weights of float32.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("randar: stopped", file=sys.stderr)
        return 130
    return 0

