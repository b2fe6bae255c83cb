"""What the documents name is there: links lead somewhere, and every flag that they show exists."""

import re
from pathlib import Path
from typing import Final

import pytest
import typer.main
from tests.guards.tree import ROOT

from ntvl.cli import VERBS, build_app

DOCUMENTS: Final = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NAMES: Final = [str(document.relative_to(ROOT)) for document in DOCUMENTS]


def flags_of(verb: str) -> set[str]:
    """Returns every flag that `ntvl VERB` takes."""
    command = typer.main.get_command(build_app([verb])).commands[verb]  # type: ignore[attr-defined]
    commands = getattr(command, "commands", {"": command}).values()
    flags = {flag for each in commands for parameter in each.params for flag in parameter.opts}
    return {flag for flag in flags if flag.startswith("-")} | {"--help", "-h"}


FLAGS: Final = {verb: flags_of(verb) for verb in VERBS}


def prose(text: str) -> str:
    """Returns a document without its blocks of code."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(?<=\n\n)(?: {4,}.*\n)+", "", text)


def anchors(document: Path) -> set[str]:
    """Returns what `#...` may name in a document: GitHub's form of its headings."""
    titles = re.findall(r"^#+ (.*)", prose(document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(text: str) -> list[tuple[str, str]]:
    """Returns each `ntvl VERB ...` of a document: the verb, and the rest of the command."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = re.findall(r"\bntvl (\w+)([^`\n|;#(]*)", joined)
    return [(verb, rest) for verb, rest in found if verb in VERBS]


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    document = ROOT / name
    for link in re.findall(r"\]\(([^)\s]*)\)", prose(document.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), f"{name}: {link}"
        assert not anchor or anchor in anchors(target), f"{name}: {link}"


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_that_is_shown_exists(name: str) -> None:
    for verb, rest in commands((ROOT / name).read_text()):
        for flag in re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*", rest):
            assert flag in FLAGS[verb], f"{name}: ntvl {verb}{rest}"


def test_the_readme_shows_commands_with_flags() -> None:
    shown = [verb for verb, rest in commands((ROOT / "README.md").read_text()) if "--" in rest]
    assert {"node", "demo"} <= set(shown)
