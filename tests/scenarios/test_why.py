"""What `ntvl why` prints of whole nodes: the NATs are simulated, the paragraph is the one that a person reads."""

from dataclasses import replace
from typing import Any

import pytest

from ntvl.cli.show import console
from ntvl.cli.why import build_view, paragraph
from ntvl.nat import KINDS, NatBehaviour, Passage
from ntvl.proto.events import WhyReply
from ntvl.sim.net import Net
from ntvl.sim.node import SimNode
from ntvl.wire.control import Candidate, Nat, Record, Records

NAT_KNOWN_S = 8.0
(RANDOM,) = KINDS["apdm-random"]


def why(net: Net, asking: SimNode, peer: SimNode) -> dict[str, Any]:
    """Asks as the control socket does."""
    number = asking.runner.call(asking.machine.explainer.ask, "home", peer.key.public)  # type: ignore[union-attr]
    net.run(0.5)
    reply = next((each for each in asking.said(WhyReply) if each.id == number), None)
    found = asking.machine.explainer.explain("home", peer.key.public, reply, asking.host.now)
    assert found is not None
    return found


def pair(left: Any = "eim-apdf", right: Any = "eim-apdf", **options: Any) -> tuple[Net, SimNode, SimNode]:
    """Returns two nodes whose NATs are known."""
    net = Net(seed=5)
    net.supernode()
    net.supernode()
    laptop, office = net.node("laptop", behind=left), net.node("office", behind=right, **options)
    net.join()
    net.run(NAT_KNOWN_S)
    return net, laptop, office


def use(net: Net, a: SimNode, b: SimNode, seconds: int) -> None:
    for _ in range(seconds):
        net.send(a, b, b"x")
        net.run(1.0)


def shown(found: dict[str, Any], width: int = 80) -> list[str]:
    screen = console()
    screen.width = width
    with screen.capture() as capture:
        screen.print(build_view(found), width=width)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_two_homes_are_direct_and_it_says_by_what() -> None:
    net, laptop, office = pair()
    use(net, laptop, office, 8)
    found = why(net, laptop, office)
    assert paragraph(found) == (
        "office is reached directly at 198.18.0.13:48024, by simultaneous-udp: both ends sent at one moment, and each "
        "router let the other's packets in. It has been so for 8 seconds, with a round trip of 40.8 ms."
    )
    (rung,) = found["ladder"]
    assert rung["local"]["answered"] == "srflx 198.18.0.13:48024"
    assert rung["remote"]["answered"].endswith(" 198.18.0.12:57429")
    assert laptop.peers()[found["id"]]["technique"] == "simultaneous-udp"


def test_two_random_nats_are_relayed_and_it_says_what_would_help() -> None:
    net, laptop, office = pair("apdm-random", "apdm-random")
    use(net, laptop, office, 8)
    lines = shown(why(net, laptop, office))
    assert lines[:5] == [
        "office (10.77.82.98) in home",
        "",
        "Both routers pick random ports, so neither end knows where to send to. Turn on",
        "UPnP, NAT-PMP or PCP at either router, forward a UDP port to either node, or",
        "give both IPv6. Until then it is relayed by supernode1.example:1971, 80.8 ms.",
    ]
    assert lines[5].startswith("The next attempt comes in ")
    assert [line.split()[:2] for line in lines if line.startswith(("here", "office "))][1:] == [
        ["here", "random"],
        ["office", "random"],
    ]
    assert any(
        line.split()[:1] == ["simultaneous-udp"] and line.endswith("11/11                no-reply") for line in lines
    )
    assert all(len(line) <= 80 for line in lines)
    status = laptop.peers()[why(net, laptop, office)["id"]]
    assert (status["technique"], status["nat"]["remote"]["word"]) == ("relay", "random")


def test_guesses_that_met_are_told_at_both_ends() -> None:
    net, laptop, office = pair("eim-apdf", "apdm-random")
    use(net, laptop, office, 15)
    for asking, peer in ((laptop, office), (office, laptop)):
        found = why(net, asking, peer)
        assert found["cause"] == "direct"
        assert f"{peer.name} is reached directly" in paragraph(found)
        assert "by birthday: one of many guesses met the random port of a router." in paragraph(found)


CAUSES = {
    "firewall": "The routers allow a direct path, but no packet arrives either way: a firewall drops them, or a router "
    "keeps them for itself. Let UDP through at both ends, first at the computers' own firewalls; at a router that is a "
    "plain Linux box or a phone, drop what comes in unasked. Until then it is relayed by ",
    "outgoing-filtered": "The routers allow a direct path, but what is sent from this end does not arrive, while it "
    "hears the other end. Let UDP out to any address and port at the firewall or router there. Until then ",
}


@pytest.mark.parametrize(("cause", "one_way"), [("firewall", False), ("outgoing-filtered", True)])
def test_packets_that_get_lost_where_the_nats_are_easy_are_laid_to_a_firewall(cause: str, one_way: bool) -> None:
    net, laptop, office = pair()
    net.cut([laptop.host], [office.host], one_way=one_way)
    use(net, laptop, office, 6)
    ours, theirs = why(net, laptop, office), why(net, office, laptop)
    assert ours["cause"] == theirs["cause"] == cause
    assert paragraph(ours).startswith(CAUSES[cause])
    assert not one_way or "what is sent from laptop does not arrive" in paragraph(theirs)


def test_two_homes_behind_one_carrier_that_does_not_hairpin() -> None:
    net = Net(seed=5)
    net.supernode()
    net.supernode()
    carrier = net.site("eim-apdf")
    laptop, office = (net.node(n, behind=net.site("eim-apdf", outside=carrier)) for n in ("laptop", "office"))
    net.join()
    net.run(NAT_KNOWN_S)
    use(net, laptop, office, 9)
    assert paragraph(why(net, laptop, office)).startswith(
        "Both are behind the one public address 198.18.0.12, whose router does not turn packets back inside. Switch on "
        "hairpinning (NAT loopback) at that router, or bring both into one network."
    )


@pytest.mark.parametrize("hairpin", [False, True])
def test_two_homes_behind_one_carrier_with_random_ports_would_gain_nothing_by_hairpinning(hairpin: bool) -> None:
    net = Net(seed=5)
    net.supernode()
    net.supernode()
    carrier = net.site([replace(RANDOM, hairpin=hairpin)])
    laptop, office = (net.node(n, behind=net.site("eim-apdf", outside=carrier)) for n in ("laptop", "office"))
    net.join()
    net.run(NAT_KNOWN_S)
    use(net, laptop, office, 9)
    assert paragraph(why(net, laptop, office)).startswith("Both routers pick random ports, so neither end knows")


def test_two_nodes_in_one_network() -> None:
    net = Net(seed=5)
    net.supernode()
    home = net.site("eim-apdf")
    laptop, office = net.node("laptop", behind=home), net.node("office", behind=home)
    net.join()
    use(net, laptop, office, 3)
    assert "office is reached directly at 192.168.1.11:48024, by simultaneous-udp: both are in one network." in (
        paragraph(why(net, laptop, office))
    )


def test_one_end_with_ipv4_only_and_one_with_ipv6_only() -> None:
    net = Net(seed=5)
    net.supernode(ipv6=True)
    laptop, office = net.node("laptop"), net.node("office", ipv4=False, ipv6=True)
    net.join()
    net.run(NAT_KNOWN_S)
    use(net, laptop, office, 3)
    assert paragraph(why(net, laptop, office)).startswith(
        "One end has only IPv4 and the other only IPv6: there is no address that both can use. Give office IPv4, or "
        "the other end IPv6. Until then it is relayed by supernode1.example:1971, 80.0 ms."
    )


def test_a_network_that_passes_neither_udp_nor_tcp_to_peers() -> None:
    net = Net(seed=5)
    net.supernode(wss=443)
    laptop, office = net.node("laptop"), net.node("office", behind=(NatBehaviour(passes=Passage.TCP_443),))
    net.join()
    net.run(NAT_KNOWN_S)
    use(net, laptop, office, 20)
    there, here = paragraph(why(net, laptop, office)), paragraph(why(net, office, laptop))
    said = "UDP does not get out at {}, and no TCP connection between the two ends has opened. "
    fix = "Let UDP out at the firewall there. Until then it is relayed by supernode1.example:1971, "
    assert there.startswith(said.format("office") + fix)
    assert here.startswith(said.format("this end") + fix)


def test_a_nat_that_becomes_known_later_is_told_to_peers_that_are_in_use() -> None:
    net = Net(seed=5)
    net.supernode()
    laptop, office = net.node("laptop", behind="eim-apdf"), net.node("office", behind="double")
    net.join()
    use(net, laptop, office, 10)
    for asking in (laptop, office):
        (shown_peer,) = asking.peers().values()
        assert (shown_peer["path"], shown_peer["nat"]["remote"]["word"]) == ("direct", "easy")
        assert asking.drops().get("transaction", 0) == 0


def test_direct_paths_that_are_switched_off_at_one_end() -> None:
    net, laptop, office = pair(direct=False)
    use(net, laptop, office, 8)
    assert paragraph(why(net, laptop, office)).startswith("Direct paths are switched off at office, so everything")
    assert paragraph(why(net, office, laptop)).startswith("Direct paths are switched off at this end, so everything")


def test_ports_that_one_end_does_not_let_be_guessed() -> None:
    net, laptop, office = pair("apdm-random", guesses=False)
    use(net, laptop, office, 8)
    for asking, peer, side in ((laptop, office, "this end"), (office, laptop, "laptop")):
        assert paragraph(why(net, asking, peer)).startswith(
            f"The router at {side} picks the port for each peer, and one end lets no ports be guessed. Allow "
        )


def test_from_nobody_who_uses_the_peer_to_an_attempt_under_way_to_what_became_of_it() -> None:
    net, laptop, office = pair("apdm-random", "apdm-random")
    found = why(net, laptop, office)
    assert (found["cause"], found["asked"], found["ladder"]) == ("not-in-use", "no-session", [])
    assert paragraph(found).endswith("There is no session with office to ask it by, so this is what is known here.")
    net.send(laptop, office, b"x")
    net.run(0.2)
    assert paragraph(why(net, laptop, office)).startswith(
        "An attempt at a direct path to office is under way, by simultaneous-udp. Ask again in some seconds. Until "
        "then it is relayed by supernode1.example:1971"
    )
    net.run(2.0)
    assert why(net, laptop, office)["cause"] == "both-random"
    net.run(400.0)
    found = why(net, laptop, office)
    assert found["cause"] == "not-in-use"


def test_a_peer_that_does_not_answer_is_shown_from_our_side_alone() -> None:
    net, laptop, office = pair("apdm-random", "apdm-random")
    use(net, laptop, office, 4)
    office.stop()
    found = why(net, laptop, office)
    assert (found["cause"], found["asked"]) == ("both-random", "timeout")
    assert paragraph(found).endswith("office did not tell its side in time, so this is what is known here.")
    assert all(rung["remote"] is None and rung["local"] is not None for rung in found["ladder"])
    assert found["ends"]["remote"]["nat"]["word"] == "random", "as its offer said"


def test_records_of_a_hostile_peer_are_shown_harmless_and_decide_nothing() -> None:
    net, laptop, office = pair()
    use(net, laptop, office, 3)
    bad = "\x1b[2J\n{peer}{0}" + "\u202e" * 7
    nowhere = Candidate("\x1b[1m", "\n" * 45, 1)
    record = Record(0xFFFFFFFF, bad, bad, 1e11, 1e11, 0xFFFFFFFF, bad, (nowhere,), (nowhere,))
    nat = Nat(bad, bad, bad, -65535, 65535, 1)
    lies = Records(0, bad, bad, "off", 1e11, "no", nat, (nowhere,), (record,))
    peer = next(iter(office.machine._roll.peers()))
    peer.pathfinder.inquiry.report = (
        lambda number, now: Records(  # type: ignore[method-assign]
            number, *[getattr(lies, field) for field in lies.__struct_fields__[1:]]
        )
    )
    found = why(net, laptop, office)
    assert (found["cause"], found["asked"]) == ("direct", "answered")
    lines = shown(found)
    assert all(line.isprintable() and len(line) <= 80 for line in lines)
    assert len(lines) < 40
    assert net.is_direct(laptop, office)
    use(net, laptop, office, 3)
    assert net.is_direct(laptop, office)
    assert laptop.drops().get("fault", 0) == 0


@pytest.mark.parametrize("passes", list(Passage)[:2])
def test_a_peer_that_was_killed_is_said_to_be_silent_and_then_is_gone(passes: Passage) -> None:
    net, laptop, office = pair((NatBehaviour(passes=passes),))
    use(net, laptop, office, 10)
    assert net.is_direct(laptop, office)
    address = office.ipv4
    office.stop()
    for _ in range(6):
        net.ping_address(laptop, address, limit_s=1.0)
    said = paragraph(why(net, laptop, office))
    assert "office does not answer by any way, and nothing has come from it for " in said
    assert "See whether its node runs, and whether its computer is on the network." in said
    for _ in range(70):
        net.ping_address(laptop, address, limit_s=1.0)
    assert office.key.public not in laptop.first_known


def test_pings_alone_find_out_soon_that_a_direct_path_is_dead() -> None:
    net, laptop, office = pair()
    use(net, laptop, office, 10)
    net.run(60.0)
    assert net.path(laptop, office).is_direct
    office.stop()
    began = net.now
    while net.path(laptop, office).is_direct:
        assert net.now - began < 9.0
        laptop.runner.call(laptop.machine.ping, "home", office.key.public)  # type: ignore[union-attr]
        net.run(1.0)
