import pytest

from ntvl.errors import PeerError
from ntvl.identity.certificate import verify_certificate
from ntvl.identity.community import Community
from ntvl.identity.keys import NodeKey, derive_ipv6, derive_mac
from ntvl.proto.membership import BACKDATE_S, LIFE_S, Membership
from ntvl.proto.settings import CommunitySettings

COMMUNITY = Community.from_seed("lan", b"a seed of sixteen bytes")
NODE = NodeKey.from_bytes(bytes(range(32))).public
NOON = 1_800_000_000.0
DAY_S = 86400.0


class Wall:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def member(wall: Wall, lease: str = "auto", address: str = "", subnet: str = "10.77.0.0/16") -> Membership:
    return Membership(CommunitySettings(COMMUNITY, 0, "ntvl0", lease, address, subnet), NODE, "ann", wall)


def addresses_in(membership: Membership, wall: Wall) -> tuple[str, ...]:
    data = membership.certificate()
    return verify_certificate(data, wall_time=wall.now, community=COMMUNITY.id, node=NODE).addresses


def test_mac_and_ipv6_address_follow_from_the_keys() -> None:
    membership = member(Wall())
    assert membership.mac == derive_mac(COMMUNITY.id, NODE)
    assert membership.ipv6 == derive_ipv6(COMMUNITY.id, membership.mac)
    assert membership.ipv6.startswith("fd")


@pytest.mark.parametrize(("lease", "address", "held"), [("auto", "10.77.3.4/16", ""), ("none", "", "")])
def test_an_address_that_is_only_wished_for_is_not_held(lease: str, address: str, held: str) -> None:
    membership = member(Wall(), lease, address)
    assert membership.address == held
    assert membership.addresses == (membership.ipv6,)


def test_a_static_address_is_held_from_the_start_and_certified() -> None:
    wall = Wall()
    membership = member(wall, "static", "10.77.3.4/16")
    assert membership.addresses == ("10.77.3.4/16", membership.ipv6)
    assert addresses_in(membership, wall) == membership.addresses


def test_the_overlay_is_both_subnets() -> None:
    membership = member(Wall(), subnet="10.99.3.4/20")
    assert str(membership.overlay[0]) == "10.99.0.0/20"
    assert str(membership.overlay[1]).startswith("fd")
    assert membership.overlay[1].prefixlen == 64


def test_a_certificate_is_made_once_while_nothing_changes() -> None:
    wall = Wall()
    membership = member(wall)
    first = membership.certificate()
    wall.now += 3 * DAY_S
    assert membership.certificate() is first


def test_a_leased_address_is_in_the_certificate_from_then_on() -> None:
    wall = Wall()
    membership = member(wall)
    before = membership.certificate()
    membership.address = "10.77.0.5/16"
    assert membership.certificate() != before
    assert addresses_in(membership, wall) == ("10.77.0.5/16", membership.ipv6)


def test_a_certificate_is_renewed_when_two_thirds_of_its_life_are_over() -> None:
    wall = Wall()
    membership = member(wall)
    first = membership.certificate()
    wall.now = NOON + LIFE_S * 2 // 3
    second = membership.certificate()
    assert second != first
    assert verify_certificate(second, wall_time=wall.now).not_after == int(wall.now) + LIFE_S


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S, 400 * DAY_S, -400 * DAY_S, 3600.0, -3600.0, 60.0, -60.0])
def test_a_certificate_is_valid_now_whichever_way_the_clock_steps(step_s: float) -> None:
    wall = Wall()
    membership = member(wall)
    membership.certificate()
    wall.now += step_s
    verify_certificate(membership.certificate(), wall_time=wall.now)
    if abs(step_s) < BACKDATE_S / 2:
        other_clock = wall.now - 60.0
        verify_certificate(membership.certificate(), wall_time=other_clock)


def test_a_peer_whose_clock_is_a_little_behind_accepts_it_and_one_far_behind_does_not() -> None:
    wall = Wall()
    data = member(wall).certificate()
    verify_certificate(data, wall_time=NOON - BACKDATE_S + 1)
    with pytest.raises(PeerError, match="certificate-not-yet-valid"):
        verify_certificate(data, wall_time=NOON - BACKDATE_S - 1)


@pytest.mark.parametrize("address", ["10.77.0.5/16", "10.77.0.1/16", "10.77.255.254/16"])
def test_a_lease_of_a_hosts_address_in_our_subnet_is_accepted(address: str) -> None:
    assert member(Wall()).accepts(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "garbage",
        "10.77.0.5",
        "10.77.0.5/",
        "10.77.0.5/24",
        "10.77.0.5/32",
        "10.77.0.5/0",
        "10.77.0.5/255.255.0.0.0",
        "10.78.0.5/16",
        "10.77.0.0/16",
        "10.77.255.255/16",
        "8.8.8.8/0",
        "198.51.100.7/1",
        "127.0.0.1/8",
        "0.0.0.0/0",
        "fd00::1/64",
        "::ffff:10.77.0.5/112",
        "10.77.0.5/16\n",
    ],
)
def test_no_other_lease_is_accepted(address: str) -> None:
    assert not member(Wall()).accepts(address)


def test_what_is_accepted_can_be_certified() -> None:
    wall = Wall()
    membership = member(wall)
    membership.address = "10.77.0.5/16"
    assert membership.accepts(membership.address)
    assert addresses_in(membership, wall)[0] == "10.77.0.5/16"
