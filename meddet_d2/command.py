"""What all commands share: the options of each, and one guarded main that tells a person's mistake in one line."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .plugins import load_plugins

# What a person can mend by reading one line: a wrong path, key, file, name or number, or a library that is missing.
MISTAKES = (ValueError, OSError, KeyError, ImportError, FloatingPointError)
# Exit statuses as a shell gives them after SIGINT and SIGPIPE.
INTERRUPTED, CUT_OFF = 130, 141


def new_parser(description: str | None, prog: str | None, *, plugins: bool = True) -> argparse.ArgumentParser:
    """A command's parser.

    Args:
        description: shown by --help as it is.
        prog: how the command was called; None for the script's name.
        plugins: with --plugin; False where the commands below it have the option.
    """
    parser = argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if plugins:
        add_plugins(parser)
    return parser


def add_plugins(parser: argparse.ArgumentParser) -> None:
    """Add --plugin to a parser."""
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE_OR_FILE",
        help="load your own backbone, method or other part first; may be repeated (docs/how_to/your_method.md)",
    )


def add_config(parser: Any, *, required: bool = False, help: str) -> None:
    """Add --config-file to a parser or a group of one: a file, or the name of a config that comes with the package."""
    parser.add_argument("--config-file", required=required, metavar="FILE", help=help)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add the KEY VALUE pairs that end a command line."""
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of the config")


def message_of(error: BaseException) -> str:
    """What an error says, in one line."""
    # str() of a KeyError puts its message in quotes.
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(message).split()) or type(error).__name__


def guarded(
    work: Callable[[], int | None],
    *,
    plugins: Sequence[str] = (),
    mistake: int | Callable[[], int] = 1,
    stopped: str | Callable[[], str] = "Stopped.",
    keep_traceback: Callable[[], object] | None = None,
    terminable: bool = True,
) -> int:
    """Run a command's work and return its exit status.

    A mistake is one line on stderr. Ctrl-C and SIGTERM end the work alike, so that it can clean up. A reader
    that closes the pipe ends it without a word.

    Args:
        work: returns the exit status; None is 0.
        plugins: loaded first.
        mistake: the exit status after a mistake.
        stopped: said after Ctrl-C.
        keep_traceback: returns the file in which it has put what a bug report needs; what is said names it.
        terminable: SIGTERM is a Ctrl-C; otherwise it does what it did before.
    """
    printable_streams()
    try:
        with _terminating() if terminable else contextlib.nullcontext():
            load_plugins(plugins)
            status = work() or 0
            sys.stdout.flush()
            return status
    except KeyboardInterrupt:
        print(stopped if isinstance(stopped, str) else stopped(), file=sys.stderr)
        return INTERRUPTED
    except MISTAKES as error:
        if isinstance(error, BrokenPipeError) and _stdout_is_closed():
            return CUT_OFF
        place = f" (traceback: {keep_traceback()})" if keep_traceback else ""
        print(f"error: {message_of(error)}{place}", file=sys.stderr)
        return mistake if isinstance(mistake, int) else mistake()
    except Exception:
        # A bug, not a mistake: the terminal gets all of it, too.
        if keep_traceback:
            print(f"What a bug report needs is in {keep_traceback()}; look for names in it first.", file=sys.stderr)
        raise


def command_main(
    parse_args: Callable[[list[str], str | None], argparse.Namespace],
    run: Callable[[argparse.Namespace], int | None],
    **settings: Any,
) -> Callable[..., int]:
    """The ``main`` of a command.

    Args:
        parse_args: reads the command line; its second argument is how the command was called.
        run: the work, of which :func:`guarded` makes an exit status.
        settings: of :func:`guarded`.
    """

    def main(arguments: list[str], prog: str | None = None) -> int:
        """Run the command line; returns the exit status."""
        args = parse_args(arguments, prog)
        return guarded(lambda: run(args), plugins=args.plugin, **settings)

    return main


def printable_streams() -> None:
    """Let stdout and stderr escape a character that the console does not have, instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """Within the block SIGTERM is a Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stdout_is_closed() -> bool:
    try:
        # A flush alone says nothing: what could not be written is gone from the buffer.
        print(flush=True)
    except BrokenPipeError:
        # Or Python flushes again at its end, and complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
