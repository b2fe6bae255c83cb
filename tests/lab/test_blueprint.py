"""A topology out of TOML, and a sentence for each mistake."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import UsageError
from ntvl.kind import SITE_KINDS
from ntvl.lab.blueprint import parse_blueprint, read_blueprint
from ntvl.nat import Mapping, Passage, PortAllocation

INTERNET = '[network.internet]\nipv4 = "203.0.113.0/24"\nipv6 = "2001:db8::/64"\n'
LAN = '[network.lan]\nipv4 = "192.168.100.0/24"\n'
ROUTER = '[router.home]\noutside = "internet"\ninside = "lan"\n'
HOST = '[host.a]\nnetwork = "lan"\n'


def test_a_router_does_what_its_keys_say() -> None:
    behaviour = 'mapping = "address-and-port-dependent"\nallocation = "sequential"\nstep = 2\npasses = "no-udp"\n'
    topology = parse_blueprint(
        INTERNET + LAN + HOST + ROUTER + behaviour + "hairpin = true\nlifetime_s = 20\n"
    ).topology
    [nat] = topology.chain_of("a")
    assert nat.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT
    assert nat.allocation is PortAllocation.SEQUENTIAL
    assert (nat.step, nat.passes, nat.hairpin, nat.lifetime_s) == (2, Passage.NO_UDP, True, 20)
    assert topology.interfaces("a")[0].ipv4 == "192.168.100.10/24"


def test_a_router_may_be_of_a_kind() -> None:
    topology = parse_blueprint(INTERNET + LAN + HOST + ROUTER + 'kind = "apdm-random"\n').topology
    assert topology.chain_of("a") == SITE_KINDS["apdm-random"].chain


@pytest.mark.parametrize("name", [name for name, kind in SITE_KINDS.items() if not kind.shared])
def test_a_site_brings_its_boxes_and_its_host(name: str) -> None:
    internet = INTERNET.replace("203.0.113", "9.9.9")
    blueprint = parse_blueprint(f'{internet}[site.a]\nkind = "{name}"\n')
    kind = SITE_KINDS[name]
    assert blueprint.topology.chain_of("a") == kind.chain
    [interface] = blueprint.topology.interfaces("a")
    assert bool(interface.ipv4) == kind.ipv4
    assert (interface.ipv6 != "") == kind.ipv6 or not kind.chain
    assert ("a" in blueprint.helped) == bool(kind.mapper or kind.proxy)


def test_a_site_may_be_behind_a_router_of_the_file() -> None:
    topology = parse_blueprint(INTERNET + LAN + ROUTER + '[site.flat]\nkind = "double"\noutside = "lan"\n').topology
    assert len(topology.chain_of("flat")) == 3


MISTAKES = [
    ("network = ", "is not TOML: Invalid value"),
    ("", "it has no network: begin with"),
    (INTERNET + "[hosts.a]\n", "no section [hosts]: use [network.NAME], [host.NAME], [router.NAME] and [site.NAME]"),
    ("host = 3\n" + INTERNET, "[host] has no name: write [host.NAME]"),
    (INTERNET + '[host]\nnetwork = "internet"\n', "'network' in [host] belongs to nobody: write [host.NAME]"),
    (INTERNET + '[host.a]\nnet = "internet"\n', "[host.a] has no key 'net': it takes network and networks"),
    (INTERNET + "[host.a]\n", '[host.a] needs a place: network = "NAME"'),
    (INTERNET + '[host.a]\nnetwork = "b"\nnetworks = ["b"]\n', "[host.a] needs a place"),
    (INTERNET + '[host.a]\nnetworks = "internet"\n', "[host.a] networks should be a list of names"),
    (INTERNET + '[host.a]\nnetworks = ["internet", "internet"]\n', "[host.a] is on one network twice"),
    (INTERNET + "[host.a]\nnetwork = 7\n", '[host.a] network should be text: network = "..."'),
    (INTERNET + '[host.a]\nnetwork = "lan"\n', "'a' is on the network 'lan', which the lab does not have"),
    (INTERNET + '[host."A b"]\nnetwork = "internet"\n', "'A b' cannot name a part of a lab"),
    ("[network.internet]\n", "[network.internet] has no addresses: give it ipv4"),
    ('[network.internet]\nipv4 = "203.0.113.1/24"\n', "[network.internet] ipv4 is no prefix: "),
    ('[network.internet]\nipv4 = "203.0.113.0/30"\n', "ipv4 is a /30: a network of a lab is a /8 to /28"),
    ('[network.internet]\nipv6 = "2001:db8::/48"\n', "ipv6 is a /48: a network of a lab is a /64"),
    (INTERNET + LAN + '[router.home]\ninside = "lan"\n', "[router.home] has no outside: name the network on that side"),
    (INTERNET + LAN + '[router.home]\noutside = "internet"\n', "[router.home] has no inside"),
    (INTERNET + '[router.r]\noutside = "internet"\ninside = "internet"\n', "has the network 'internet' on both sides"),
    (INTERNET + LAN + ROUTER + 'mapping = "cone"\n', "[router.home] mapping is 'cone': choose endpoint-independent, "),
    (INTERNET + LAN + ROUTER + "step = 0\n", "[router.home] step is 0: choose a whole number from 1 to 1000"),
    (INTERNET + LAN + ROUTER + "step = true\n", "[router.home] step is True: choose a whole number"),
    (INTERNET + LAN + ROUTER + 'hairpin = "yes"\n', "[router.home] hairpin is 'yes': choose true or false"),
    (INTERNET + LAN + ROUTER + "step = 2\n", '[router.home] step is for allocation = "sequential", not preserving'),
    (INTERNET + LAN + ROUTER + "block_ports = 9\n", '[router.home] block_ports is for allocation = "block-random"'),
    (INTERNET + LAN + ROUTER + 'allocation = "random"\n', "[router.home]: the lab has no endpoint-independent mapping"),
    (INTERNET + LAN + '[network.b]\nipv4 = "10.9.0.0/24"\n' + ROUTER, "the networks internet and b are inside no"),
    (INTERNET + LAN + ROUTER, "it has no computer: add a [host.NAME] or a [site.NAME]"),
    (INTERNET + LAN + ROUTER + 'kind = "cone"\n', "[router.home] kind is 'cone': choose open, firewall, "),
    (INTERNET + LAN + ROUTER + 'kind = "double"\n', "[router.home] cannot be a 'double', which is more or"),
    (INTERNET + LAN + ROUTER + 'kind = "eim-apdf"\nstep = 2\n', "[router.home] has a kind and step: the kind says"),
    (INTERNET + "[site.a]\n", "[site.a] has no kind: name one"),
    (INTERNET + '[site.a]\nkind = "same-nat"\n', "[site.a] cannot be a 'same-nat', which is two hosts"),
    (INTERNET + '[site.a]\nkind = "cgn"\noutside = "lan"\n', "[site.a] is outside on 'lan', which the lab does"),
    ('[network.i]\nipv4 = "203.0.113.0/24"\n[site.a]\nkind = "ipv6-only"\n', "needs IPv6 on the Internet"),
    (INTERNET + '[site.a]\nkind = "pcp"\n', "[site.a] of the kind 'pcp' needs an Internet with a public prefix"),
    (LAN + '[router.r]\noutside = "x"\ninside = "lan"\n', "every network is inside a router"),
    (
        INTERNET + LAN + '[network.b]\nipv4 = "10.9.0.0/24"\n[router.r]\noutside = "b"\ninside = "lan"\n'
        '[router.s]\noutside = "lan"\ninside = "b"\n',
        "the way out of the network 'lan' leads in a circle",
    ),
    (
        INTERNET + '[network.lan]\nipv4 = "203.0.113.0/25"\n' + ROUTER,
        "the router 'home' has 203.0.113.0/24 outside and 203.0.113.0/25 inside, which overlap",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), MISTAKES)
def test_a_mistake_is_refused_with_a_sentence_that_names_the_place(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_blueprint(text, "lab.toml")
    said = str(refused.value)
    assert said.startswith("lab.toml")
    assert sentence in said


@given(st.text())
def test_any_text_is_a_topology_or_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_blueprint(text)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the topology .*: no such file"):
        read_blueprint(tmp_path / "none.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="it is not text in UTF-8"):
        read_blueprint(binary)
