import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.proto.candidates import CANDIDATES_MAX, build_candidates, usable_candidates
from ntvl.wire.address import Address, is_usable_target
from ntvl.wire.control import Candidate, Offer, build_message

OVERLAY = (ipaddress.ip_network("10.77.0.0/16"), ipaddress.ip_network("fd12:3456:789a::/64"))


def hosts_of(candidates: tuple[Candidate, ...]) -> list[str]:
    return [c.host for c in candidates]


def usable(*hosts: str, own: tuple[Candidate, ...] = ()) -> list[str]:
    return hosts_of(usable_candidates([Candidate("host", host, 4000) for host in hosts], own, OVERLAY))


# --- ours ---


def test_hosts_come_with_the_main_port_and_observed_addresses_as_they_were_seen() -> None:
    found = build_candidates(["192.168.1.2"], 4000, [Address("198.51.100.7", 61000)], OVERLAY)
    assert [(c.kind, c.host, c.port) for c in found] == [
        ("host", "192.168.1.2", 4000),
        ("srflx", "198.51.100.7", 61000),
    ]


def test_a_mapped_address_stands_between_hosts_and_observed_addresses() -> None:
    observed = [Address("198.51.100.7", 61000)]
    found = build_candidates(["192.168.1.2"], 4000, observed, OVERLAY, mapped=[Address("198.51.100.7", 4000)])
    assert [(c.kind, c.port) for c in found] == [("host", 4000), ("mapped", 4000), ("srflx", 61000)]
    found = build_candidates([], 4000, observed, OVERLAY, mapped=observed)
    assert [c.kind for c in found] == ["mapped"], "the same address once"


def test_a_pinhole_adds_nothing_to_the_host_candidate_that_it_opens() -> None:
    found = build_candidates(["2001:db8::1"], 4000, [], OVERLAY, mapped=[Address("2001:db8::1", 4000)])
    assert [c.kind for c in found] == ["host"]


@pytest.mark.parametrize("host", ["10.1.2.3", "192.168.0.2", "100.64.0.9", "169.254.1.1", "10.77.0.1"])
def test_a_mapped_address_that_is_not_public_is_no_candidate(host: str) -> None:
    assert build_candidates([], 4000, [], OVERLAY, mapped=[Address(host, 4000)]) == ()


def test_what_a_turn_server_lends_comes_last_of_all() -> None:
    found = build_candidates(
        ["192.168.1.2"], 4000, [Address("198.51.100.7", 1)], OVERLAY, relayed=Address("203.0.113.9", 50000)
    )
    assert [c.kind for c in found] == ["host", "srflx", "relay"]
    assert found[-1].priority >> 24 == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.1.1", "224.0.0.1", "10.77.0.1"])
def test_a_relayed_address_that_leads_nowhere_is_no_candidate(host: str) -> None:
    assert build_candidates([], 4000, [], OVERLAY, relayed=Address(host, 4000)) == ()


def test_hosts_outrank_observed_addresses_and_ipv6_outranks_ipv4() -> None:
    found = build_candidates(
        ["192.168.1.2", "2001:db8::1"], 4000, [Address("198.51.100.7", 1), Address("2001:db8::7", 2)], ()
    )
    assert hosts_of(found) == ["2001:db8::1", "192.168.1.2", "2001:db8::7", "198.51.100.7"]
    assert [c.priority for c in found] == sorted((c.priority for c in found), reverse=True)
    assert len({c.priority for c in found}) == 4
    assert all(c.priority < 1 << 32 for c in found)


def test_without_a_known_port_there_are_no_host_candidates() -> None:
    assert hosts_of(build_candidates(["192.168.1.2"], 0, [Address("198.51.100.7", 1)], ())) == ["198.51.100.7"]


def test_an_open_host_that_is_seen_at_its_own_address_names_it_once_as_host() -> None:
    found = build_candidates(["198.51.100.7"], 4000, [Address("198.51.100.7", 4000)] * 2, ())
    assert [(c.kind, c.host) for c in found] == [("host", "198.51.100.7")]


def test_one_address_on_two_ports_is_two_candidates() -> None:
    assert len(build_candidates(["198.51.100.7"], 4000, [Address("198.51.100.7", 4001)], ())) == 2


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "::1", "fe80::1", "169.254.1.1", "224.0.0.1", "ff02::1", "0.0.0.0", "::", "255.255.255.255"],
)
def test_what_nobody_else_could_use_is_no_candidate_of_ours(host: str) -> None:
    assert build_candidates([host], 4000, [Address(host, 4000)], OVERLAY) == ()


@pytest.mark.parametrize("host", ["10.77.3.4", "fd12:3456:789a::5"])
def test_the_virtual_network_does_not_carry_itself(host: str) -> None:
    assert build_candidates([host], 4000, [Address(host, 4000)], OVERLAY) == ()


def test_many_addresses_still_fit_one_offer_with_what_supernodes_see_among_them() -> None:
    hosts = [f"2001:db8:aaaa:bbbb:cccc:dddd:eeee:{n:04x}" for n in range(0x1000, 0x1064)]
    observed = [Address("198.51.100.7", 61000), Address("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 61000)]
    found = build_candidates([*hosts, "192.168.1.2"], 4000, observed, OVERLAY)
    assert len(found) <= CANDIDATES_MAX
    build_message(Offer(0xFFFFFFFF, "u" * 8, "p" * 24, found))
    assert {c.host for c in found} >= {a.host for a in observed}


# --- the peer's ---


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.255.255.254",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "224.0.0.251",
        "239.255.255.250",
        "ff02::1",
        "ff0e::1",
        "255.255.255.255",
        "::ffff:255.255.255.255",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "2001:db8::1%eth0",
        "10.77.0.1",
        "10.77.255.255",
        "::ffff:10.77.0.1",
        "fd12:3456:789a::1",
        "",
        "localhost",
        "example.org",
        "198.51.100.1:4000",
        "198.51.100",
        "198.051.100.001",
        "0x7f000001",
        "2130706433",
        "1" * 45,
        "\x00",
        "198.51.100.1\x00",
        "\uff11\uff19\uff18.51.100.1",
    ],
)
def test_an_address_that_would_turn_us_against_ourselves_or_is_none_is_left_out(host: str) -> None:
    assert usable(host, "198.51.100.1") == ["198.51.100.1"]


def test_ordinary_addresses_of_lans_and_the_internet_pass() -> None:
    hosts = ["192.168.1.2", "10.1.2.3", "172.16.0.1", "100.64.0.1", "198.51.100.1", "2001:db8::1", "fd00::1"]
    assert usable(*hosts) == hosts


def test_an_address_mapped_into_ipv6_is_used_as_ipv4_and_once() -> None:
    assert usable("::ffff:198.51.100.1", "198.51.100.1", "::FFFF:c633:6401") == ["198.51.100.1"]


def test_two_spellings_of_one_address_are_used_once() -> None:
    assert usable("2001:db8::1", "2001:DB8:0:0::1", "2001:0db8::0001") == ["2001:db8::1"]


def test_our_own_addresses_are_not_checked() -> None:
    own = build_candidates(["192.168.1.2"], 4000, [Address("198.51.100.7", 4000)], OVERLAY)
    assert usable("192.168.1.2", "::ffff:192.168.1.2", own=own) == []


def test_the_public_address_that_we_share_with_a_neighbour_is_checked() -> None:
    own = build_candidates(["192.168.1.2"], 4000, [Address("198.51.100.7", 4000)], OVERLAY)
    assert usable("198.51.100.7", own=own) == ["198.51.100.7"]
    other_port = [Candidate("host", "192.168.1.2", 4001)]
    assert usable_candidates(other_port, own, OVERLAY) == tuple(other_port)


def test_kind_and_priority_are_kept_as_the_peer_sent_them() -> None:
    sent = [Candidate("srflx", "198.51.100.1", 4000, 17), Candidate("odd", "198.51.100.2", 4000, 2**32 - 1)]
    assert usable_candidates(sent, (), OVERLAY) == tuple(sent)


def test_no_list_makes_us_try_more_than_the_bound() -> None:
    assert len(usable(*(f"198.51.100.{n}" for n in range(1, 200)))) == CANDIDATES_MAX


@given(
    hosts=st.lists(st.one_of(st.text(max_size=45), st.ip_addresses().map(str)), max_size=30),
    ports=st.lists(st.integers(1, 65535), min_size=30, max_size=30),
)
def test_any_list_of_a_peer_comes_out_harmless(hosts: list[str], ports: list[int]) -> None:
    sent = [Candidate("host", host, port) for host, port in zip(hosts, ports, strict=False)]
    own = build_candidates(["192.168.1.2"], 4000, (), OVERLAY)
    found = usable_candidates(sent, own, OVERLAY)
    addresses = [Address(c.host, c.port) for c in found]
    assert len(set(addresses)) == len(addresses) <= CANDIDATES_MAX
    for address in addresses:
        ip = ipaddress.ip_address(address.host)
        assert is_usable_target(address)
        assert not any(ip.version == n.version and ip in n for n in OVERLAY)
        assert str(ip) == address.host


ZERO = ipaddress.IPv4Network("0.0.0.0/8")
"""Passed over where a prefix may have several lengths: nothing can be sent there."""
FORBIDDEN = [
    ipaddress.IPv4Network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32")
]
FORBIDDEN_6 = [ipaddress.IPv6Network(text) for text in ("::/128", "::1/128", "fe80::/10", "ff00::/8")]
FORBIDDEN_6 += [network for network in OVERLAY if isinstance(network, ipaddress.IPv6Network)]
FORBIDDEN += [network for network in OVERLAY if isinstance(network, ipaddress.IPv4Network)]


def disguised(ip: ipaddress.IPv4Address) -> list[str]:
    """Returns an IPv4 address in all the ways in which IPv6 can carry it."""
    group = f"{int(ip) >> 16:x}:{int(ip) & 0xFFFF:x}"
    high, low = group.split(":")
    teredo = int(ip) ^ 0xFFFFFFFF
    return [
        *(str(ip), f"::ffff:{ip}", f"::FFFF:{group}", f"::{ip}", f"64:ff9b::{ip}", f"2002:{group}::1"),
        *(f"::ffff:0:{ip}", f"2001:0:{group}::f7f7:f7f7", f"2001:0:808:808::{teredo >> 16:x}:{teredo & 0xFFFF:x}"),
        *(
            [f"64:ff9b:1::{ip}", f"64:ff9b:1:{high}:{int(low, 16) >> 8:x}:{int(low, 16) % 256 * 256:x}::"]
            if ip not in ZERO
            else []
        ),
    ]


@given(
    st.sampled_from(FORBIDDEN).flatmap(lambda network: st.ip_addresses(network=network)),
    st.sampled_from(FORBIDDEN_6).flatmap(lambda network: st.ip_addresses(network=network)),
)
def test_no_address_of_a_forbidden_network_passes_in_whatever_disguise(
    ipv4: ipaddress.IPv4Address, ipv6: ipaddress.IPv6Address
) -> None:
    assert usable(*disguised(ipv4), str(ipv6), ipv6.exploded.upper()) == []
