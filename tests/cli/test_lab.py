"""What `ntvl lab` shows, from made-up outcomes, and the mistakes that it refuses before it builds anything."""

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from ntvl.cli.lab import build_matrix_table, lab
from ntvl.errors import UsageError
from ntvl.kind import SITE_KINDS, expect, plan_pairs
from ntvl.matrix import PairOutcome, Verdict

runner = CliRunner()
ALL = list(SITE_KINDS.values())


def outcomes(pairs: Iterable[tuple[str, str]]) -> Iterator[PairOutcome]:
    for left, right in pairs:
        wanted = expect(SITE_KINDS[left], SITE_KINDS[right])
        technique = wanted.technique or "relay"
        yield PairOutcome(left, right, wanted.path, technique, 0.25, wanted.direct_s and 14.25, 1234)


def ask(*arguments: str) -> Result:
    return runner.invoke(lab, arguments)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every simulated pair direct after 14 s."""
    monkeypatch.setattr("ntvl.sim.matrix.run_matrix", outcomes)


def test_the_table_of_all_pairs_fits_eighty_columns_and_cuts_nothing() -> None:
    found = list(outcomes((a.name, b.name) for a, b in plan_pairs(ALL)))
    out = io.StringIO()
    Console(file=out, width=80, highlight=False).print(build_matrix_table(found))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= 80
    assert len(lines) == len(found) + 1
    assert "…" not in out.getvalue()
    assert lines[1].split() == ["open", "open", "simultaneous", "0.25", "14.25", "1234", "late"]
    assert lines[-1].split() == ["carrier-no-hairpin", "itself", "relay", "0.25", "-", "1234"]


def test_a_second_try_and_what_theory_did_not_foresee_are_marked() -> None:
    found = [
        PairOutcome("open", "open", "direct", "simultaneous-udp", 0.1, 0.2, 3, tries=2),
        PairOutcome("cgn", "cgn", "direct", "birthday", 0.1, 0.2, 3),
    ]
    out = io.StringIO()
    Console(file=out, width=80).print(build_matrix_table(found))
    assert [line.split()[-1] for line in out.getvalue().splitlines()[1:]] == ["2nd", "above"]


def test_a_pair_below_theory_makes_it_fail_with_a_sentence_after_the_table(slow: None) -> None:
    done = ask("matrix", "--sim", "--kinds", "eim-apdf,apdm-random")
    assert isinstance(done.exception, UsageError)
    assert str(done.exception) == (
        "1 pair is below what theory allows; eim-apdf and eim-apdf are direct after 14.2 s, 2 s are allowed"
    )
    assert "As good as theory allows: 2 of 3 pairs." in done.stdout


def test_one_pair_is_said_in_the_singular(slow: None) -> None:
    done = ask("matrix", "--sim", "--kinds", "open", "--slack", "8")
    assert "1 pair simulated" in done.stderr
    assert done.stdout.endswith("As good as theory allows: 1 of 1 pair.\n")


def test_second_tries_are_counted_under_the_table_and_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    def again(pairs: Iterable[tuple[str, str]]) -> Iterator[PairOutcome]:
        yield from (replace(outcome, tries=2, first_verdict=Verdict.BELOW) for outcome in outcomes(pairs))

    monkeypatch.setattr("ntvl.sim.matrix.run_matrix", again)
    arguments = ("matrix", "--sim", "--kinds", "open", "--slack", "8")
    done = ask(*arguments)
    assert done.stdout.splitlines()[1].split()[-1] == "2nd"
    assert done.stdout.endswith("As good as theory allows: 1 of 1 pair, 1 of them at the second try only.\n")
    said = json.loads(ask(*arguments, "--json").stdout)
    assert (said["ok"], said["second_tries"], said["pairs"][0]["tries"]) == (True, 1, 2)
    assert said["pairs"][0]["first_verdict"] == "below"


def test_slack_lets_it_pass(slow: None, tmp_path: Path) -> None:
    drawing = tmp_path / "matrix.svg"
    done = ask("matrix", "--sim", "--kinds", "eim-apdf", "--slack", "8", "--json", "--svg", str(drawing))
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert said["ok"]
    assert said["second_tries"] == 0
    assert said["pairs"][0]["verdict"] == "as-expected"
    assert "simulated NATs" in drawing.read_text()


def test_what_the_simulator_lacks_is_left_out_and_named(slow: None) -> None:
    done = ask("matrix", "--sim", "--slack", "8")
    assert done.exit_code == 0
    assert "In the laboratory only, so not in this table: upnp." in done.stdout
    assert "upnp" not in done.stdout.partition("As good as theory")[0]
    lines = (done.stdout + done.stderr).splitlines()
    assert lines == [line.rstrip() for line in lines], (
        "a line ends with its last character where it is not a terminal's"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["matrix", "--kinds", "cone"], "there is no kind 'cone': choose from open, "),
        (["matrix", "--kinds", ","], "--kinds names none: choose from open, "),
        (["matrix", "--sim", "--kinds", "upnp"], "the simulator has no 'upnp': run it in the laboratory"),
        (["matrix", "--svg", "--json"], "--svg is followed by --json instead of a value; is a shell variable empty?"),
        (
            ["matrix", "--kinds", "--json"],
            "--kinds is followed by --json instead of a value; is a shell variable",
        ),
        (["matrix", "--svg", ""], "--svg has an empty value: give it one, or leave it out; is a shell variable"),
        (["matrix", "--svg", "."], "cannot write .: it is a directory; name a file in it"),
        (["matrix", "--svg", "/nowhere/m.svg"], "cannot write /nowhere/m.svg: there is no directory /nowhere"),
        (["up", "/nowhere.toml"], "cannot read the topology /nowhere.toml: no such file"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_built(arguments: list[str], sentence: str) -> None:
    done = ask(*arguments)
    assert isinstance(done.exception, UsageError)
    assert sentence in str(done.exception)


def test_an_unwritable_drawing_is_one_sentence(slow: None, tmp_path: Path) -> None:
    done = ask("matrix", "--sim", "--kinds", "open", "--slack", "8", "--svg", str(tmp_path))
    assert isinstance(done.exception, UsageError)
    assert "cannot write" in str(done.exception)


def test_a_drawing_that_cannot_be_written_costs_no_table(slow: None) -> None:
    for more in ((), ("--json",)):
        done = ask("matrix", "--sim", "--kinds", "open", "--slack", "8", "--svg", "/dev/full", *more)
        assert isinstance(done.exception, UsageError)
        assert str(done.exception).startswith("cannot write /dev/full: ")
        assert json.loads(done.stdout)["ok"] if more else "As good as theory allows: 1 of 1 pair." in done.stdout
