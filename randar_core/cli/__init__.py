"""The command line: `randar COMMAND`. The table says which module has a command; only the chosen one is imported."""

import argparse
import difflib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from .. import __version__
from ..runtime.huge_pages import ask_for_huge_pages
from ..runtime.out_of_memory import is_out_of_memory


@dataclass(frozen=True)
class Command:
    """`function` of `module` adds the arguments of the command to its parser, and says with `run=` what runs it."""

    module: str
    function: str
    help: str


COMMANDS = {
    "generate": Command("generate", "add_generate", "draw pictures of classes"),
    "inpaint": Command("edit", "add_inpaint", "repaint the part of a picture that a mask marks"),
    "outpaint": Command("edit", "add_outpaint", "extend a picture beyond its edges"),
    "extrapolate": Command("edit", "add_extrapolate", "redraw a picture with a finer grid"),
    "refine": Command("edit", "add_refine", "draw the tokens of low confidence again"),
    "confidence": Command("edit", "add_confidence", "show how confident the model is of each cell of a picture"),
    "features": Command("features", "add_features", "read what the model knows about pictures, seen from all sides"),
    "encode": Command("coding", "add_encode", "turn a picture into token ids (a .json next to it, or --out)"),
    "decode": Command("coding", "add_decode", "turn token ids into a picture"),
    "info": Command("model_files", "add_info", "say what a file of weights is, and what in it doesn't fit"),
    "convert": Command("model_files", "add_convert", "write a transformer and a tokenizer into one bundle"),
    "download": Command("model_files", "add_download", "fetch a released model from its authors' repository"),
    "train-tokenizer": Command("train", "add_train_tokenizer", "train a tokenizer on a folder of pictures"),
    "train": Command("train", "add_train", "train a transformer on a folder of pictures, with a trained tokenizer"),
    "train-builtin": Command("train", "add_train_builtin", "train the built-in model again, by its recipe"),
    "demo": Command("demo", "add_demo", "draw a tour of the model's abilities"),
}

FIRST_STEPS = """
first steps:
  randar demo                            a tour, drawn by the built-in model
  randar generate castle lighthouse      two pictures by the built-in model, into the folder 'out'
  randar download                        the list of released models
  randar download randar-l-llamagen      fetch one of them, then add --model randar-l-llamagen
  randar COMMAND --help                  the options of a command
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 2 for what can't be done with this input, or 130 where it was stopped."""
    keep_streams()
    try:
        run(sys.argv[1:] if argv is None else list(argv))
    # Every foreseeable mistake is one of these, with a message for the user; anything else is a fault of ours and keeps
    # its traceback.
    except (ValueError, OSError) as error:
        return complain(str(error))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return complain(
            "there is not enough memory for this. Take fewer pictures at a time (--batch), smaller ones, or a smaller "
            "model; --dtype bfloat16 halves the weights of float32."
        )
    except KeyboardInterrupt:
        complain("stopped")
        return 130
    return 0


def run(argv: Sequence[str]) -> None:
    """As `main`, but raises what goes wrong."""
    ask_for_huge_pages()  # before the command's module imports torch
    arguments = parse(argv)
    arguments.run(arguments)


class Parser(argparse.ArgumentParser):
    """One line for a mistake: the usage of a command has twenty lines, and hides what is wrong."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {message}\n'{self.prog} --help' shows how it is used.\n")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="randar",
        description="Any-order autoregressive image models: draw, repaint and extend pictures token by token.",
        epilog=FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"randar {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    parsers = {name: commands.add_parser(name, help=command.help) for name, command in COMMANDS.items()}
    chosen = next((word for word in argv if not word.startswith("-")), None)
    if chosen in COMMANDS:
        command = COMMANDS[chosen]
        module = importlib.import_module(f".{command.module}", __package__)
        parsers[chosen].description = f"{command.help[0].upper()}{command.help[1:]}."
        getattr(module, command.function)(parsers[chosen])
    elif chosen is not None:
        near = difflib.get_close_matches(chosen, COMMANDS, n=2)
        hint = f" Did you mean {' or '.join(near)}?" if near else f" There are: {', '.join(COMMANDS)}."
        parser.error(f"there is no command '{chosen}'.{hint}")
    arguments = parser.parse_args(argv)
    if chosen is None:  # and neither --help nor --version, which exit
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    return arguments


def keep_streams() -> None:
    """Let every print work: a service has no stdout and stderr, and a code page may lack some of our characters."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")
    # Output that goes to a file or a pipe on Windows is in a code page.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is not
            stream.reconfigure(errors="replace")


def complain(message: str) -> int:
    print(f"randar: {message}", file=sys.stderr)
    return 2
