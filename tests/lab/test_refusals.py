"""What does not work is said in words, soon, and costs nobody else anything."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.overlay import Overlay, eventually

from ntvl.lab.member import NTVL, Member
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]


@pytest.fixture(scope="module")
def overlay() -> Iterator[Overlay]:
    with Stage(build_sites({"a": KINDS["eim-apdf"], "b": KINDS["eim-apdf"], "c": KINDS["open"]})) as stage:
        built = Overlay(stage)
        built.join("a", "b")
        yield built


def notices(member: Member, level: str) -> list[str]:
    found = [event.fields for event in member.program.events if event.fields.get("event") == "notice"]
    return [f"{fields['code']}: {fields['text']}" for fields in found if fields["level"] == level]


def test_a_wrong_secret_is_said_within_five_seconds_and_the_node_keeps_trying_less_often(
    overlay: Overlay, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not the secret\n")
    wrong.chmod(0o600)
    stranger = Member(overlay.stage, "c", community="lab", supernode=overlay.urls[0], secret_file=wrong)
    stranger.program.wait_event(lambda fields: fields.get("event") == "started", 15.0)
    took_s = eventually(lambda: notices(stranger, "error"), 5.0, "a sentence about the secret")
    print(f"said after {took_s:.1f} s: {notices(stranger, 'error')}")
    assert any("community-key" in said and "secret" in said for said in notices(stranger, "error"))
    time.sleep(2.0)
    assert stranger.program.is_running, "it keeps trying"
    assert stranger.address == ""
    assert len(notices(stranger, "error")) <= 2, "it does not repeat itself"
    names = [peer["name"] for peer in overlay.members["a"].status()["communities"][0]["peers"]]
    assert names == ["b"], "nobody sees the stranger"
    assert stranger.program.stop() == 0


def test_the_secret_is_on_no_command_line_and_in_no_log_or_status(overlay: Overlay) -> None:
    secret = overlay.secret.read_text().strip()
    member = overlay.members["a"]
    for pid in (member.program.pid, *children(member.program.pid)):
        assert secret not in Path(f"/proc/{pid}/cmdline").read_text()
    assert secret not in member.program.log_file.read_text()
    assert secret not in str(member.status())


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--device", "eth0"), "eth0"),
        (("--subnet", "203.0.113.0/24"), "203.0.113.0/24"),
        (("--address", "static", "10.1.1.1/16"), "10.77.0.0/16"),
    ],
)
def test_a_node_that_cannot_start_says_one_sentence(overlay: Overlay, arguments: tuple[str, ...], says: str) -> None:
    member = Member(
        overlay.stage,
        "c",
        community="lab",
        supernode=overlay.urls[0],
        secret_file=overlay.secret,
        arguments=arguments,
    )
    assert member.program.wait(20.0) != 0
    said = [line for line in member.program.log if not line.startswith("{")]
    assert len(said) == 1
    assert says in said[0]


def test_a_second_program_on_the_same_state_is_refused(overlay: Overlay) -> None:
    again = Member(overlay.stage, "a", community="lab", supernode=overlay.urls[0], secret_file=overlay.secret)
    assert again.program.wait(20.0) != 0
    assert "Traceback" not in "\n".join(again.program.log)
    assert overlay.members["a"].program.is_running


def test_a_supernode_on_a_port_in_use_says_so(overlay: Overlay, tmp_path: Path) -> None:
    second = overlay.stage.start("supernode", [*NTVL, "supernode", "--state", str(tmp_path / "state")])
    assert second.wait(20.0) != 0
    assert "1971" in "\n".join(second.log)
    assert "Traceback" not in "\n".join(second.log)


def test_status_without_a_node_says_so(overlay: Overlay, tmp_path: Path) -> None:
    done = overlay.stage.run("c", [*NTVL, "status", "--socket", str(tmp_path / "none.sock")], check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "none.sock" in done.stderr
