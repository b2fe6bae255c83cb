import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from ntvl.cli import build_app
from ntvl.cli.show import console
from ntvl.cli.why import build_view, paragraph
from ntvl.errors import UsageError

Answer = Callable[[str, list[dict[str, Any]]], Path]
runner = CliRunner()

NAT: Final = {"word": "random", "mapping": "m", "filtering": "f", "allocation": "random"}
RECORD: Final = {
    "verdict": "no-reply",
    "packets": 9,
    "took_s": 1.0,
    "detail": "",
    "aims": ["srflx 203.0.113.2:5001"],
    "answered": None,
    "observed": [],
}
FOUND: Final[dict[str, Any]] = {
    "community": "home",
    "name": "office",
    "id": "O" * 43,
    "addresses": ["10.77.37.26/16"],
    "path": "relay",
    "technique": "relay",
    "remote": None,
    "via": "ntvl://KEY@203.0.113.10:1971",
    "rtt_ms": 18.2,
    "since_s": None,
    "cause": "both-random",
    "side": "both",
    "sentence": "Both routers pick random ports, so neither end knows where to send to.",
    "fix": "Forward a UDP port to either node.",
    "lacks": [],
    "retry_s": 2580.0,
    "asked": "answered",
    "note": "",
    "ends": {
        "local": {"nat": NAT, "state": "waiting", "udp": True, "candidates": ["srflx 198.51.100.1:4001"]},
        "remote": {"nat": NAT, "state": "waiting", "udp": True, "candidates": [f"host 10.0.0.{n}:1" for n in range(8)]},
    },
    "ladder": [
        {"attempt": 7, "technique": "simultaneous-udp", "ago_s": 12.4, "local": RECORD, "remote": RECORD},
        {
            "attempt": 7,
            "technique": "birthday",
            "ago_s": 11.0,
            "local": {**RECORD, "verdict": "not-applicable", "packets": 0, "detail": "a reason"},
            "remote": {**RECORD, "packets": 2000},
        },
    ],
}


LEFT_OUT: Final = {**RECORD, "verdict": "not-applicable", "packets": 0, "detail": "one side does not know its NAT yet"}


def shown(found: dict[str, Any], width: int = 80, *, with_all: bool = False) -> list[str]:
    screen = console()
    screen.width = width
    with screen.capture() as capture:
        screen.print(build_view(found, with_all=with_all), width=width)
    return [line.rstrip() for line in capture.get().splitlines()]


def step(technique: str, attempt: int, ours: dict[str, Any] | None, theirs: dict[str, Any] | None) -> dict[str, Any]:
    return {"attempt": attempt, "technique": technique, "ago_s": 9.0, "local": ours, "remote": theirs}


def test_a_paragraph_says_cause_fix_the_way_until_then_and_the_next_attempt() -> None:
    assert paragraph(FOUND) == (
        "Both routers pick random ports, so neither end knows where to send to. Forward a UDP port to either node. "
        "Until then it is relayed by 203.0.113.10:1971, 18.2 ms. The next attempt comes in 43 minutes."
    )
    alone = {**FOUND, "retry_s": None, "rtt_ms": None, "note": "A note."}
    assert paragraph(alone).endswith("Until then it is relayed by 203.0.113.10:1971. A note.")
    assert "Until then it is relayed by a TURN server, 18.2 ms." in paragraph({**FOUND, "path": "turn", "via": None})
    none = {**FOUND, "path": "none", "via": None, "rtt_ms": None, "retry_s": None}
    assert paragraph(none).endswith("either node.")


def test_a_direct_path_is_told_with_its_age_and_round_trip() -> None:
    direct = {**FOUND, "path": "direct", "fix": "", "sentence": "It is.", "retry_s": None, "since_s": 240.0}
    assert paragraph(direct) == "It is. It has been so for 4 minutes, with a round trip of 18.2 ms."


def test_the_ladder_stands_below_and_all_of_it_fits_eighty_columns() -> None:
    lines = shown(FOUND)
    assert lines[0] == "office (10.77.37.26) in home"
    assert "here    random  srflx 198.51.100.1:4001" in lines
    assert any(line.rstrip().endswith("4 more") for line in lines)
    assert "simultaneous-udp  12s  9/9                  no-reply" in lines
    (birthday,) = [line for line in lines if line.startswith("birthday")]
    assert birthday.split()[:3] == ["birthday", "11s", "-/2,000"]
    assert "here: not-applicable: a reason; office: no-reply" in " ".join(" ".join(lines).split())
    assert all(len(line) <= 80 for line in lines)


def test_without_records_there_is_no_ladder_and_one_side_alone_is_marked() -> None:
    bare = {**copy.deepcopy(FOUND), "ladder": []}
    assert not any("technique" in line for line in shown(bare))
    alone = {**copy.deepcopy(FOUND), "asked": "timeout"}
    alone["ladder"][0]["remote"] = None
    assert "simultaneous-udp  12s  9/-                  no-reply" in shown(alone)


def test_three_attempts_fit_a_terminal_of_24_rows_and_what_was_left_out_alike_is_said_once() -> None:
    names = ("port-prediction", "tcp-simultaneous-open", "birthday")
    attempts = [
        [step("simultaneous-udp", number, RECORD, RECORD), *(step(name, number, LEFT_OUT, LEFT_OUT) for name in names)]
        for number in (1, 2, 3)
    ]
    found = {**FOUND, "ladder": [rung for attempt in attempts for rung in attempt]}
    lines = shown(found)
    assert len(lines) < 24
    assert " ".join(lines).count("know its NAT") == 1
    assert [line.split()[0] for line in lines[-5:-1]] == ["simultaneous-udp", *(f"{n}," for n in names[:2]), "birthday"]
    assert lines[-1] == "8 earlier steps left out; --all shows everything."
    everything = shown(found, with_all=True)
    assert " ".join(everything).count("know its NAT") == 3, "once for each attempt"
    assert sum(line.startswith("simultaneous-udp") for line in everything) == 3
    assert any("host 10.0.0.7:1" in line for line in everything)
    assert not any("left out;" in line or " more" in line for line in everything)


def test_what_was_left_out_for_different_reasons_has_a_row_for_each() -> None:
    other = {**LEFT_OUT, "detail": "a reason"}
    ladder = [step("a", 1, LEFT_OUT, LEFT_OUT), step("b", 1, other, other), step("c", 1, LEFT_OUT, other)]
    ladder += [step("d", 1, RECORD, RECORD), step("e", 1, RECORD, RECORD)]
    firsts = [line.split()[:1] for line in shown({**FOUND, "ladder": ladder})]
    assert [first for first in firsts if first and first[0] in "abcde"] == [["a"], ["b"], ["c"], ["d"], ["e"]]


def test_how_a_technique_was_opened_is_told_with_all_and_why_one_was_left_out_always() -> None:
    opened = {**RECORD, "detail": "opened with a time to live of 2"}
    ladder = [step("simultaneous-udp", 7, opened, opened), step("birthday", 7, LEFT_OUT, LEFT_OUT)]
    for with_all in (False, True):
        text = " ".join(" ".join(shown({**FOUND, "ladder": ladder}, with_all=with_all)).split())
        assert ("no-reply: opened with a time to live of 2" in text) is with_all
        assert "not-applicable: one side does not" in text


def test_one_success_has_one_row_though_both_ends_began_an_attempt() -> None:
    done, echo = {**RECORD, "verdict": "direct", "packets": 2}, {**RECORD, "verdict": "not-needed", "packets": 0}
    ladder = [step("port-prediction", 1, done, None), step("simultaneous-udp", 2, echo, echo)]
    lines = shown({**FOUND, "ladder": ladder})
    assert [line.split() for line in lines if line.endswith(" direct")] == [["port-prediction", "9s", "2/-", "direct"]]
    assert not any("left out" in line for line in lines)
    everything = shown({**FOUND, "ladder": ladder}, with_all=True)
    assert sum(line.endswith(" direct") for line in everything) == 1
    assert any(line.split() == ["simultaneous-udp", "9s", "0/0", "not-needed"] for line in everything)
    half = [ladder[0], step("simultaneous-udp", 2, echo, done)]
    assert "here: not-needed; office: direct" in " ".join(" ".join(shown({**FOUND, "ladder": half})).split())
    lost_between = [ladder[0], step("simultaneous-udp", 2, RECORD, RECORD), step("port-prediction", 2, done, done)]
    assert len([line for line in shown({**FOUND, "ladder": lost_between}, with_all=True) if "direct" in line]) == 2


@pytest.mark.parametrize("bad", ["\x1b[2J", "[red]x", "\n\n\n", "\u202e"])
def test_what_another_machine_says_does_not_command_the_terminal(bad: str) -> None:
    found = copy.deepcopy(FOUND)
    found["name"] = found["addresses"][0] = found["sentence"] = found["fix"] = found["community"] = bad
    found["ladder"][0] |= {"technique": bad, "remote": {**RECORD, "verdict": bad, "detail": bad}}
    found["ends"]["remote"] |= {"candidates": [bad]}
    assert all(line.isprintable() for line in shown(found))


def test_json_is_the_nodes_own_account(answering: Answer) -> None:
    path = answering("why", [FOUND])
    done = runner.invoke(build_app(["why"]), ["why", "office", "--json", "--socket", str(path)])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == FOUND
    text = runner.invoke(build_app(["why"]), ["why", "office", "--socket", str(path)]).stdout
    assert "Both routers" in text
    assert not any(line != line.rstrip() for line in text.splitlines()), "no blanks into a pipe"


def test_without_a_node_the_sentence_says_what_to_do(tmp_path: Path) -> None:
    done = runner.invoke(build_app(["why"]), ["why", "bob", "--socket", str(tmp_path / "no")])
    assert isinstance(done.exception, UsageError)
    assert "ntvl node" in str(done.exception)


def test_a_supernode_does_not_know_why_and_says_what_it_knows(answering: Answer) -> None:
    path = answering("status", [])
    done = runner.invoke(build_app(["why"]), ["why", "bob", "--socket", str(path)])
    assert str(done.exception) == "The program at this socket answers to status, not to why; ask another."
