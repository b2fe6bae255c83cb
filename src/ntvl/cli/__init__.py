"""The command `ntvl`: one file per verb, loaded only when that verb is asked for.

A verb NAME is a function NAME in the module ntvl.cli.NAME, with typer annotations and its help text as docstring; one
that has verbs of its own is a `typer.Typer` of that name. Here is the list of verbs with one line each, so that
`ntvl --help` answers without loading any. What goes wrong by our caller's doing leaves as one sentence: with exit
status 2 where what was asked for is wrong in itself (`ArgumentError`, or typer's own refusals), else with 1
(`UsageError`); Ctrl-C with 130.
"""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import typer

from ntvl import __version__
from ntvl.cli.help import HelpfulCommand, HelpfulGroup
from ntvl.errors import ArgumentError, UsageError

__all__ = ["VERBS", "build_app", "main"]

VERBS: Final[dict[str, str]] = {
    "demo": "Show everything on this one machine: NATs, nodes, direct paths.",
    "node": "Join communities: one Ethernet with their other members.",
    "supernode": "Run a directory and relay that nodes meet at.",
    "status": "Show what the node on this machine is doing.",
    "ping": "Measure the way to a peer, and say which way it is.",
    "why": "Say why a peer is reached as it is, and what to do about it.",
    "netcheck": "Find out what the NATs here do, and what they allow.",
    "lab": "Networks with NATs on this one machine, to try things in.",
}
"""Every verb with its one line for `ntvl --help`, in the order shown."""


_Refusal: Final[type[Exception]] = next(
    each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException"
)
"""What typer raises of a command line that it cannot read; it has no public name."""


def main() -> None:
    """Runs the command line of this process and exits."""
    try:
        status = build_app(sys.argv[1:])(standalone_mode=False)
    except UsageError as error:
        print(f"ntvl: {_sentence(str(error))}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ArgumentError) else 1)
    except _Refusal as error:
        _refuse(error)
        sys.exit(2)
    except typer.Abort:
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """Returns the program with those verbs loaded that `arguments` need; the others are there by name and help only."""
    app = typer.Typer(
        name="ntvl",
        help="ntvl joins computers behind any number of NATs into one encrypted virtual Ethernet.",
        cls=HelpfulGroup,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    completing = "_NTVL_COMPLETE" in os.environ
    for verb, line in VERBS.items():
        if verb == asked or completing:
            loaded = _load(verb)
            if isinstance(loaded, typer.Typer):
                app.add_typer(loaded, name=verb, short_help=line)
            else:
                app.command(verb, cls=HelpfulCommand, short_help=line)(loaded)
        else:
            app.command(verb, help=line)(_placeholder)
    return app


def _sentence(text: str) -> str:
    """Returns what an error says as one sentence: a capital, unless it begins with a name, and a full stop."""
    first = text.partition(" ")[0]
    capital = text[:1].upper() + text[1:] if first.isalpha() and first.islower() and first != "ntvl" else text
    return capital if capital.endswith((".", "?", "!")) else f"{capital}."


def _refuse(error: Any) -> None:
    """Prints what typer says of a command line; help, where it says only that there is nothing to do."""
    said = error.format_message().replace("(s)", "")
    if "\n" in said:
        print(said.rstrip("\n"))
        return
    verb = next((argument for argument in sys.argv[1:] if argument in VERBS), "")
    path = error.ctx.command_path if getattr(error, "ctx", None) else f"ntvl {verb}".rstrip()
    print(f"ntvl: {_sentence(said)} See `{path} --help`.", file=sys.stderr)


def _load(verb: str) -> Callable[..., Any] | typer.Typer:
    loaded: Callable[..., Any] | typer.Typer = getattr(importlib.import_module(f"ntvl.cli.{verb}"), verb)
    return loaded


def _placeholder() -> None:
    raise AssertionError("a verb that was not asked for cannot run")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"ntvl {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
