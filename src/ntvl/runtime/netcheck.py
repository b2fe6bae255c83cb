"""A look at the network by itself: names resolved, sockets opened, one `Classification` run, sockets closed.

No daemon, no privilege, no trace left: what is sent are some dozens of STUN datagrams. All of it ends within 5 s, the
system's resolver included, which is given up on after a while.
"""

import asyncio
import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

from ntvl.errors import UsageError
from ntvl.identity.url import SupernodeUrl, check_server_host, parse_supernode_url
from ntvl.proto.classification import LIMIT_S, SOCKETS, Classification
from ntvl.proto.nat_report import NatReport
from ntvl.runtime.clock import boot_time
from ntvl.runtime.interfaces import DEFAULT_WAYS
from ntvl.runtime.portal import find_portal
from ntvl.runtime.presence import GatewayProtocols, read_protocols
from ntvl.runtime.resolver import Lookup, look_up
from ntvl.runtime.stream_check import WORKS, check_streams
from ntvl.wire.address import Address, Origin
from ntvl.wire.header import CONTROL_BYTES_MAX

__all__ = ["FAMILIES", "STUN_PORT", "Netcheck", "Server", "family_of", "find_proxies", "parse_servers", "run_netcheck"]

STUN_PORT: Final = 3478
"""Port of STUN servers where none is written (RFC 8489 section 15.1)."""
FAMILIES: Final = ("IPv4", "IPv6")
RESOLVE_S: Final = 1.5
STREAMS_S: Final = 3.0
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_BATCH_MAX: Final = 64
_ANY_PORT: Final = 9
_NO_WAY: Final = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_PORT_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class Server:
    """Is a server as a person named it, and what its name resolved to; `problem` says in words why to nothing. A
    supernode has a `url`.
    """

    name: str
    host: str
    port: int
    addresses: tuple[Address, ...] = ()
    problem: str = ""
    url: SupernodeUrl | None = None


@dataclass(frozen=True, slots=True)
class Netcheck:
    """Is everything that was found: `proxies` are variables of the environment, passwords left out; `gateways` are
    those of this host, with the port-mapping protocols that they speak; `streams` says by the name of a supernode what
    came of each way without UDP, see `check_streams`; `ways` are the families, "IPv4" and "IPv6", in which this host
    has a way out; `portal` is where a captive portal leads to, see `find_portal`.
    """

    report: NatReport
    servers: tuple[Server, ...]
    proxies: dict[str, str]
    gateways: tuple[GatewayProtocols, ...] = ()
    streams: dict[str, dict[str, str]] = field(default_factory=dict)
    ways: tuple[str, ...] = FAMILIES
    portal: str = ""

    @property
    def proxy_needed(self) -> bool | None:
        """Returns whether supernodes are reached through the HTTP proxy alone; None where they are not at all."""
        working = {kind for ways in self.streams.values() for kind, word in ways.items() if word == WORKS}
        if self.report.udp or working - {"proxy"}:
            return False
        return True if working else None

    @property
    def not_asked(self) -> tuple[Address, ...]:
        """Returns the servers' addresses of a family without a way out: to ask them would only look like silence."""
        return tuple(
            address
            for server in self.servers
            for address in _one_of_each_family(server.addresses)
            if family_of(address) not in self.ways
        )


def family_of(address: Address) -> str:
    """Returns "IPv4" or "IPv6"."""
    return FAMILIES[address.is_ipv6]


def parse_servers(supernodes: Sequence[str], stuns: Sequence[str]) -> tuple[Server, ...]:
    """Returns whom to ask, each once.

    Args:
        supernodes: URLs, as `ntvl node` takes them.
        stuns: each "HOST:PORT", "HOST" or "[IPV6]:PORT", with or without "stun:" before it.
    Raises:
        UsageError: one sentence that says what is wrong and what to write.
    """
    found: dict[tuple[str, int], Server] = {}
    for text in supernodes:
        url = parse_supernode_url(text)
        found.setdefault((url.host, url.port), Server(str(Address(url.host, url.port)), url.host, url.port, url=url))
    for text in stuns:
        host, port = _parse_stun(text)
        found.setdefault((host, port), Server(str(Address(host, port)), host, port))
    return tuple(found.values())


def find_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that name an HTTP proxy, as they are written, but without user and password."""
    return {name: _without_password(environ[name]) for name in sorted(environ) if name.lower() in _PROXIES}


def run_netcheck(servers: Sequence[Server], environ: Mapping[str, str], *, lookup: Lookup = look_up) -> Netcheck:
    """Returns what the NATs in front of this host do; takes at most 5 s.

    Raises:
        UsageError: this computer has no UDP sockets to give.
    """
    began = time.monotonic()
    resolved = _resolve(servers, lookup)
    named = [address for server in resolved for address in _one_of_each_family(server.addresses)]
    sources = _find_sources([*named, *(Address(host, _ANY_PORT) for host in DEFAULT_WAYS)])
    ways = tuple(family for family in FAMILIES if family in map(family_of, sources))
    targets = [address for address in named if family_of(address) in ways]
    with ExitStack() as stack:
        sockets = [_open_pair(stack) for _ in range(SOCKETS)]
        machine = Classification(
            targets,
            hosts=tuple(dict.fromkeys(sources[target] for target in targets if sources.get(target))),
            ports=[pair[False].getsockname()[1] for pair in sockets],
            random=os.urandom,
            limit_s=LIMIT_S - (time.monotonic() - began),
        )
        report, gateways, streams, portal = asyncio.run(_run(machine, sockets, resolved, environ))
    if named and not targets:
        report = replace(report, notes=("no-family",))
    return Netcheck(report, resolved, find_proxies(environ), gateways, streams, ways, portal)


async def _run(
    machine: Classification,
    sockets: Sequence[dict[bool, socket.socket]],
    servers: Sequence[Server],
    environ: Mapping[str, str],
) -> tuple[NatReport, tuple[GatewayProtocols, ...], dict[str, dict[str, str]], str]:
    """Looks at UDP, at gateways, at streams and for a portal at one time."""
    supernodes = [(server.name, server.url, server.addresses) for server in servers if server.url is not None]
    asked = [(url, addresses) for _, url, addresses in supernodes]
    report, gateways, found, portal = await asyncio.gather(
        _drive(machine, sockets),
        read_protocols(),
        check_streams(asked, environ, STREAMS_S),
        find_portal(asked, STREAMS_S),
    )
    return report, gateways, dict(zip((name for name, _, _ in supernodes), found, strict=True)), portal


# --- driving ---


async def _drive(machine: Classification, sockets: Sequence[dict[bool, socket.socket]]) -> NatReport:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[NatReport] = loop.create_future()
    timer: list[asyncio.TimerHandle] = []

    def pump() -> None:
        now = boot_time()
        wakeup = machine.poll_timeout()
        if wakeup is not None and wakeup.at <= now:
            machine.handle_timeout(now)
        while (sent := machine.poll_transmit()) is not None:
            sock = sockets[sent.socket].get(sent.address.is_ipv6)
            if sock is not None:
                with suppress(OSError):  # no route, or a filter on this host: the same as silence
                    sock.sendto(sent.data, sent.address)
        for old in timer:
            old.cancel()
        timer.clear()
        if machine.report is not None:
            if not done.done():
                done.set_result(machine.report)
            return
        wakeup = machine.poll_timeout()
        if wakeup is not None:
            timer.append(loop.call_later(max(0.0, wakeup.at - boot_time()), pump))

    def read(number: int, sock: socket.socket) -> Callable[[], None]:
        def receive() -> None:
            for _ in range(_BATCH_MAX):
                try:
                    data, source = sock.recvfrom(CONTROL_BYTES_MAX + 1)
                except OSError:
                    break
                machine.handle_datagram(data, Origin(Address(source[0], source[1]), number), boot_time())
            pump()

        return receive

    for number, pair in enumerate(sockets):
        for sock in pair.values():
            loop.add_reader(sock, read(number, sock))
    try:
        machine.start(boot_time())
        pump()
        return await done
    finally:
        for pair in sockets:
            for sock in pair.values():
                loop.remove_reader(sock)


def _open_pair(stack: ExitStack) -> dict[bool, socket.socket]:
    """Returns a socket of each family, by whether it is IPv6, at one port; IPv6 only where there is any."""
    for _ in range(_PORT_TRIES):
        try:
            ipv4 = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
            ipv4.bind(("0.0.0.0", 0))
        except OSError as error:
            raise UsageError(
                f"this computer has no UDP socket to look with: {(error.strerror or str(error)).lower()}"
            ) from error
        try:
            ipv6 = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
        except OSError:
            return {False: ipv4}
        try:
            ipv6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            ipv6.bind(("::", ipv4.getsockname()[1]))
        except OSError:
            continue  # The port is taken in the other family, or there is no "::" to bind to.
        return {False: ipv4, True: ipv6}
    return {False: ipv4}


def _find_sources(targets: Sequence[Address]) -> dict[Address, str]:
    """Returns from which address of ours the kernel sends to each; to connect a UDP socket sends nothing.

    Those are left out to which it knows no way. Where it does not tell for another reason the address is "".
    """
    found: dict[Address, str] = {}
    for target in targets:
        family = socket.AF_INET6 if target.is_ipv6 else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asked:
                asked.connect(target)
                found[target] = str(asked.getsockname()[0])
        except OSError as error:
            if error.errno not in _NO_WAY:
                found[target] = ""
    return found


# --- names ---


def _resolve(servers: Sequence[Server], lookup: Lookup) -> tuple[Server, ...]:
    """Returns the servers with their addresses; each name has a thread, which a hanging resolver may keep."""
    found: dict[Server, Server] = {}

    def ask(server: Server) -> None:
        try:
            addresses = tuple(lookup(server.host, server.port))
            problem = "" if addresses else "it has no usable address"
        except (OSError, UnicodeError) as error:
            addresses, problem = (), (getattr(error, "strerror", None) or "it is no host name").lower()
        found[server] = replace(server, addresses=addresses, problem=problem)

    threads = [threading.Thread(target=ask, args=(server,), daemon=True) for server in servers]
    until = time.monotonic() + RESOLVE_S
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    late = "the resolver does not answer"
    return tuple(found.get(each, replace(each, problem=late)) for each in servers)


def _one_of_each_family(addresses: Sequence[Address]) -> list[Address]:
    firsts = [next((each for each in addresses if each.is_ipv6 == family), None) for family in (False, True)]
    return [each for each in firsts if each is not None]


def _parse_stun(text: str) -> tuple[str, int]:
    forms = "write HOST:PORT, HOST (port 3478) or [IPV6]:PORT"
    rest = text.strip().removeprefix("stun:")
    if "://" in rest or "@" in rest or not rest:
        raise UsageError(f"{text[:60]!r} names no STUN server; {forms}.")
    has_port = "]:" in rest if rest.startswith("[") else rest.count(":") == 1
    check_server_host((rest.rpartition(":")[0] if has_port else rest).strip("[]"))
    try:
        url = parse_supernode_url(rest if has_port or rest.count(":") > 1 else f"{rest}:{STUN_PORT}")
    except UsageError as error:
        raise UsageError(f"{text[:60]!r} names no STUN server; {forms}.") from error
    return url.host, url.port if has_port else STUN_PORT


def _without_password(value: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError:
        return "(not a URL)"
    if "@" not in parts.netloc:
        return value.rpartition("@")[2]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
