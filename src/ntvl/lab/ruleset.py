"""What makes a Linux router behave as a `NatBehaviour` says: nftables rules and connection tracking times.

Mapping. `masquerade` gives each connection a port of its own accord: the internal port where that is free towards this
destination. A host that talks to several destinations from one port keeps one external port: endpoint-independent, and
port preserving. `fully-random` draws a port for each connection, `to :FIRST-LAST fully-random` from a block, `snat to
ADDRESS : numgen inc mod N map { ... }` counts up.

Filtering. Connection tracking lets in what answers a connection, by address and port; nothing else has a mapping. For
the two laxer filterings the router remembers in a dynamic map which internal endpoint is behind an external port
("bindings"), and sends anybody there, or (address-dependent) whom that port has sent to before ("contacted").

A datagram from outside that nobody asked for is dropped before it is delivered to the router itself, unless the router
`takes_unsolicited`. That matters: accepted, connection tracking keeps it as a flow from there to the router, and the
host's own datagram to that place, a moment later, finds its port taken and leaves from another one. Home routers drop
such, and so firing at the same moment crosses them.

A box that does not translate and filters by nothing is a plain router.

TCP is mapped as UDP is, and filtered by connection whatever the behaviour says; other protocols are masqueraded as any
router does. IPv6 is filtered and never translated. What
a router does not let out (`Passage`) is dropped where it is forwarded, in both families.
"""

from typing import Final

from ntvl.errors import UsageError
from ntvl.nat import Filtering, Mapping, NatBehaviour, Passage, PortAllocation

__all__ = ["BLOCK_FIRST_PORT", "SEQUENTIAL_FIRST_PORT", "build_ruleset", "build_sysctls", "check_behaviour"]

BLOCK_FIRST_PORT: Final = 40000
"""Where the block of a BLOCK_RANDOM router starts."""

SEQUENTIAL_FIRST_PORT: Final = 20000
"""The first port of a SEQUENTIAL router."""

_SEQUENTIAL_PORTS: Final = 4000
_UNREPLIED_S: Final = 30
"""Lifetime of a flow that was never answered, at most (the kernel's own default)."""

_BLOCKED: Final = {
    Passage.ALL: "",
    Passage.NO_UDP: '    iifname "lan" meta l4proto udp drop\n',
    Passage.TCP_443: '    iifname "lan" tcp dport != 443 drop\n    iifname "lan" meta l4proto != tcp drop\n',
    Passage.NOTHING: '    iifname "lan" drop\n',
}

_TABLE: Final = """\
flush ruleset
table inet router {{
{sets}{prerouting}\
  chain input {{
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname != "wan" accept
    meta l4proto {{ icmp, ipv6-icmp }} accept
{taken}  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
{blocked}    iifname "lan" accept
    ct status dnat accept
{passed}  }}
{postrouting}{remember}\
}}
"""


def build_ruleset(nat: NatBehaviour, wan: str) -> str:
    """Returns the nftables file of a router with devices "wan" and "lan".

    Args:
        wan: the router's outside IPv4 address without prefix length; empty on an IPv6-only network.
    Raises:
        UsageError: a behaviour that these rules cannot give; the message says which.
    """
    check_behaviour(nat)
    is_plain = not nat.translates and nat.filtering is Filtering.ENDPOINT_INDEPENDENT
    filters = {
        "taken": '    iifname "wan" accept\n' if nat.takes_unsolicited else "",
        "blocked": _BLOCKED[nat.passes],
        "passed": '    iifname "wan" accept\n' if is_plain else "",
    }
    if not nat.translates or not wan:
        return _TABLE.format(**filters, sets="", prerouting="", postrouting="", remember="")
    remembers = nat.hairpin or nat.filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT
    by_address = nat.filtering is Filtering.ADDRESS_DEPENDENT
    return _TABLE.format(
        **filters,
        sets=_sets(nat, by_address) if remembers else "",
        prerouting=_prerouting(nat, wan) if remembers else "",
        postrouting=_postrouting(nat, wan),
        remember=_remember(by_address) if remembers else "",
    )


def build_sysctls(nat: NatBehaviour) -> dict[str, str]:
    """Returns the kernel settings of a router: forwarding, and how long a UDP flow is remembered."""
    lifetime_s = max(1, round(nat.lifetime_s))
    return {
        "net.ipv4.ip_forward": "1",
        "net.ipv6.conf.all.forwarding": "1",
        "net.netfilter.nf_conntrack_udp_timeout": str(min(_UNREPLIED_S, lifetime_s)),
        "net.netfilter.nf_conntrack_udp_timeout_stream": str(lifetime_s),
    }


def check_behaviour(nat: NatBehaviour) -> None:
    """Checks that these rules can give a behaviour.

    Raises:
        UsageError: they cannot; the message says which part.
    """
    if not nat.translates:
        if nat.filtering is Filtering.ADDRESS_DEPENDENT:
            raise UsageError(
                f"the lab has no firewall with {nat.filtering} filtering: its firewalls follow connections, so use"
                " address-and-port-dependent, or endpoint-independent for a router that lets everything through"
            )
        return
    if nat.mapping is Mapping.ADDRESS_DEPENDENT:
        raise UsageError(
            "the lab has no address-dependent mapping, the kernel's is by address and port: use that, or the simulator"
        )
    if nat.mapping is Mapping.ENDPOINT_INDEPENDENT and nat.allocation is not PortAllocation.PRESERVING:
        raise UsageError(
            f"the lab has no endpoint-independent mapping with {nat.allocation} ports, the kernel's preserves them:"
            " use preserving, or the simulator"
        )


def _sets(nat: NatBehaviour, by_address: bool) -> str:
    timeout = f"flags dynamic,timeout; timeout {max(1, round(nat.lifetime_s))}s; size 65535;"
    text = f"  map bindings {{ type inet_service : ipv4_addr . inet_service; {timeout} }}\n"
    if by_address:
        text += f"  set contacted {{ type inet_service . ipv4_addr; {timeout} }}\n"
    return text


def _prerouting(nat: NatBehaviour, wan: str) -> str:
    lines = []
    if nat.filtering is Filtering.ENDPOINT_INDEPENDENT:
        lines.append('iifname "wan" meta l4proto udp dnat ip to udp dport map @bindings')
    elif nat.filtering is Filtering.ADDRESS_DEPENDENT:
        lines.append('iifname "wan" udp dport . ip saddr @contacted dnat ip to udp dport map @bindings')
    if nat.hairpin:
        lines.append(f'iifname "lan" ip daddr {wan} meta l4proto udp dnat ip to udp dport map @bindings')
    return _chain("prerouting", "nat hook prerouting priority dstnat", lines)


def _postrouting(nat: NatBehaviour, wan: str) -> str:
    ports = f'oifname "wan" meta nfproto ipv4 meta l4proto {{ tcp, udp }} {_mapping(nat, wan)}'
    lines = [ports, 'oifname "wan" meta nfproto ipv4 masquerade']
    if nat.hairpin:
        lines.append(f'iifname "lan" oifname "lan" ct status dnat meta l4proto udp snat ip to {wan}')
    return _chain("postrouting", "nat hook postrouting priority srcnat", lines)


def _mapping(nat: NatBehaviour, wan: str) -> str:
    match nat.allocation:
        case PortAllocation.PRESERVING:
            return "masquerade"
        case PortAllocation.RANDOM:
            return "masquerade fully-random"
        case PortAllocation.BLOCK_RANDOM:
            return f"masquerade to :{BLOCK_FIRST_PORT}-{BLOCK_FIRST_PORT + nat.block_ports - 1} fully-random"
        case PortAllocation.SEQUENTIAL:
            # By a map, since a number of numgen's own reaches the port with its two bytes swapped.
            count = _SEQUENTIAL_PORTS // nat.step
            ports = ", ".join(f"{index} : {SEQUENTIAL_FIRST_PORT + index * nat.step}" for index in range(count))
            return f"snat ip to {wan} : numgen inc mod {count} map {{ {ports} }}"


def _remember(by_address: bool) -> str:
    # A flow that somebody outside began has its internal end in the reply direction.
    lines = [
        f'oifname "wan" meta l4proto udp ct direction {direction}'
        f" update @bindings {{ udp sport : ct {direction} ip saddr . ct {direction} proto-src }}"
        for direction in ("original", "reply")
    ]
    if by_address:
        lines.append('oifname "wan" meta l4proto udp update @contacted { udp sport . ip daddr }')
    return _chain("remember", "filter hook postrouting priority srcnat + 10", lines)


def _chain(name: str, hook: str, lines: list[str]) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"  chain {name} {{\n    type {hook}; policy accept;\n{body}  }}\n"
