"""From a topology to the commands that build it, as text.

Every machine is a network namespace, and one more, "fabric", holds a bridge for each network, so nothing appears in the
machine's own network. Commands come in batches (`ip -batch`, a shell with settings and `nft -f`), two processes a
namespace: that is what makes a lab of twenty hosts a matter of a second. Deleting a namespace deletes all that is in
it, so undoing is deleting them, last made first.
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ntvl.lab.ruleset import build_ruleset, build_sysctls
from ntvl.lab.topology import FABRIC, Interface, Router, Topology

__all__ = ["Command", "Plan", "build_plan", "plan_router"]

_ROUTER_SETTINGS: Final = {
    # Until its link-local address has passed duplicate detection, a router could not look for neighbours.
    "net.ipv6.conf.all.accept_dad": "0",
    "net.ipv6.conf.default.accept_dad": "0",
}
_FABRIC_SETTINGS: Final = {"net.ipv6.conf.default.disable_ipv6": "1"}  # a switch does not speak


@dataclass(frozen=True, slots=True)
class Command:
    """Is one process to run: its arguments and what it reads; as text a line of shell with a here-document."""

    argv: tuple[str, ...]
    stdin: str = ""

    def __str__(self) -> str:
        line = shlex.join(self.argv)
        return f"{line} <<'END'\n{self.stdin}END\n" if self.stdin else f"{line}\n"


@dataclass(frozen=True, slots=True)
class Plan:
    """Is what builds a lab and what removes it, each in order; `namespaces` are the names that exist in between."""

    namespaces: tuple[str, ...]
    up: tuple[Command, ...]
    down: tuple[Command, ...]

    def __str__(self) -> str:
        return "".join(map(str, self.up)) + "# and back\n" + "".join(map(str, self.down))


def build_plan(topology: Topology, prefix: str) -> Plan:
    """Returns the commands for a topology.

    Args:
        prefix: what every namespace name starts with: "PREFIX-MACHINE".
    """
    names = (FABRIC, *topology.machines)
    namespaces = tuple(f"{prefix}-{name}" for name in names)
    up = [Command(("ip", "-batch", "-"), _lines(f"netns add {namespace}" for namespace in namespaces))]
    up.append(_settings(prefix, FABRIC, _FABRIC_SETTINGS))
    up += [_router_settings(topology, prefix, router) for router in topology.routers]
    up.append(_in_namespace(prefix, FABRIC, _fabric(topology, prefix)))
    up += [_in_namespace(prefix, machine, _addresses(topology, machine)) for machine in topology.machines]
    # -force: what is gone already does not keep the rest from being removed.
    down = Command(("ip", "-force", "-batch", "-"), _lines(f"netns delete {name}" for name in reversed(namespaces)))
    return Plan(namespaces, tuple(up), (down,))


def plan_router(topology: Topology, prefix: str, router: str, wan: str) -> Command:
    """Returns the command that gives a router its rules, with no memory of any flow, for an outside IPv4 address."""
    namespace = f"{prefix}-{router}"
    return Command(
        ("ip", "netns", "exec", namespace, "nft", "-f", "-"), build_ruleset(topology.router(router).nat, wan)
    )


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _in_namespace(prefix: str, machine: str, lines: list[str]) -> Command:
    return Command(("ip", "-n", f"{prefix}-{machine}", "-batch", "-"), _lines(lines))


def _settings(prefix: str, machine: str, settings: Mapping[str, str], before: str = "") -> Command:
    script = before + _lines(f"echo {value} > /proc/sys/{key.replace('.', '/')}" for key, value in settings.items())
    return Command(("ip", "netns", "exec", f"{prefix}-{machine}", "sh", "-e"), script)


def _router_settings(topology: Topology, prefix: str, router: Router) -> Command:
    wan = topology.interfaces(router.name)[0].ipv4.partition("/")[0]
    # The rules come first: the settings of connection tracking exist in a namespace that uses it.
    rules = f"nft -f - <<'RULES'\n{build_ruleset(router.nat, wan)}RULES\n"
    return _settings(prefix, router.name, _ROUTER_SETTINGS | build_sysctls(router.nat), rules)


def _fabric(topology: Topology, prefix: str) -> list[str]:
    lines = ["link set lo up"]
    bridges = {network.name: f"br{index}" for index, network in enumerate(topology.networks)}
    for network, bridge in bridges.items():
        lines.append(f"link add {bridge} type bridge forward_delay 0 mcast_snooping 0")
        lines.append(f"link set {bridge} alias {network} up")
    attachments = [(machine, at) for machine in topology.machines for at in topology.interfaces(machine)]
    for index, (machine, interface) in enumerate(attachments):
        port = f"port{index}"
        peer = f"{prefix}-{machine}"
        lines.append(f"link add {port} type veth peer name {interface.device} netns {peer}")
        lines.append(f"link set {port} master {bridges[interface.network]} alias {machine} up")
    return lines


def _addresses(topology: Topology, machine: str) -> list[str]:
    lines = ["link set lo up"]
    for interface in topology.interfaces(machine):
        lines += [f"address add {address} dev {interface.device}" for address in _both(interface)]
        lines.append(f"link set {interface.device} up")
    lines += [f"route add {route.prefix} via {route.via}" for route in topology.routes(machine)]
    return lines


def _both(interface: Interface) -> list[str]:
    return ([interface.ipv4] if interface.ipv4 else []) + ([f"{interface.ipv6} nodad"] if interface.ipv6 else [])
