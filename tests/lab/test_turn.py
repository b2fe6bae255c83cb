"""Two nodes that no technique brings together reach each other through coturn when the supernode is gone."""

import json
import shutil
import time
from collections.abc import Iterator

import pytest
from tests.lab.overlay import Overlay, eventually
from tests.lab.test_survival import BACK_S, seconds_until_reply

from ntvl.lab.echo import Echo
from ntvl.lab.member import NTVL, Member
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS

pytestmark = [
    pytest.mark.lab,
    pytest.mark.needs_root,
    pytest.mark.needs_program("ip", "nft", "conntrack", "turnserver"),
    pytest.mark.timeout(120),
]

SITES = {"left": KINDS["apdm-random"], "right": KINDS["apdm-random"], "turn": KINDS["open"]}
USER, PASSWORD = "alice", "correct horse"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(build_sites(SITES)) as built:
        yield built


def start_coturn(stage: Stage) -> str:
    """Returns the address of a TURN server of the distribution."""
    program = shutil.which("turnserver", path="/usr/bin:/usr/local/bin")
    assert program is not None
    address, path = stage.address("turn"), stage.directory
    argv = [program, "-n", "--no-cli", "--no-tls", "--no-dtls", "--lt-cred-mech", "--realm", "example.org"]
    argv += ["--user", f"{USER}:{PASSWORD}", "--listening-ip", address, "--relay-ip", address, "--log-file", "stdout"]
    argv += ["--pidfile", str(path / "turn.pid"), "--userdb", str(path / "turn.db"), "-v"]
    stage.start("turn", argv, name="coturn")
    eventually(lambda: ":3478" in stage.run("turn", ["ss", "-lun"]).stdout, 5.0, "coturn to listen")
    return address


def allocations(member: Member) -> list[str]:
    """Returns what the node has told of addresses that its server lends it, oldest first."""
    events = [event.fields for event in member.program.events]
    return [fields["text"] for fields in events if fields.get("code") == "turn-relay"]


def reboot(stage: Stage, echo: Echo, router: str) -> None:
    """Has a router forget all flows; what comes from inside has other ports from then on."""
    stage.reboot_router(router)
    took_s = seconds_until_reply(echo, time.monotonic(), 15.0)
    print(f"{router} rebooted: traffic again after {took_s:.2f} s")
    assert took_s < BACK_S


def test_data_goes_on_through_coturn_when_the_supernode_is_stopped(stage: Stage) -> None:
    server = start_coturn(stage)
    credentials = stage.directory / "turn.secret"
    credentials.write_text(f"{USER}:{PASSWORD}\n")
    credentials.chmod(0o600)
    overlay = Overlay(stage)
    overlay.join("left", ready=False, arguments=("--turn", f"turn:{server}", "--turn-credentials", str(credentials)))
    overlay.join("right")
    left, right = overlay.members["left"], overlay.members["right"]
    left.program.wait_event(lambda fields: fields.get("code") == "turn-relay", 10.0, "have a relay")
    left.wait_address()
    echo = overlay.echo("left", "right")
    try:
        eventually(lambda: overlay.path("left", "right") == "relay", 10.0, "a path by the supernode")
        reboot(stage, echo, "left-router")
        eventually(lambda: len(allocations(left)) == 2, 10.0, "an allocation for the new mapping of the router")
        time.sleep(2.0)
        assert {overlay.path("left", "right"), overlay.path("right", "left")} == {"relay"}
        overlay.supernodes["supernode"].stop()
        took_s = eventually(
            lambda: {overlay.path("left", "right"), overlay.path("right", "left")} == {"turn"}, 15.0, "paths by TURN"
        )
        print(f"by TURN after {took_s:.2f} s")
        time.sleep(1.0)
        reboot(stage, echo, "right-router")
        time.sleep(1.0)
    finally:
        echo.stop()

    for member, other in ((left, "right"), (right, "left")):
        (peer,) = (p for c in member.status()["communities"] for p in c["peers"])
        assert (peer["name"], peer["path"], peer["technique"], peer["via"]) == (other, "turn", "turn", None)
    assert server in right.status()["communities"][0]["peers"][0]["remote"]
    assert overlay.pings("left", "right", 1.0).lost == 0
    said = stage.run("left", [*NTVL, "ping", "-c", "2", "-i", "0.2", "--json", "--socket", str(left.socket), "right"])
    assert [json.loads(line).get("path") for line in said.stdout.splitlines()][1:-1] == ["turn", "turn"]
    said = stage.run("right", [*NTVL, "why", "--json", "--socket", str(right.socket), "left"])
    assert json.loads(said.stdout)["path"] == "turn"
    assert left.program.stop() == 0
    assert right.program.stop() == 0
