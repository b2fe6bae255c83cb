"""What `--help` prints: paragraphs and two columns as wide as the terminal, wrapped once, in plain text.

typer's own tables keep the line breaks of a docstring and wrap them again, and name Python types such as <bool>.
"""

import re
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any, Final

from typer.core import TyperCommand, TyperGroup

__all__ = ["HelpfulCommand", "HelpfulGroup", "render"]

_WIDTH_MAX: Final = 100
"""Longer lines are hard to read."""
_LABEL_MAX: Final = 24
"""A longer label stands on a line of its own."""
_WHOLE: Final = re.compile(r"`[^`]+`|\[default: [^,]{1,30}\]")
"""What is not broken over two lines."""


class HelpfulCommand(TyperCommand):
    """Is a command that explains itself by `render`."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Returns what follows the name in the line of usage."""
        return _usage(self, ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the help."""
        formatter.write(render(self, ctx, shutil.get_terminal_size().columns))


class HelpfulGroup(TyperGroup):
    """Is a command with commands of its own that explains itself by `render`."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Returns what follows the name in the line of usage."""
        return [*_usage(self, ctx), "COMMAND", "..."]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the help."""
        formatter.write(render(self, ctx, shutil.get_terminal_size().columns))


def render(command: Any, context: Any, columns: int) -> str:
    """Returns the help of a command for a terminal of so many columns: no line is longer than one less.

    Args:
        command: of typer; a group lists its commands before its options.
        context: of typer.
    """
    width = max(40, min(columns - 1, _WIDTH_MAX))
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"Usage: {usage}"]
    parts += [_fill(text, width) for text in (command.help or "").split("\n\n")]
    for title, rows in _sections(command, context).items():
        parts.append("\n".join([f"{title}:", *_columns(rows, width)]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _sections(command: Any, context: Any) -> dict[str, list[tuple[str, str]]]:
    """Returns label and help of everything that a command takes, by heading; what has none comes last."""
    sections: dict[str, list[tuple[str, str]]] = {}
    if isinstance(command, TyperGroup):
        commands = ((name, command.get_command(context, name)) for name in command.list_commands(context))
        rows = [(name, each.short_help or each.help or "") for name, each in commands if each and not each.hidden]
        sections["Commands"] = [(name, text.partition("\n\n")[0]) for name, text in rows]
    options: list[tuple[str, str]] = []
    for each in command.get_params(context):
        if getattr(each, "hidden", False):
            continue
        row = (_label(each), getattr(each, "help", None) or "")
        if each.param_type_name == "argument":
            sections.setdefault("Arguments", []).append(row)
        elif each.rich_help_panel:
            sections.setdefault(each.rich_help_panel, []).append(row)
        else:
            options.append(row)
    return {**sections, "Options": options}


def _columns(rows: list[tuple[str, str]], width: int) -> Iterator[str]:
    left = min(max(len(label) for label, _ in rows), _LABEL_MAX) + 4
    for label, text in rows:
        first = f"  {label}".ljust(left)
        if len(label) > left - 4:
            yield first
            first = " " * left
        yield _fill(text, width, first, " " * left)


def _fill(text: str, width: int, first: str = "", others: str = "") -> str:
    kept = _WHOLE.sub(lambda found: found[0].replace(" ", "\0"), " ".join(text.split()))
    wrapped = textwrap.fill(
        kept,
        width,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapped.replace("\0", " ")


def _label(each: Any) -> str:
    if each.param_type_name == "argument":
        return _argument(each)
    names = ", ".join(sorted(each.opts, key=len))
    return names if each.is_flag else f"{names} {each.metavar or 'VALUE'}"


def _argument(each: Any) -> str:
    return f"{each.metavar or each.name.upper()}{'' if each.nargs == 1 else '...'}"


def _usage(command: Any, context: Any) -> list[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument" and not each.hidden]
    return ["[OPTIONS]", *(_argument(each) if each.required else f"[{_argument(each)}]" for each in arguments)]
