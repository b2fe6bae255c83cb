"""`ntvl lab`: networks with NATs on this machine: every pair of kinds tried out, or a topology of one's own."""

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from ntvl.cli.argument import check_value, parse_number, refusing
from ntvl.cli.demo import Screen
from ntvl.cli.help import HelpfulCommand, HelpfulGroup
from ntvl.cli.show import console, format_count, say
from ntvl.errors import UsageError
from ntvl.kind import SITE_KINDS, Kind, parse_kinds, plan_pairs, plan_waves
from ntvl.lab.blueprint import Blueprint, read_blueprint
from ntvl.lab.chart import draw_matrix, shorten_technique
from ntvl.lab.ending import Ending, ignore_signals
from ntvl.lab.field import Field, build_field, programs_for
from ntvl.lab.namespace import list_processes
from ntvl.lab.program import build_environment
from ntvl.lab.requirement import check_programs, check_rights, check_tun
from ntvl.lab.run import Run, find_runs, remove_run, remove_stale_runs
from ntvl.lab.service import start_mapper, start_proxy
from ntvl.lab.stage import Stage
from ntvl.lab.topology import FABRIC
from ntvl.matrix import PairOutcome, Verdict, describe_shortfall, describe_success

__all__ = ["build_matrix_table", "down", "lab", "matrix", "shell", "up"]

TITLE: Final = "ntvl lab"
_MATRIX: Final = "ntvl lab matrix"
_SLACK: Final = 2.0
"""How much longer a pair may take in the laboratory than theory says: all of it shares this machine's few CPUs."""
_SLACK_MAX: Final = 100.0
_WIDTH: Final = 80
_NO_PROGRAM: Final = 127
"""The exit status that shells give where there is no such program."""
_STYLES: Final = {"direct": "green", "relay": "yellow", "none": "red"}

lab = typer.Typer(
    cls=HelpfulGroup,
    help="Networks with NATs on this one machine: every pair of kinds tried out, or a topology of your own.",
    no_args_is_help=True,
)


@lab.command(cls=HelpfulCommand)
def matrix(
    kinds: Annotated[
        str | None,
        typer.Option(
            metavar="KIND,KIND...",
            help=f"Which kinds to pair. Without it all: {', '.join(SITE_KINDS)}.",
            show_default=False,
        ),
    ] = None,
    sim: Annotated[bool, typer.Option("--sim", help="On virtual time, in the simulator: needs no root.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
    svg: Annotated[str | None, typer.Option(metavar="FILE", help="Draw the matrix into this file, as SVG.")] = None,
    slack: Annotated[
        str | None,
        typer.Option(
            metavar="FACTOR",
            help=f"How many times longer than theory says a pair may take, 1 to {_SLACK_MAX:g}. "
            f"[default: {_SLACK:g}, with --sim 1]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Try every pair of kinds of NATs with the real programs on kernel NATs, and compare with what theory allows.

    A pair that gets less, or later, makes the exit status 1.
    """
    with refusing():
        check_value("--kinds", kinds)
        check_value("--svg", svg)
        chosen, left_out = _choose(kinds, simulated=sim)
        drawing = _drawing(svg)
    factor = 1.0 if sim else _SLACK
    if slack is not None:
        factor = parse_number("--slack", slack, 1, _SLACK_MAX)
    screen = Screen(console=console(stderr=True))
    began = time.monotonic()
    if sim:
        with screen:
            outcomes = _simulate(chosen, screen)
    else:
        check_rights(_MATRIX)
        check_programs(_MATRIX, programs_for(chosen))
        check_tun(_MATRIX)
        with Ending(screen.show, screen.waiting), screen:
            outcomes = _try_out(chosen, screen, factor)
    outcomes = _in_order(chosen, outcomes)
    shortfall = describe_shortfall(outcomes, factor)
    if as_json:
        pairs = [outcome.as_json(factor) for outcome in outcomes]
        seconds = round(time.monotonic() - began, 1)
        again = sum(outcome.tries > 1 for outcome in outcomes)
        print(
            json.dumps(
                {"ok": not shortfall, "pairs": pairs, "second_tries": again, "slack": factor, "seconds": seconds}
            )
        )
    else:
        out = console()
        out.print(build_matrix_table(outcomes, factor), width=min(_WIDTH, out.width))
        say(out, describe_success(outcomes, factor))
        if left_out:
            names = ", ".join(kind.name for kind in left_out)
            say(out, f"In the laboratory only, so not in this table: {names}.")
    if drawing is not None:  # after the table, which took its time and must not be lost with a full disk
        where = "simulated NATs, virtual time" if sim else "kernel NATs, the real programs"
        _write(drawing, draw_matrix(outcomes, f"Every pair of kinds: {where}", factor))
    if shortfall:
        raise UsageError(shortfall)


@lab.command(cls=HelpfulCommand)
def up(
    file: Annotated[Path, typer.Argument(metavar="FILE", readable=False, help="The topology, in TOML.")],
) -> None:
    """Build a topology of your own out of a file, and leave it standing."""
    with refusing():
        blueprint = read_blueprint(file)
    check_rights(TITLE)
    check_programs(TITLE, programs_for(list(blueprint.helped.values())))
    standing = _standing()
    if standing is not None:
        raise UsageError("a lab is up already: remove it with `ntvl lab down` first")
    began = time.monotonic()
    with Ending(console(stderr=True).print) as ending, Stage(blueprint.topology, TITLE) as stage:
        notes = _start_helpers(stage, blueprint)
        stage.keep()
        _show_standing(stage, notes, time.monotonic() - began)
        ending.settle()


@lab.command(cls=HelpfulCommand, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def shell(
    host: Annotated[str, typer.Argument(metavar="HOST", help="A host or router of the lab that is up.")],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="What to run there, instead of a shell.")
    ] = None,
) -> None:
    """Run a shell, or a command, on a host of the lab."""
    check_rights(TITLE)
    run = _standing()
    if run is None:
        raise UsageError("no lab is up: build one with `ntvl lab up FILE`")
    names = [name.removeprefix(f"{run.prefix}-") for name in run.namespaces()]
    if host not in names or host == FABRIC:
        known = ", ".join(name for name in names if name != FABRIC)
        raise UsageError(f"the lab has no host {host!r}: it has {known}")
    environment = build_environment()
    argv = list(command or [environment.get("SHELL") or "/bin/sh"])
    if shutil.which(argv[0], path=environment["PATH"]) is None:
        print(
            f"ntvl: There is no program {argv[0]!r} here: hosts of a lab have those of this machine.", file=sys.stderr
        )
        raise typer.Exit(_NO_PROGRAM)
    if not command:
        if sys.stdin.isatty():
            print(f"{host}: a shell; exit leaves it", file=sys.stderr)
        argv += _set_prompt(Path(run.directory), host, argv[0], environment)
    sys.stdout.flush()
    os.execvpe("ip", ["ip", "netns", "exec", f"{run.prefix}-{host}", *argv], environment)


@lab.command(cls=HelpfulCommand)
def down() -> None:
    """Remove the lab that is up, with everything that runs in it, and what killed ones left."""
    check_rights(TITLE)
    ignore_signals()
    stale = remove_stale_runs()
    runs = [run for run in find_runs() if run.kept and run.title == TITLE]
    processes = sum(len(list_processes(run.namespaces())) for run in runs)
    for run in runs:
        remove_run(run)
    ended = f", and ended {format_count(processes, 'program')} in it" if processes else ""
    words = [f"Removed the lab{ended}."] if runs else []
    words += [f"Removed what killed runs had left: {len(stale)}."] if stale else []
    print("\n".join(words) or "Nothing was left to remove.")


def build_matrix_table(outcomes: Sequence[PairOutcome], slack: float = 1.0) -> Table:
    """Returns the table of pairs; it fits a terminal of 80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold underline")
    for heading in ("left", "right", "path by"):
        table.add_column(heading, no_wrap=True)
    for heading in ("reply s", "direct s", "checks"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for outcome in outcomes:
        verdict = outcome.judge(slack)
        table.add_row(
            outcome.left,
            "itself" if SITE_KINDS[outcome.left].shared else outcome.right,
            Text(shorten_technique(outcome.technique), style=_STYLES[outcome.path]),
            _seconds(outcome.first_reply_s),
            _seconds(outcome.direct_after_s),
            str(outcome.packets),
            Text(_mark(outcome, verdict), style="bold red" if verdict.is_shortfall else ""),
        )
    return table


def _choose(names: str | None, *, simulated: bool) -> tuple[list[Kind], list[Kind]]:
    """Returns the kinds to pair, and those that the simulator leaves out of all kinds."""
    words = None if names is None else [word.strip() for word in names.split(",") if word.strip()]
    chosen = list(SITE_KINDS.values()) if words is None else parse_kinds(words)
    if not chosen:
        raise UsageError(f"--kinds names none: choose from {', '.join(SITE_KINDS)}")
    left_out = [kind for kind in chosen if simulated and not kind.simulated]
    if left_out and words is not None:
        raise UsageError(f"the simulator has no {left_out[0].name!r}: run it in the laboratory, without --sim")
    return [kind for kind in chosen if kind not in left_out], left_out


def _drawing(name: str | None) -> Path | None:
    if name is None:
        return None
    path = Path(name)
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a directory; name a file in it")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no directory {path.parent}; make it first")
    return path


def _try_out(kinds: Sequence[Kind], screen: Screen, slack: float) -> list[PairOutcome]:
    outcomes: list[PairOutcome] = []
    screen.waiting("building the networks")
    waves = plan_waves(kinds)
    with Stage(build_field(waves), _MATRIX) as stage:
        screen.step(f"{len(stage.topology.machines)} machines are built")
        field = Field(stage, waves, screen, slack=slack)
        try:
            field.start()
        except TimeoutError as error:
            raise UsageError(f"{_MATRIX} could not start: {error}") from error
        for number, wave in enumerate(waves, 1):
            screen.waiting(f"wave {number} of {len(waves)}: {format_count(len(wave), 'pair')}")
            outcomes += field.run_wave(wave)
            short = sum(outcome.judge(slack).is_shortfall for outcome in outcomes)
            tried = format_count(len(outcomes), "pair")
            screen.step(f"wave {number} of {len(waves)}: {tried} tried, {short} below what theory allows")
        again = [outcome for outcome in outcomes if outcome.judge(slack).is_shortfall and not outcome.note]
        if again:
            screen.waiting(f"a second try of {format_count(len(again), 'pair')}, with nodes that start anew")
            outcomes = [outcome for outcome in outcomes if outcome not in again] + field.run_again(again)
            short = sum(outcome.judge(slack).is_shortfall for outcome in outcomes)
            screen.step(f"{format_count(len(again), 'pair')} tried again, {short} below what theory allows")
        screen.waiting("removing everything")
    return outcomes


def _simulate(kinds: Sequence[Kind], screen: Screen) -> list[PairOutcome]:
    from ntvl.sim.matrix import run_matrix  # takes its time; the other commands do not need it

    pairs = plan_pairs(kinds)
    outcomes = []
    for outcome in run_matrix((left.name, right.name) for left, right in pairs):
        outcomes.append(outcome)
        screen.waiting(f"{len(outcomes)} of {format_count(len(pairs), 'pair')}")
    screen.step(f"{format_count(len(outcomes), 'pair')} simulated")
    return outcomes


def _in_order(kinds: Sequence[Kind], outcomes: Sequence[PairOutcome]) -> list[PairOutcome]:
    """Returns outcomes in the order of the table of kinds, each with the earlier kind on the left; waves differ."""
    known = {frozenset((outcome.left, outcome.right)): outcome for outcome in outcomes}
    return [
        replace(known[frozenset((left.name, right.name))], left=left.name, right=right.name)
        for left, right in plan_pairs(kinds)
        if frozenset((left.name, right.name)) in known
    ]


def _start_helpers(stage: Stage, blueprint: Blueprint) -> list[str]:
    notes = []
    for site, kind in blueprint.helped.items():
        if kind.mapper:
            start_mapper(stage, f"{site}-router", kind.mapper)
        if kind.proxy:
            _, url = start_proxy(stage, f"{site}-router")
            notes.append(f"On {site} set https_proxy={url}: there is no other way out.")
    return notes


def _standing() -> Run | None:
    """Returns the record of the lab that `up` left, or None."""
    return next((run for run in find_runs() if run.kept and run.title == TITLE and run.namespaces()), None)


def _set_prompt(directory: Path, host: str, shell: str, environment: dict[str, str]) -> list[str]:
    """Lets a shell's prompt begin with the host, for all of them have this machine's name; returns arguments for it."""
    environment["PS1"] = f"({host}) # "
    if Path(shell).name != "bash":
        return []
    # bash forgets the variable when it reads its files, so it gets one that reads them first.
    file = directory / f"{host}.bashrc"
    reads = "".join(f"[ -f {path} ] && . {path}\n" for path in ("/etc/bash.bashrc", "~/.bashrc"))
    file.write_text(f'{reads}PS1="({host}) $PS1"\n')
    return ["--rcfile", str(file)]


def _show_standing(stage: Stage, notes: Sequence[str], seconds: float) -> None:
    out = console()
    out.print(_build_host_table(stage), width=min(_WIDTH, out.width))
    out.print()
    for note in notes:
        say(out, note)
    say(
        out,
        f"Up in {seconds:.1f} s. `ntvl lab shell {stage.topology.hosts[0].name}` enters a host, `ntvl lab down`"
        " removes everything.",
    )


def _build_host_table(stage: Stage) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("machine", "network", "IPv4", "IPv6"):
        table.add_column(heading)
    for machine in stage.topology.machines:
        for number, interface in enumerate(stage.topology.interfaces(machine)):
            table.add_row("" if number else machine, interface.network, interface.ipv4, interface.ipv6)
    return table


def _mark(outcome: PairOutcome, verdict: Verdict) -> str:
    if verdict is not Verdict.AS_EXPECTED:
        return str(verdict)
    return "2nd" if outcome.tries > 1 else ""


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error


def _seconds(time_s: float | None) -> str:
    return "-" if time_s is None else f"{time_s:.2f}"
