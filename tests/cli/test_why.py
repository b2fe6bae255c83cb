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


def shown(found: dict[str, Any], width: int = 80) -> list[str]:
    screen = console()
    screen.width = width
    with screen.capture() as capture:
        screen.print(build_view(found), width=width)
    return [line.rstrip() for line in capture.get().splitlines()]


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
    assert "Both routers" in runner.invoke(build_app(["why"]), ["why", "office", "--socket", str(path)]).stdout


def test_without_a_node_the_sentence_says_what_to_do(tmp_path: Path) -> None:
    done = runner.invoke(build_app(["why"]), ["why", "bob", "--socket", str(tmp_path / "no")])
    assert isinstance(done.exception, UsageError)
    assert "ntvl node" in str(done.exception)
