"""Traffic is back within 3 s where a router's own words make a path: a mapping by UPnP that is lost, left and found."""

import time

import pytest
from tests.lab.overlay import Overlay, eventually
from tests.lab.test_survival import BACK_S, longest_silence_s, seconds_until_reply

from ntvl.lab.program import Program
from ntvl.lab.service import PUBLIC_PREFIX, start_mapper
from ntvl.lab.stage import Stage
from ntvl.lab.topology import INTERNET, Host, Network, SiteBuilder, Topology
from ntvl.nat import KINDS
from ntvl.proto.path import DEAD_AFTER_S

pytestmark = [
    pytest.mark.lab,
    pytest.mark.needs_root,
    pytest.mark.needs_program("ip", "nft", "conntrack", "miniupnpd"),
    pytest.mark.timeout(90),
]

MAPPED_S = 10.0
"""Within so long a lost mapping is there again: long before UPnP's next renewal by itself."""


def build_topology() -> Topology:
    """Returns two nodes behind random ports, of which one may be plugged in elsewhere too."""
    builder = SiteBuilder(Network(INTERNET, PUBLIC_PREFIX), [Host("supernode", (INTERNET,))])
    home, other, away = (
        builder.add(site, KINDS[kind])
        for site, kind in (("home", "apdm-random"), ("b", "apdm-random"), ("away", "eim-apdf"))
    )
    builder.hosts += [Host("a", (home, away)), Host("b", (other,))]
    return builder.topology()


def reboot(stage: Stage, daemon: Program) -> Program:
    """Has the router at home forget its flows and its mappings; returns what maps ports from then on."""
    daemon.kill()
    (stage.directory / "home-router.miniupnpd.leases").unlink()
    stage.reboot_router("home-router")
    return start_mapper(stage, "home-router", "upnp")


def is_mapped(stage: Stage) -> bool:
    return "dnat" in stage.run("home-router", ["nft", "list chain inet router mini_pre"]).stdout


def test_a_mapping_by_upnp_that_a_reboot_or_a_move_loses_costs_seconds() -> None:
    with Stage(build_topology()) as stage:
        daemon = start_mapper(stage, "home-router", "upnp")
        stage.run("a", ["ip", "link", "set", "eth1", "down"])
        overlay = Overlay(stage)
        overlay.join("a", "b")
        overlay.wait_path("a", "b", "direct", 15.0)
        gateways = {
            place: stage.topology.interfaces(f"{place}-router")[1].ipv4.split("/")[0] for place in ("home", "away")
        }
        echo = overlay.echo("a", "b", 0.05)
        time.sleep(0.5)

        def check(what: str, at: float) -> None:
            took_s = seconds_until_reply(echo, at, 15.0)
            print(f"{what}: traffic again after {took_s:.1f} s, longest silence {longest_silence_s(echo):.1f} s")
            assert took_s < BACK_S

        daemon = reboot(stage, daemon)
        assert not is_mapped(stage)
        at = time.monotonic()
        check("reboot", at)
        eventually(lambda: is_mapped(stage), MAPPED_S, "mapped again after a reboot")
        time.sleep(max(0.0, at + DEAD_AFTER_S + 1.0 - time.monotonic()))
        paths = overlay.path("a", "b"), overlay.path("b", "a")
        assert paths == ("direct", "direct"), "by the mapping, else it would be given up by now"
        for place, device, other in (("away", "eth1", "eth0"), ("home", "eth0", "eth1")):
            if place == "home":
                reboot(stage, daemon)
            script = f"link set {device} up\nlink set {other} down\nroute replace default via {gateways[place]}\n"
            stage.run("a", ["ip", "-batch", "-"], stdin=script)
            check(f"moved {place}", time.monotonic())
            time.sleep(0.5)
        eventually(lambda: is_mapped(stage), MAPPED_S, "mapped again at home")
        silence_s = longest_silence_s(echo)
        echo.stop()
        assert silence_s < BACK_S
