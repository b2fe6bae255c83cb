import json
import random

from tests.proto.peering import Net, joined, lose_direct
from tests.proto.registering import Desk
from tests.proto.scripted import COMMUNITY, WALL, World, settings

from ntvl.dataplane.interface import Activity
from ntvl.identity.keys import derive_mac, format_key
from ntvl.proto.context import Context
from ntvl.proto.members import Members
from ntvl.proto.membership import Membership
from ntvl.proto.registration import Registration
from ntvl.proto.status import community_status, peer_status, supernode_status
from ntvl.wire.address import Address
from ntvl.wire.control import Nat

PEER_KEYS = [
    "name",
    "id",
    "addresses",
    "mac",
    "path",
    "remote",
    "via",
    "technique",
    "nat",
    "rtt_ms",
    "loss",
    "rx_bytes",
    "tx_bytes",
    "handshake_age_s",
    "attempts",
]


def members_with(net: Net) -> Members:
    """Returns the left side's members: the right side, with its peer."""
    members = Members(net.left.context, net.left.membership)
    entry = members.add(72, net.right.key.public, "claimed", ("10.77.0.9/16",))
    entry.peer = net.left.peer
    return members


def shown(net: Net) -> dict[str, object]:
    (entry,) = members_with(net)
    status = peer_status(net.left.membership, entry, net.now)
    assert list(status) == PEER_KEYS
    assert json.loads(json.dumps(status)) == status
    return status


def test_a_member_that_nobody_talked_to_yet_shows_what_the_supernode_claims() -> None:
    net = Net()
    members = Members(net.left.context, net.left.membership)
    entry = members.add(72, net.right.key.public, "bob", ("10.77.0.2/16",))
    status = peer_status(net.left.membership, entry, net.now)
    assert list(status) == PEER_KEYS
    assert status == {
        "name": "bob",
        "id": format_key(net.right.key.public),
        "addresses": ["10.77.0.2/16"],
        "mac": derive_mac(COMMUNITY.id, net.right.key.public).hex(":"),
        "path": "none",
        "remote": None,
        "via": None,
        "technique": None,
        "nat": None,
        "rtt_ms": None,
        "loss": None,
        "rx_bytes": 0,
        "tx_bytes": 0,
        "handshake_age_s": None,
        "attempts": [],
    }


def test_a_direct_peer_shows_its_address_round_trip_and_what_it_certified() -> None:
    net = joined()
    net.run(2.0)
    net.left.peer.handle_activity(Activity(72, 1000, 2000, 1, 2, net.now, 1, ()), net.now)
    status = shown(net)
    assert (status["path"], status["remote"], status["via"]) == ("direct", str(net.right.address), None)
    assert status["name"] == "right"
    assert status["addresses"] == ["10.77.0.2/16", net.right.membership.ipv6]
    assert (status["rx_bytes"], status["tx_bytes"]) == (1000, 2000)
    assert status["rtt_ms"] == 10.0
    assert status["technique"] == "simultaneous-udp"
    assert 2.0 <= status["handshake_age_s"] <= 2.3  # type: ignore[operator]


def test_a_relayed_peer_shows_by_which_supernode() -> None:
    net = Net()
    net.lost = lose_direct
    net.left.peer.handle_wanted(net.now)
    net.run(1.0)
    status = shown(net)
    assert (status["path"], status["remote"], status["via"]) == ("relay", None, "supernode-0")
    assert status["technique"] == "relay"


def test_the_nats_of_both_ends_are_shown_the_peers_as_it_told() -> None:
    net = joined()
    unknown = dict.fromkeys(("word", "mapping", "filtering", "allocation"))
    assert shown(net)["nat"] == {"local": unknown, "remote": unknown}
    net.left.peer.pathfinder.negotiation.remote_nat = Nat("address-dependent", "\x1b[2J", "sequential", 1)
    assert shown(net)["nat"] == {
        "local": unknown,
        "remote": {
            "word": "sequential",
            "mapping": "address-dependent",
            "filtering": "[2J",
            "allocation": "sequential",
        },
    }


def test_a_peer_that_said_goodbye_shows_no_path_and_no_round_trip() -> None:
    net = joined()
    net.right.peer.close(net.now)
    net.run(0.1)
    status = shown(net)
    assert (status["path"], status["remote"], status["via"], status["rtt_ms"]) == ("none", None, None, None)
    assert status["handshake_age_s"] is None
    assert status["name"] == "right"


def test_a_community_shows_its_device_and_members() -> None:
    net = joined()
    status = community_status(net.left.membership, "tap7", members_with(net), net.now)
    assert list(status) == ["name", "id", "device", "mac", "addresses", "mtu", "peers"]
    assert (status["name"], status["id"], status["device"]) == ("lan", format_key(COMMUNITY.id), "tap7")
    assert status["mac"] == net.left.membership.mac.hex(":")
    assert status["addresses"] == ["10.77.0.1/16", net.left.membership.ipv6]
    assert len(status["peers"]) == 1


def test_addresses_show_only_once_the_device_has_them() -> None:
    for lease, address, count in (("auto", "", 0), ("none", "", 1), ("static", "10.77.3.4/16", 2)):
        chosen = settings(World(), lease=lease, address=address)
        membership = Membership(chosen.communities[0], chosen.key.public, "ann", lambda: WALL)
        members = Members(Context(random.Random(1).randbytes, lambda: WALL), membership)
        assert len(community_status(membership, "ntvl0", members, 100.0)["addresses"]) == count
        membership.address = membership.address or "10.77.0.5/16" if lease == "auto" else membership.address
        assert len(community_status(membership, "ntvl0", members, 100.0)["addresses"]) == (2 if count != 1 else 1)


def test_a_supernode_shows_its_state_and_how_it_sees_us() -> None:
    world = World()
    desk = Desk(world)
    registration: Registration = desk.registration
    assert supernode_status(registration) == {
        "url": str(world.supernodes[0].url),
        "state": "connecting",
        "rtt_ms": None,
        "observed": None,
        "over": None,
    }
    world.run(1.0)
    status = supernode_status(registration)
    assert list(status) == ["url", "state", "rtt_ms", "observed", "over"]
    assert (status["state"], status["rtt_ms"], status["observed"]) == ("registered", 20.0, "198.51.100.1:4000")
    world.supernodes[0].observed = Address("2001:db8::1", 4000)
    registration.refresh(world.now)
    world.run(0.1)
    assert supernode_status(registration)["observed"] == "[2001:db8::1]:4000"
