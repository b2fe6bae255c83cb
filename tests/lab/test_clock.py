"""Wall clocks that are wrong, or step, under real programs: said in words, and no session ends by it.

No namespace has a wall clock of its own, so these programs run with a `time.time` that adds what a file says.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.lab.overlay import Overlay, eventually

from ntvl.lab.member import Member
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

DAY_S = 86400
SHIFTED = """\
import sys, time
real, file = time.time, sys.argv.pop(1)
def shifted():
    with open(file) as off:
        return real() + float(off.read())
time.time = shifted
from ntvl.cli import main
main()
"""

Set = Callable[[float], None]


@pytest.fixture
def overlay() -> Iterator[Overlay]:
    with Stage(build_sites({"a": KINDS["eim-apdf"], "b": KINDS["open"], "c": KINDS["eim-apdf"]})) as stage:
        yield Overlay(stage)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Set:
    """Has nodes that start from now on run with a clock that is off by as many seconds as it is called with."""
    file = tmp_path / "off"
    file.write_text("0")
    monkeypatch.setattr("ntvl.lab.member.NTVL", (sys.executable, "-c", SHIFTED, str(file)))

    def set_off(seconds: float) -> None:
        beside = tmp_path / "new"
        beside.write_text(str(seconds))
        beside.rename(file)

    return set_off


def notices(member: Member) -> dict[str, str]:
    found = [event.fields for event in member.program.events if event.fields.get("event") == "notice"]
    return {fields["code"]: fields["text"] for fields in found}


def supernode_state(member: Member) -> str:
    return str(member.status()["supernodes"][0]["state"])


def test_a_clock_that_is_a_day_behind_is_warned_of_and_works(
    overlay: Overlay, clock: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as right:
        right.undo()
        overlay.join("a")
    clock(-DAY_S)
    overlay.join("c")
    assert "24 hours behind" in notices(overlay.members["c"])["clock"]
    assert supernode_state(overlay.members["c"]) == "registered"
    assert overlay.pings("a", "c").answered


@pytest.mark.parametrize(
    ("off_s", "code"), [(DAY_S, "certificate-not-yet-valid"), (-30 * DAY_S, "certificate-expired")]
)
def test_a_clock_that_is_too_far_off_is_a_named_state_and_costs_the_others_nothing(
    overlay: Overlay, clock: Set, monkeypatch: pytest.MonkeyPatch, off_s: float, code: str
) -> None:
    with monkeypatch.context() as right:
        right.undo()
        overlay.join("a", "b")
    echo = overlay.echo("a", "b", 0.05)
    clock(off_s)
    overlay.join("c", ready=False)
    wrong = overlay.members["c"]
    eventually(lambda: {code, "clock"} <= set(notices(wrong)), 20.0, f"{code} and the clock in words")
    assert ("ahead of" if off_s > 0 else "behind") in notices(wrong)["clock"]
    assert supernode_state(wrong) == "refused"
    assert wrong.program.is_running
    assert wrong.address == ""
    clock(0.0)
    wrong.wait_address(100.0)
    assert supernode_state(wrong) == "registered"
    assert echo.stop().lost == 0


def test_a_clock_that_steps_by_a_day_disturbs_no_running_session(overlay: Overlay, clock: Set) -> None:
    overlay.join("a", "b")
    overlay.wait_path("a", "b", "direct")
    for off_s in (DAY_S, -DAY_S):
        clock(off_s)
        assert overlay.pings("a", "b", 3.0).lost == 0
        assert overlay.path("a", "b") == "direct"
        assert all(member.program.is_running for member in overlay.members.values())
