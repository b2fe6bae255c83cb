import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.account import STATUS
from typer.testing import CliRunner

from ntvl.cli import build_app
from ntvl.cli.show import console, socket_path
from ntvl.cli.status import _ENDLESS, build_view
from ntvl.errors import UsageError

Answer = Callable[[str, list[dict[str, Any]]], Path]
runner = CliRunner()


def shown(status: dict[str, Any], width: int = 160) -> list[str]:
    screen = console()
    screen.width = width
    with screen.capture() as capture:
        screen.print(build_view(status, width))
    return [line.rstrip() for line in capture.get().splitlines()]


def row(lines: list[str], start: str) -> list[str]:
    (line,) = [line for line in lines if line.startswith(start)]
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_json_is_the_nodes_own_account(answering: Answer) -> None:
    path = answering("status", [STATUS])
    done = runner.invoke(build_app(["status"]), ["status", "--json", "--socket", str(path)])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == STATUS


def test_the_socket_may_come_from_the_environment(answering: Answer) -> None:
    path = answering("status", [STATUS])
    done = runner.invoke(build_app(["status"]), ["status"], env={"NTVL_SOCKET": str(path)})
    assert done.exit_code == 0
    assert "desk" in done.stdout


def test_without_a_node_the_sentence_says_what_to_do(tmp_path: Path) -> None:
    done = runner.invoke(build_app(["status"]), ["status", "--socket", str(tmp_path / "no")])
    assert isinstance(done.exception, UsageError)
    assert "ntvl node" in str(done.exception)


def test_the_tables_say_what_a_person_asks() -> None:
    lines = shown(STATUS)
    assert lines[0] == "desk  Abcdefgh  up 1h 2m  ntvl 0.1.0  engine python (offloads: csum, tso4)"
    assert "home  ntvl0  10.77.0.5/16, fd00:1::5/64  mtu 1360  02:00:00:00:00:01" in lines
    assert row(lines, "zoe") == ["zoe", "ZZZZZZZZ", "10.77.0.9", "none", *("-",) * 4, "0 B", "0 B", "-"]
    assert row(lines, "-   ") == [
        *("-", "RRRRRRRR", "-", "relay", "hub.example:1971", "-", "-", "45.7 ms", "2.00 KiB", "1.00 GiB", "1m 1s")
    ]
    assert row(lines, "bob")[3:7] == ["direct", "simultaneous-udp", "easy", "203.0.113.5:4242"]
    assert row(lines, "hub.example") == ["hub.example:1971", "registered", "udp", "12.3 ms", "198.51.100.7:4000"]
    assert row(lines, "other.example") == ["other.example:1971", "unreachable", "-", "-", "-"]
    assert row(lines, "1,234") == ["1,234", "mac-claimed", "a frame that claims another member's MAC"]


def test_one_line_says_where_the_port_is_mapped_or_how_each_protocol_fares() -> None:
    assert shown(STATUS)[1] == "port mapped at 203.0.113.9:4000 by PCP at 192.168.1.1"
    found = copy.deepcopy(STATUS)
    found["port_mapping"]["mapped"] = []
    found["port_mapping"]["outcomes"][0]["state"] = "absent"
    assert shown(found)[1] == "port not mapped: PCP absent, UPnP stopped"
    found["port_mapping"]["outcomes"] = []
    assert shown(found)[1] == "port not mapped: no gateway"
    found["port_mapping"]["enabled"] = False
    assert shown(found)[1] == "port mapping off"


def test_one_line_says_what_the_turn_server_lends_and_none_comes_without_a_server() -> None:
    found = copy.deepcopy(STATUS)
    assert "relayed at 192.0.2.1:50000 by turn:192.0.2.1:3478" in shown(found)
    found["turn"] |= {"relayed": None, "reason": "the server does not answer"}
    assert "not relayed by turn:192.0.2.1:3478: the server does not answer" in shown(found)
    found["turn"] = {"server": None, "relayed": None, "reason": None}
    assert not [line for line in shown(found) if "relayed " in line and "turn:" in line]


def test_the_best_reached_peers_come_first_and_the_most_frequent_drop() -> None:
    text = "\n".join(shown(STATUS))
    assert text.index("bob") < text.index("RRRRRRRR") < text.index("zoe")
    assert text.index("mac-claimed") < text.index("replay")


@pytest.mark.parametrize(
    ("width", "missing"),
    [(160, set()), (115, {"handshake"}), (90, {"handshake", "sent", "received", "key"})],
)
def test_a_narrow_terminal_gets_fewer_columns_and_whole_addresses(width: int, missing: set[str]) -> None:
    lines = shown(STATUS, width)
    (head,) = [line for line in lines if line.startswith("peer")]
    assert {"handshake", "sent", "received", "key"} - set(head.split()) == missing
    assert all(len(line) <= width for line in lines[lines.index(head) :][:5])
    assert any("203.0.113.5:4242" in line for line in lines)


def test_a_dumb_terminal_gets_fewer_columns_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert _ENDLESS.width == 1 << 16


@pytest.mark.parametrize("width", [80, 64])
def test_path_technique_and_nat_are_shown_where_a_terminal_is_narrow(width: int) -> None:
    lines = shown(STATUS, width)
    (head,) = [line for line in lines if line.startswith("peer")]
    assert head.split() == ["peer", "address", "path", "by", "NAT", "round", "trip"]
    assert row(lines, "bob") == ["bob?[31m", "10.77.0.6", "direct", "simultaneous-udp", "easy", "0.91 ms"]
    assert row(lines, "-   ") == ["-", "-", "relay", "hub.example:1971", "-", "45.7 ms"]
    assert all(len(line) <= width for line in lines[lines.index(head) :][:5])


def test_without_a_node_the_supernode_of_this_machine_answers(
    answering: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NTVL_SOCKET", str(tmp_path / "no-node"))
    monkeypatch.setenv("NTVL_STATE", str(tmp_path))
    assert socket_path(None, or_supernode=True) == tmp_path / "no-node"
    (tmp_path / "supernode.sock").touch()
    assert socket_path(None, or_supernode=True) == tmp_path / "supernode.sock"
    assert socket_path(None) == tmp_path / "no-node"
    assert socket_path(tmp_path / "given", or_supernode=True) == tmp_path / "given"


def test_a_peers_name_cannot_command_the_terminal() -> None:
    assert "bob?[31m" in "\n".join(shown(STATUS))
    assert "\x1b[31m" not in "\n".join(shown(STATUS))


@pytest.mark.parametrize("name", ["[bold]x", "[/]", ":smile:"])
def test_a_peers_name_is_no_markup(name: str) -> None:
    status = copy.deepcopy(STATUS)
    status["communities"][0]["peers"][0]["name"] = name
    status["node"]["name"] = name
    assert sum(name in line for line in shown(status)) == 2


def test_a_lonely_node_is_told_so_and_nothing_dropped_is_not_shown() -> None:
    status = copy.deepcopy(STATUS)
    status["communities"][0] |= {"peers": [], "addresses": []}
    status["drops"] = {}
    lines = shown(status)
    assert "  nobody else is here yet" in lines
    assert any("no address yet" in line for line in lines)
    assert "dropped" not in lines


def test_a_survived_bug_is_shown() -> None:
    status = copy.deepcopy(STATUS)
    status["faults"] = {"node.py:7 KeyError": 3}
    assert any("please report" in line and "node.py:7 KeyError (3 times)" in line for line in shown(status))


def test_a_supernodes_account_has_tables_of_its_own(answering: Answer) -> None:
    member = {
        "name": "bob",
        "id": "B" * 43,
        "addresses": ["10.77.0.6/16"],
        "observed": "203.0.113.5:4242",
        "silent_s": 12.5,
        "relayed_bytes": 4096,
    }
    account = {
        "supernode": {"key": "K" * 43, "version": "0.1.0", "port": 1971, "uptime_s": 61.0},
        "engine": {"name": "python"},
        "members": 1,
        "sessions": 2,
        "communities": [{"name": "home", "id": "C" * 43, "members": [member]}],
        "relayed_packets": 1234,
        "relayed_bytes": 1 << 20,
        "drops": {"rate": 3},
        "faults": {},
    }
    lines = shown(account)
    assert lines[0] == f"supernode  {'K' * 43}  port 1971  up 1m 1s  ntvl 0.1.0  engine python"
    assert lines[1] == "1 member, 2 sessions; relayed 1.00 MiB in 1,234 packets"
    assert row(lines, "bob") == ["bob", "10.77.0.6", "203.0.113.5:4242", "12s", "4.00 KiB"]
    assert row(lines, "    3") == ["3", "rate", "a rate limit"]


@pytest.mark.parametrize("punch", ["all", "known", "off"])
def test_what_is_not_tried_is_said(punch: str) -> None:
    status = copy.deepcopy(STATUS)
    status["node"]["punch"] = punch
    said = [line for line in shown(status) if line.startswith("--punch")]
    assert [line.split(":")[0] for line in said] == ([] if punch == "all" else [f"--punch {punch}"])
