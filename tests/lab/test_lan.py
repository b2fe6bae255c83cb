"""Where the way is short: on one LAN, by IPv6 past NATs that stop IPv4, and where two homes have one prefix."""

import pytest
from tests.lab.overlay import Overlay

from ntvl.lab.stage import Stage
from ntvl.lab.topology import Host, Topology, build_sites
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

RANDOM = KINDS["apdm-random"]


def test_two_on_one_lan_talk_over_the_lan_whatever_their_router_is() -> None:
    base = build_sites({"a": RANDOM})
    topology = Topology(base.networks, (*base.hosts, Host("b", ("a-lan",))), base.routers)
    with Stage(topology) as stage:
        overlay = Overlay(stage)
        overlay.join("a", "b")
        overlay.wait_path("a", "b", "direct")
        for one, other in (("a", "b"), ("b", "a")):
            remote = overlay.members[one].path_to(other).remote
            assert remote.startswith(f"{stage.address(other)}:")
        assert overlay.pings("a", "b").lost == 0


def test_hard_nats_are_passed_by_ipv6_where_both_have_it() -> None:
    with Stage(build_sites({"a": RANDOM, "b": RANDOM}, ipv6=True)) as stage:
        overlay = Overlay(stage)
        overlay.join("a", "b")
        overlay.wait_path("a", "b", "direct")
        assert overlay.members["a"].path_to("b").remote.startswith(f"[{stage.address('b', ipv6=True)}]:")
        assert overlay.pings("a", "b").lost == 0


def test_two_homes_with_one_private_prefix_are_direct_over_the_internet() -> None:
    with Stage(build_sites({"a": KINDS["eim-apdf"], "b": KINDS["eim-apdf"]}, same_lan=True)) as stage:
        overlay = Overlay(stage)
        assert stage.address("a") == stage.address("b")
        overlay.join("a", "b")
        overlay.wait_path("a", "b", "direct")
        assert overlay.members["a"].path_to("b").remote.startswith(f"{stage.address('b-router')}:")
        assert overlay.pings("a", "b").lost == 0
