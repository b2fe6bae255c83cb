"""What happens to networks happens to these: nodes go on without a restart."""

import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from tests.lab.overlay import Overlay, eventually

from ntvl.lab.echo import Echo
from ntvl.lab.member import start_supernode
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS

pytestmark = [
    pytest.mark.lab,
    pytest.mark.needs_root,
    pytest.mark.needs_program("ip", "nft", "conntrack"),
    pytest.mark.timeout(150),
]

HOME = KINDS["eim-apdf"]
RANDOM = KINDS["apdm-random"]
KEEPALIVE_S = 20.0
BACK_S = 3.0
"""Within so long of connectivity traffic flows again."""


@pytest.fixture
def overlay() -> Iterator[Overlay]:
    """Has a and b directly connected, c behind the relay."""
    with Stage(build_sites({"a": HOME, "b": KINDS["double"], "c": RANDOM})) as stage:
        built = Overlay(stage)
        built.join("a", "b", "c", relayed=("c",))
        built.wait_path("a", "b", "direct")
        yield built


def seconds_until_reply(echo: Echo, since: float, timeout_s: float) -> float:
    """Returns how long after `since` the first ping was sent that has a reply."""

    def answered() -> list[float]:
        report = echo.report
        return [report.sent[sequence] for sequence in list(report.answered) if report.sent[sequence] > since]

    eventually(answered, timeout_s, "a reply again")
    return min(answered()) - since


def longest_silence_s(echo: Echo) -> float:
    return max(later - earlier for earlier, later in pairwise(sorted(echo.report.answered.values())))


def test_direct_peers_talk_on_while_the_supernode_restarts_and_the_relay_comes_back(overlay: Overlay) -> None:
    direct, relayed = overlay.echo("a", "b", 0.05), overlay.echo("a", "c", 0.05)
    time.sleep(0.5)
    supernode = overlay.supernodes["supernode"]
    assert supernode.stop() == 0
    time.sleep(2.0)
    start_supernode(overlay.stage, "supernode")
    back = time.monotonic()
    took_s = seconds_until_reply(relayed, back, KEEPALIVE_S + 5)
    report = direct.stop()
    relayed.stop()
    print(f"relay again after {took_s:.1f} s")
    assert took_s < KEEPALIVE_S
    assert report.lost == 0
    assert overlay.path("a", "b") == "direct"
    assert len(report.sent) > 40


def test_addresses_are_the_same_after_a_supernode_and_its_nodes_start_again(overlay: Overlay) -> None:
    before = {machine: overlay.address(machine) for machine in overlay.members}
    for member in overlay.members.values():
        assert member.program.stop() == 0
    assert overlay.supernodes["supernode"].stop() == 0
    start_supernode(overlay.stage, "supernode")
    for member in reversed(overlay.members.values()):
        member.restart()
    for member in overlay.members.values():
        member.wait_address(20.0)
    assert {machine: overlay.address(machine) for machine in overlay.members} == before
    assert len(set(before.values())) == len(before)


def test_a_rebooted_nat_with_a_new_address_costs_seconds(overlay: Overlay) -> None:
    echo = overlay.echo("a", "b", 0.05)
    time.sleep(0.5)
    overlay.stage.reboot_router("b-router-2", wan="203.0.113.150/24")
    at = time.monotonic()
    took_s = seconds_until_reply(echo, at, 30.0)
    print(f"traffic again after {took_s:.1f} s, longest silence {longest_silence_s(echo):.1f} s")
    overlay.wait_path("a", "b", "direct", 30.0)
    remote = overlay.members["a"].path_to("b").remote
    silence_s = longest_silence_s(echo)
    echo.stop()
    assert took_s < BACK_S
    assert silence_s < BACK_S
    assert "203.0.113.150" in remote


def test_an_address_that_changes_costs_seconds(overlay: Overlay) -> None:
    echo = overlay.echo("a", "b", 0.05)
    time.sleep(0.5)
    script = "address delete 192.168.1.10/24 dev eth0\naddress add 192.168.1.77/24 dev eth0\n"
    script += "route replace default via 192.168.1.1\n"
    overlay.stage.run("a", ["ip", "-batch", "-"], stdin=script)
    at = time.monotonic()
    took_s = seconds_until_reply(echo, at, 30.0)
    print(f"traffic again after {took_s:.1f} s, longest silence {longest_silence_s(echo):.1f} s")
    overlay.wait_path("a", "b", "direct", 30.0)
    silence_s = longest_silence_s(echo)
    echo.stop()
    assert took_s < BACK_S
    assert silence_s < BACK_S


def test_a_link_that_moves_to_another_network_and_a_route_that_moves_back_cost_seconds() -> None:
    built = build_sites({"a": HOME, "b": HOME, "other": HOME})
    hosts = tuple(replace(host, networks=("b-lan", "other-lan")) if host.name == "b" else host for host in built.hosts)
    with Stage(replace(built, hosts=hosts)) as stage:
        gateways = {
            router: stage.topology.interfaces(router)[1].ipv4.split("/")[0] for router in ("b-router", "other-router")
        }
        public = {router: stage.address(router) for router in gateways}
        stage.run("b", ["ip", "link", "set", "eth1", "down"])
        overlay = Overlay(stage)
        overlay.join("a", "b")
        overlay.wait_path("a", "b", "direct")
        echo = overlay.echo("a", "b", 0.05)
        time.sleep(0.5)
        for what, script, router in (
            (
                "link",
                f"link set eth1 up\nlink set eth0 down\nroute replace default via {gateways['other-router']}\n",
                "other-router",
            ),
            ("route", f"link set eth0 up\nroute replace default via {gateways['b-router']}\n", "b-router"),
        ):
            stage.run("b", ["ip", "-batch", "-"], stdin=script)
            at = time.monotonic()
            took_s = seconds_until_reply(echo, at, 15.0)
            print(
                f"the {what} moved: traffic again after {took_s:.1f} s, longest silence {longest_silence_s(echo):.1f} s"
            )
            assert took_s < BACK_S
            eventually(
                lambda router=router: public[router] in str(overlay.members["a"].path_to("b").remote),
                20.0,
                f"direct by {router}",
            )
        silence_s = longest_silence_s(echo)
        echo.stop()
        assert silence_s < BACK_S


def test_a_direct_path_that_goes_silent_falls_back_to_the_relay(overlay: Overlay) -> None:
    echo = overlay.echo("a", "b", 0.05)
    time.sleep(0.5)
    drop = f"add rule inet router forward ip daddr {overlay.stage.address('b-router-2')} udp dport != 1971 drop"
    overlay.stage.run("a-router", ["nft", "insert" + drop.removeprefix("add")])
    at = time.monotonic()
    eventually(lambda: overlay.path("a", "b") == "relay", 15.0, "a on the relay")
    took_s = seconds_until_reply(echo, at, 15.0)
    silence_s = longest_silence_s(echo)
    echo.stop()
    print(f"reply again after {took_s:.1f} s, longest silence {silence_s:.1f} s")
    assert took_s < 8.0


def test_a_peer_that_starts_again_with_new_state_is_found_again(overlay: Overlay) -> None:
    member = overlay.members["b"]
    assert member.program.stop() == 0
    shutil.rmtree(member.state)
    member.restart()
    member.wait_address(20.0)
    member.wait_peers(["a", "c"])
    overlay.wait_path("a", "b", "direct", 15.0)
    assert overlay.pings("a", "b").lost == 0


def test_a_killed_node_that_starts_again_is_found_again(overlay: Overlay) -> None:
    member = overlay.members["b"]
    member.program.kill()
    member.restart()
    assert member.wait_address(20.0)
    echo = overlay.echo("a", "b", 0.05)
    took_s = seconds_until_reply(echo, time.monotonic(), 15.0)
    echo.stop()
    print(f"traffic again after {took_s:.1f} s")
    assert took_s < 8.0


def test_a_second_supernode_takes_over() -> None:
    sites = {"a": HOME, "b": HOME, "c": RANDOM}
    with Stage(build_sites(sites, publics=("first", "second"))) as stage:
        overlay = Overlay(stage, "first", "second")
        overlay.join("a", "c", relayed=("c",))
        overlay.wait_path("a", "c", "relay")
        echo = overlay.echo("a", "c", 0.05)
        time.sleep(0.5)
        overlay.supernodes["first"].kill()  # its engine, a process of its own, relays no more either
        at = time.monotonic()
        took_s = seconds_until_reply(echo, at, 60.0)
        print(f"relayed by the second supernode after {took_s:.1f} s")
        assert took_s < KEEPALIVE_S + 10
        echo.stop()
        assert overlay.pings("a", "c").lost == 0
        overlay.join("b")
        assert overlay.pings("b", "a").answered, "who joins now joins at the second"


def test_a_signal_makes_a_node_leave_cleanly(overlay: Overlay) -> None:
    for machine, number in (("b", signal.SIGTERM), ("c", signal.SIGINT)):
        began = time.monotonic()
        assert overlay.members[machine].program.stop(number) == 0
        assert time.monotonic() - began < 3.0
        assert "ntvl0" not in overlay.stage.run(machine, ["ip", "-br", "link"]).stdout
        overlay.members["a"].program.wait_event(
            lambda fields, name=machine: fields.get("event") == "peer-gone" and fields["name"] == name, 5.0
        )
    assert overlay.members["a"].status()["communities"][0]["peers"] == []
