"""What `ntvl demo` shows, from recorded results."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.console import Console

from ntvl.cli import demo as verb
from ntvl.cli.demo import Screen, build_table, describe_proof
from ntvl.lab import requirement
from ntvl.lab import run as run_module
from ntvl.lab.outcome import Outcome, PairResult
from ntvl.lab.proof import TEXTS, Proof
from ntvl.lab.run import Run, find_runs, new_run

PAIRS = (
    PairResult("home-a", "home-b", "direct", 12.3, 214.0, 0.41, 2345.6, 120, 0),
    PairResult("home-a", "office-c", "relay", 14.0, None, 0.83, 1234.5, 190, 2),
)
PROOF = Proof("home-a", "office-c", "nobody else's business", TEXTS, 1234, 88, False, True, 0)


def screen(*, terminal: bool = False, quiet: bool = False) -> tuple[Screen, io.StringIO]:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=110, highlight=False, color_system=None)
    return Screen(quiet=quiet, console=console), output


def test_an_outcome_is_a_table_of_pairs_and_a_proof_in_words() -> None:
    shown, output = screen()
    shown.outcome(Outcome(PAIRS, PROOF))
    text = output.getvalue()
    lines = text.splitlines()
    assert any("from" in line and "first reply" in line and "round trip" in line for line in lines)
    direct = next(line.split() for line in lines if line.split()[:2] == ["home-a", "home-b"])
    assert direct[2:] == ["direct", "12", "ms", "214", "ms", "0.41", "ms", "2,346", "0/120"]
    relayed = next(line.split() for line in lines if line.split()[:2] == ["home-a", "office-c"])
    assert relayed[2:] == ["relay", "14", "ms", "-", "0.83", "ms", "1,234", "2/190"]
    assert "nobody else's business" in text
    assert "88 relayed ones" in text


def test_lines_are_plain_where_there_is_no_terminal() -> None:
    shown, output = screen()
    with shown:
        shown.waiting("something slow")
        shown.step("home-a joined: it is 10.77.0.1 on ntvl0 [not markup]")
    assert "\x1b" not in output.getvalue()
    assert "something slow" not in output.getvalue()
    assert output.getvalue().endswith("home-a joined: it is 10.77.0.1 on ntvl0 [not markup]\n")


def test_a_terminal_shows_what_is_waited_for() -> None:
    shown, output = screen(terminal=True)
    with shown:
        shown.waiting("something slow")
        shown.step("done")
    assert "something slow" in output.getvalue()
    assert output.getvalue().count("\x1b[?25l") == output.getvalue().count("\x1b[?25h"), "the cursor is back"


def test_a_narrow_terminal_breaks_no_word() -> None:
    output = io.StringIO()
    shown = Screen(console=Console(file=output, force_terminal=True, width=40, highlight=False, color_system=None))
    shown.step("home-a -> office-c: direct after 5643 ms, by guessing a port of office-c")
    shown.step("supernode runs: ntvl://0123456789012345678@h:1971")
    shown.show("Everything is still running. To enter a machine:")
    text = output.getvalue()
    assert max(map(len, text.splitlines())) <= 40
    head, *rest = text.splitlines()
    assert head.split()[:2] == ["0.0", "s"]
    assert [line[:13].strip() for line in rest[:2]] == ["", ""], "what follows stands below the first word"
    assert "    ntvl://0123456789012345678@h:1971" in rest, "an address in one piece, to copy"
    for word in ("office-c:", "guessing", "machine:"):
        assert word in text.split()


def test_quiet_shows_failures_only() -> None:
    shown, output = screen(quiet=True)
    with shown:
        shown.step("done")
        shown.outcome(Outcome(PAIRS, PROOF))
        shown.failure("home-b did not join", ("the reason",))
    assert output.getvalue() == "failed: home-b did not join\nlast lines of its log:\nthe reason\n"


def test_the_table_fits_eighty_columns() -> None:
    output = io.StringIO()
    longest = PairResult("office-c", "office-d", "direct", 12_345.6, 54_321.0, 10.41, 12345.6, 999, 9)
    Console(file=output, width=80).print(build_table((*PAIRS, longest)))
    assert max(map(len, output.getvalue().splitlines())) <= 80
    assert "…" not in output.getvalue()
    assert len(output.getvalue().splitlines()) == 2 + 3, "nothing is broken in two"
    assert "12.3 s        54.3 s" in output.getvalue()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ""),
        ({"text_found": True}, "can be read"),
        ({"delivered": TEXTS - 1}, "only 19 of 20"),
        ({"relayed_meanwhile": 4 * TEXTS - 1}, "79 relayed datagrams where"),
        ({"relayed_meanwhile": 1}, "has 1 relayed datagram where"),
        ({"clear_text_found": False}, "in the clear"),
        ({"dropped": 3}, "misses 3 frames"),
        ({"dropped": 1}, "misses 1 frame,"),
    ],
)
def test_a_proof_holds_only_if_it_could_have_failed(change: dict[str, object], says: str) -> None:
    fields = {name: getattr(PROOF, name) for name in Proof.__slots__}
    failure = Proof(**{**fields, **change}).failure  # type: ignore[arg-type]
    assert bool(failure) == bool(says)
    assert says in failure
    assert describe_proof(PROOF)


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("root", "needs root: run it again with sudo"),
        ("tun", "modprobe tun"),
        ("programs", "apt-get install"),
    ],
)
def test_what_is_missing_is_one_sentence_with_the_way_out(
    missing: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(requirement.os, "geteuid", lambda: 1000 if missing == "root" else 0)
    monkeypatch.setattr(requirement, "_effective_capabilities", lambda: -1)
    monkeypatch.setattr(requirement, "_TUN", tmp_path / "no-tun" if missing == "tun" else Path("/dev/null"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(requirement, "build_environment", lambda: {"PATH": str(tmp_path)})
    with pytest.raises(typer.Exit) as caught:
        verb.demo(as_json=True, keep=False, remove=False)
    assert caught.value.exit_code == 1
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert (document["ok"], document["pairs"]) == (False, [])
    assert says in document["error"]
    assert printed.err == f"failed: {document['error']}\n"


def test_help_names_the_flags() -> None:
    done = subprocess.run([sys.executable, "-m", "ntvl", "demo", "--help"], capture_output=True, text=True, check=True)
    for flag in ("--json", "--keep", "--remove"):
        assert flag in done.stdout


def test_remove_takes_kept_demos_and_what_killed_ones_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "_RECORDS", tmp_path)
    monkeypatch.setattr(run_module, "NAMESPACES", tmp_path / "none")
    assert verb.remove_kept() == 0
    Run("1-1", 1, 1, title=verb.TITLE).keep()
    Run("2-1", 1, 1, title=verb.TITLE).write()
    other = Run("3-1", 1, 1, title="lab").keep()
    mine = new_run(verb.TITLE)
    assert verb.remove_kept() == 2
    assert find_runs() == sorted([mine, other], key=lambda run: run.name)


@pytest.mark.parametrize(
    ("count", "words"), [(0, "Nothing was left to remove."), (1, "Removed one demo."), (3, "3 demos")]
)
def test_remove_prints_a_sentence_or_json_and_nothing_else(
    count: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verb, "remove_kept", lambda: count)
    monkeypatch.setattr(verb, "check_rights", lambda what: None)
    monkeypatch.setattr(verb, "ignore_signals", lambda: None)
    verb.demo(remove=True)
    assert words in capsys.readouterr().out
    verb.demo(remove=True, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"ok": True, "removed": count}
