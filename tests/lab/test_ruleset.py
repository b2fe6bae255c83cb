"""What a behaviour becomes as nftables text."""

import pytest

from ntvl.errors import UsageError
from ntvl.lab.ruleset import build_ruleset, build_sysctls
from ntvl.nat import KINDS, Filtering, Mapping, NatBehaviour, Passage, PortAllocation

WAN = "203.0.113.5"
APDM = Mapping.ADDRESS_AND_PORT_DEPENDENT


def rule(nat: NatBehaviour) -> str:
    """Returns the one rule that maps UDP and TCP."""
    lines = [line.strip() for line in build_ruleset(nat, WAN).splitlines()]
    return next(line for line in lines if line.startswith('oifname "wan" meta nfproto ipv4 meta l4proto { tcp, udp }'))


@pytest.mark.parametrize(
    ("nat", "ending"),
    [
        (NatBehaviour(), "{ tcp, udp } masquerade"),
        (NatBehaviour(APDM, allocation=PortAllocation.RANDOM), "{ tcp, udp } masquerade fully-random"),
        (
            NatBehaviour(APDM, allocation=PortAllocation.BLOCK_RANDOM, block_ports=512),
            "{ tcp, udp } masquerade to :40000-40511 fully-random",
        ),
    ],
)
def test_each_allocation_is_one_rule(nat: NatBehaviour, ending: str) -> None:
    assert rule(nat).endswith(ending)


def test_sequential_ports_count_up_by_the_step() -> None:
    text = rule(NatBehaviour(APDM, allocation=PortAllocation.SEQUENTIAL, step=3))
    assert f"snat ip to {WAN} : numgen inc mod 1333 map {{ 0 : 20000, 1 : 20003, 2 : 20006" in text


@pytest.mark.parametrize("kind", KINDS)
def test_every_router_drops_what_nobody_asked_for(kind: str) -> None:
    for nat in KINDS[kind]:
        text = build_ruleset(nat, WAN)
        assert "hook input priority filter; policy drop;" in text
        assert "hook forward priority filter; policy drop;" in text


def test_only_lax_filtering_remembers_who_is_behind_a_port() -> None:
    assert "bindings" not in build_ruleset(NatBehaviour(), WAN)
    lax = build_ruleset(NatBehaviour(filtering=Filtering.ENDPOINT_INDEPENDENT, lifetime_s=40), WAN)
    assert "map bindings" in lax
    assert "timeout 40s" in lax
    assert "contacted" not in lax
    assert "set contacted" in build_ruleset(NatBehaviour(filtering=Filtering.ADDRESS_DEPENDENT), WAN)


def test_a_firewall_and_an_ipv6_only_router_translate_nothing() -> None:
    for text in (build_ruleset(NatBehaviour(translates=False), WAN), build_ruleset(NatBehaviour(), "")):
        assert "masquerade" not in text
        assert "snat" not in text


def test_the_lifetime_is_the_kernels_timeout() -> None:
    def timeouts(lifetime_s: float) -> tuple[str, str]:
        settings = build_sysctls(NatBehaviour(lifetime_s=lifetime_s))
        name = "net.netfilter.nf_conntrack_udp_timeout"
        return settings[name], settings[f"{name}_stream"]

    assert timeouts(120) == ("30", "120")
    assert timeouts(20) == ("20", "20")


@pytest.mark.parametrize(
    "nat",
    [
        NatBehaviour(Mapping.ADDRESS_DEPENDENT, allocation=PortAllocation.RANDOM),
        NatBehaviour(allocation=PortAllocation.RANDOM),
        NatBehaviour(filtering=Filtering.ADDRESS_DEPENDENT, translates=False),
    ],
)
def test_what_the_kernel_cannot_do_is_refused_in_words(nat: NatBehaviour) -> None:
    with pytest.raises(UsageError, match="the lab has no"):
        build_ruleset(nat, WAN)


@pytest.mark.parametrize(
    ("passes", "rule"),
    [
        (Passage.NO_UDP, 'iifname "lan" meta l4proto udp drop'),
        (Passage.TCP_443, 'iifname "lan" tcp dport != 443 drop'),
        (Passage.NOTHING, 'iifname "lan" drop'),
    ],
)
def test_what_is_not_let_out_is_dropped_before_all_is_accepted(passes: Passage, rule: str) -> None:
    for translates in (True, False):
        text = build_ruleset(NatBehaviour(passes=passes, translates=translates), WAN)
        assert text.index(rule) < text.index('iifname "lan" accept')
    assert rule not in build_ruleset(NatBehaviour(), WAN)


def test_only_a_box_that_takes_unsolicited_datagrams_accepts_them_itself() -> None:
    taken = '    iifname "wan" accept'
    assert taken not in build_ruleset(NatBehaviour(), WAN).split("chain forward")[0]
    assert taken in build_ruleset(NatBehaviour(takes_unsolicited=True), WAN).split("chain forward")[0]


def test_a_box_that_neither_translates_nor_filters_is_a_plain_router() -> None:
    plain = build_ruleset(NatBehaviour(filtering=Filtering.ENDPOINT_INDEPENDENT, translates=False), WAN)
    assert '    iifname "wan" accept' in plain.split("chain forward")[1]
    assert '    iifname "wan" accept' not in build_ruleset(NatBehaviour(translates=False), WAN)
