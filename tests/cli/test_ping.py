import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ntvl.cli import build_app
from ntvl.cli.ping import Tally

Answer = Callable[[str, list[dict[str, Any]]], Path]
runner = CliRunner()
HUB = "ntvl://" + "A" * 43 + "@hub.example:1971"
TO = {"to": {"community": "home", "name": "bob", "id": "B" * 43, "addresses": ["10.77.0.6/16"]}}


def relayed(sequence: int, rtt_ms: float) -> dict[str, Any]:
    return {"sequence": sequence, "rtt_ms": rtt_ms, "path": "relay", "remote": None, "via": HUB}


def direct(sequence: int, rtt_ms: float, remote: str = "203.0.113.5:4242") -> dict[str, Any]:
    return {"sequence": sequence, "rtt_ms": rtt_ms, "path": "direct", "remote": remote, "via": None}


def lost(sequence: int, reason: str = "timeout") -> dict[str, Any]:
    return {"sequence": sequence, "rtt_ms": None, "reason": reason}


def ping(path: Path, *arguments: str) -> Result:
    return runner.invoke(build_app(["ping"]), ["ping", "bob", "--socket", str(path), *arguments])


def test_each_reply_says_its_path_and_when_it_changed(answering: Answer) -> None:
    path = answering("ping", [TO, relayed(1, 40.0), lost(2), direct(3, 2.5), direct(4, 1.5), lost(5, "gone")])
    done = ping(path, "-c", "5")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "pinging bob (10.77.0.6) in home",
        "  1    40.0 ms  relay hub.example:1971",
        "  2  no reply",
        "  3    2.50 ms  direct 203.0.113.5:4242  path changed",
        "  4    1.50 ms  direct 203.0.113.5:4242",
        "  5  bob has left",
        "5 sent, 3 received (1 relay, 2 direct), 40% lost",
        "min / avg / max 1.50 ms / 14.7 ms / 40.0 ms",
    ]


def test_json_gives_the_same_line_by_line(answering: Answer) -> None:
    path = answering("ping", [TO, relayed(1, 40.0), direct(2, 2.0)])
    done = ping(path, "--json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        TO,
        {**relayed(1, 40.0), "changed": False},
        {**direct(2, 2.0), "changed": True},
        {
            "summary": {
                "sent": 2,
                "received": 2,
                "min_ms": 2.0,
                "avg_ms": 21.0,
                "max_ms": 40.0,
                "paths": {"relay": 1, "direct": 1},
            }
        },
    ]


def test_without_any_reply_the_exit_status_is_1(answering: Answer) -> None:
    done = ping(answering("ping", [TO, lost(1), lost(2)]), "-c", "2")
    assert done.exit_code == 1
    assert done.stdout.endswith("2 sent, nothing came back\n")


@pytest.mark.parametrize(
    ("arguments", "count", "interval_s"),
    [((), 0, 1.0), (("-c", "3"), 3, 1.0), (("--count", "5", "-i", "0.2"), 5, 0.2)],
)
def test_flags_reach_the_node(answering: Answer, arguments: tuple[str, ...], count: int, interval_s: float) -> None:
    path = answering("ping", [{**TO, "echo": True}])
    done = ping(path, "--json", *arguments)
    question = json.loads(done.stdout.splitlines()[0])["question"]
    assert question == {"verb": "ping", "peer": "bob", "count": count, "interval_s": interval_s}


def test_another_address_of_a_direct_peer_is_a_change_too() -> None:
    tally = Tally()
    assert [tally.add(r) for r in (direct(1, 1.0), direct(2, 1.0), direct(3, 1.0, "203.0.113.5:9"), lost(4))] == [
        *(False, False, True, False)
    ]


def test_a_peers_name_is_neither_markup_nor_command(answering: Answer) -> None:
    to = {"to": {**TO["to"], "name": "[red]\x1b[2Jx"}}
    done = ping(answering("ping", [to, direct(1, 1.0)]))
    assert "pinging [red]?[2Jx (10.77.0.6)" in done.stdout
