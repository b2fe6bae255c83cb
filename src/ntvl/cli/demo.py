"""`ntvl demo`: everything on one machine, in network namespaces, with kernel NATs and the real programs."""

import json
import shutil
import sys
import textwrap
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from ntvl.cli import show
from ntvl.errors import ArgumentError, NtvlError
from ntvl.lab.demonstration import Demonstration, build_topology
from ntvl.lab.ending import Ending, ignore_signals
from ntvl.lab.outcome import Outcome, PairResult, StepError
from ntvl.lab.picture import draw_sites
from ntvl.lab.proof import TEXTS, Proof
from ntvl.lab.requirement import check_programs, check_rights, check_tun
from ntvl.lab.run import find_runs, remove_run, remove_stale_runs
from ntvl.lab.stage import Stage

__all__ = ["Screen", "build_table", "demo", "describe_kept", "describe_proof", "remove_kept"]

TITLE: Final = "ntvl demo"
_PROGRAMS: Final = ("ip", "nft", "tcpdump", "iperf3")
_SECONDS_AT_MOST: Final = 55
"""It usually takes fifteen; with removing everything, a minute is never passed."""
_REMOVED: Final = {0: "Nothing was left to remove.", 1: "Removed one demo."}
_INDENT: Final = 4
_PATH_STYLES: Final = {"direct": "green", "relay": "yellow"}


def demo(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running, and say how to enter it.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what --keep left running.")] = False,
) -> None:
    """Show everything on this one machine: NATs, nodes, direct paths.

    Builds a small Internet out of network namespaces: a public supernode, a home behind one router, a home behind two,
    and two offices whose routers pick ports at random. Nothing outside these namespaces changes.
    """
    if keep and remove:
        raise ArgumentError("--keep and --remove exclude each other: run `ntvl demo --remove` first, then --keep.")
    screen = Screen(quiet=as_json)
    if remove:
        check_rights(TITLE)
        ignore_signals()
        removed = remove_kept()
        if as_json:
            print(json.dumps({"ok": True, "removed": removed}))
        else:
            screen.show(_REMOVED.get(removed, f"Removed {removed} demos."))
        return

    def expired() -> None:
        raise StepError(f"not done after {_SECONDS_AT_MOST} s, while it waited for this: {screen.waits_for}")

    try:
        with Ending(screen.show, screen.waiting, seconds=_SECONDS_AT_MOST, expired=expired) as ending, screen:
            document = _build_and_run(screen, keep, ending)
    except NtvlError as error:
        log = error.log if isinstance(error, StepError) else ()
        document = {"ok": False, "pairs": [], "error": str(error), "log": list(log)}
        screen.failure(str(error), log)
    if as_json:
        print(json.dumps(document))
    if not document["ok"]:
        raise typer.Exit(1)


def remove_kept() -> int:
    """Removes the demonstrations that were kept, and what killed ones left; returns how many."""
    stale = remove_stale_runs()
    kept = [run for run in find_runs() if run.kept and run.title == TITLE]
    for run in kept:
        remove_run(run)
    return len(kept) + len([run for run in stale if run.title == TITLE])


class Screen:
    """Shows a demonstration as it happens: lines, and on a terminal what is waited for below them.

    Args:
        quiet: show nothing but failures, and these on standard error.
    """

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self.console = console or show.console(stderr=quiet)
        self._quiet = quiet
        self._began = time.monotonic()
        self._status: Status | None = None
        self._waiting = ""
        self._mark = "✓" if self.console.encoding.startswith("utf") else "ok"

    def __enter__(self) -> "Screen":
        self._began = time.monotonic()
        if self.console.is_terminal and not self._quiet:
            self._status = self.console.status("")
            self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    @property
    def seconds(self) -> float:
        """Returns how long this has taken so far."""
        return time.monotonic() - self._began

    @property
    def waits_for(self) -> str:
        """Returns what was last said to be waited for."""
        return self._waiting

    def step(self, text: str) -> None:
        """Shows what just came true, with the time since the start."""
        head = Text.assemble((f"{self.seconds:6.1f} s ", "dim"), (f" {self._mark} ", "green"), " ")
        if not self.console.is_terminal:
            self.show(head + Text(text))
            return
        # What is too long to stand below the first word, an address with its key, gets nearly the whole width.
        below = head.cell_len
        if max(map(len, text.split()), default=0) > self.console.width - below:
            below = _INDENT
        lines = textwrap.wrap(
            text,
            self.console.width,
            initial_indent=" " * head.cell_len,
            subsequent_indent=" " * below,
            break_long_words=False,
            break_on_hyphens=False,
        )
        self.show(head + Text("\n".join(lines).lstrip()))

    def waiting(self, text: str) -> None:
        """Shows what is waited for now, on a terminal."""
        self._waiting = text
        if self._status is not None:
            self._status.update(Text(text, style="dim"))

    def show(self, what: str | Text | Table) -> None:
        """Shows lines or a table."""
        if not self._quiet:
            if isinstance(what, Table):
                self.console.print(what)
            else:
                show.say(self.console, Text(what) if isinstance(what, str) else what)

    def outcome(self, outcome: Outcome) -> None:
        """Shows the table of pairs, and the proof."""
        self.show("")
        self.show(build_table(outcome.pairs))
        self.show(describe_proof(outcome.proof))
        self.show("")

    def failure(self, sentence: str, log: tuple[str, ...]) -> None:
        """Shows why it failed; also when quiet."""
        show.say(self.console, Text.assemble(("failed: ", "bold red"), sentence))
        if log:
            show.say(self.console, Text("\n".join(["last lines of its log:", *log]), style="dim"))


def build_table(pairs: tuple[PairResult, ...]) -> Table:
    """Returns the table of what was measured; it fits a terminal of 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("from")
    table.add_column("to")
    table.add_column("path")
    for heading in ("first reply", "direct after", "round trip", "Mbit/s", "lost"):
        table.add_column(heading, justify="right")
    for pair in pairs:
        table.add_row(
            pair.source,
            pair.target,
            Text(pair.path, style=_PATH_STYLES.get(pair.path, "red")),
            _span(pair.first_reply_ms),
            _span(pair.direct_after_ms),
            f"{pair.rtt_ms:.2f} ms",
            f"{pair.mbps:,.0f}",
            f"{pair.lost}/{pair.pings}",
        )
    return table


def _span(time_ms: float | None) -> str:
    if time_ms is None:
        return "-"
    return f"{time_ms:.0f} ms" if time_ms < 10_000 else f"{time_ms / 1000:.1f} s"


def describe_proof(proof: Proof) -> Text:
    """Returns what the recording at the supernode shows, in words."""
    return Text.assemble(
        f"Proof: {proof.source} and {proof.target} sent each other {TEXTS} times, through the relay:\n\n    ",
        (proof.text, "italic"),
        f"\n\nThe recording at the supernode, {proof.datagrams:,} datagrams in all, has"
        f" {proof.relayed_meanwhile} relayed ones of that moment.\n",
        ("The text occurs nowhere in it.", "green"),
        f" A sentence that {proof.source} sent in the clear does.",
    )


def describe_kept(stage: Stage, demonstration: Demonstration) -> str:
    """Returns how to enter what is left running, what to ask it, and how to remove it; commands are short, to copy."""
    lines = ["Everything is still running. To enter a machine:", ""]
    lines += [f"    ip netns exec {stage.namespace(machine)} bash" for machine in stage.topology.machines]
    members = demonstration.members
    if members:
        lines += ["", "To ask a node, by its socket:", ""]
        for name, member in members.items():
            lines += [
                f"    # {name}, {member.address or 'not joined'}",
                f"    {_program()} status --socket {member.socket}",
            ]
        first, *_, last = members.values()
        lines += [f"    {_program()} {verb} {last.machine} --socket {first.socket}" for verb in ("ping", "why")]
        lines += ["", f"To end a node ({first.machine}; `ip netns pids` names the others), and to start it again:", ""]
        lines += [f"    kill {first.program.pid}", f"    sh {first.script}"]
    removal = f"    {_program()} demo --remove"
    return "\n".join([*lines, "", f"Logs and state are in {stage.directory}. To remove all of it:", "", removal])


def _keep(stage: Stage, demonstration: Demonstration, screen: Screen) -> None:
    for member in demonstration.members.values():
        member.write_script()
    stage.keep()
    screen.show(describe_kept(stage, demonstration))


def _program() -> str:
    """Returns how to call ntvl from this terminal, in the shortest way that leads to it."""
    if shutil.which("ntvl"):
        return "ntvl"
    beside = Path(sys.executable).with_name("ntvl")
    if not beside.exists():
        return f"{sys.executable} -m ntvl"
    return str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)


def _build_and_run(screen: Screen, keep: bool, ending: Ending) -> dict[str, Any]:
    """Returns what --json prints."""
    check_rights(TITLE)
    check_tun(TITLE)
    check_programs(TITLE, _PROGRAMS)
    with Stage(build_topology(), TITLE) as stage:
        screen.show(draw_sites(stage.topology) + "\n")
        screen.step(f"built {len(stage.topology.machines)} machines out of network namespaces and kernel NATs")
        demonstration = Demonstration(stage, screen)
        try:
            outcome = demonstration.run()
        except NtvlError:
            if keep:
                _keep(stage, demonstration, screen)
                ending.settle()
            raise
        screen.outcome(outcome)
        document = _as_json(outcome)
        if keep:
            _keep(stage, demonstration, screen)
            document["kept"] = {machine: stage.namespace(machine) for machine in stage.topology.machines}
            document["sockets"] = {name: str(member.socket) for name, member in demonstration.members.items()}
            ending.settle()
        screen.waiting("removing everything")
    document["seconds"] = round(screen.seconds, 1)
    if not keep:
        screen.show(f"All of it took {screen.seconds:.0f} s and is removed again.")
    return document


def _as_json(outcome: Outcome) -> dict[str, Any]:
    proof = outcome.proof
    return {
        "ok": True,
        "pairs": [pair.as_json() for pair in outcome.pairs],
        "proof": {
            "text": proof.text,
            "delivered": proof.delivered,
            "datagrams": proof.datagrams,
            "relayed_meanwhile": proof.relayed_meanwhile,
            "text_found": proof.text_found,
            "clear_text_found": proof.clear_text_found,
        },
    }
