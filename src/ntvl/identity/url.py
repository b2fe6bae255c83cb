"""A supernode as people write it: `ntvl://KEY@HOST:PORT`, or `HOST[:PORT]`, whose key is pinned at first use.

`?wss=PORT` after it names the port at which it takes WebSockets over TLS, where that is not 443.
"""

import ipaddress
import re
from typing import Final, NamedTuple

from ntvl.errors import UsageError
from ntvl.identity.keys import format_key, parse_key
from ntvl.wire.address import Address, unmapped

__all__ = ["PORT_DEFAULT", "WSS_PORT_DEFAULT", "SupernodeUrl", "check_server_host", "parse_supernode_url"]

PORT_DEFAULT: Final = 1971
WSS_PORT_DEFAULT: Final = 443
_SCHEME: Final = "ntvl://"
_FORMS: Final = "write ntvl://KEY@HOST:PORT as `ntvl supernode` prints it, or HOST or HOST:PORT"
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)


class SupernodeUrl(NamedTuple):
    """Is a supernode's address and key: `host` a name or a literal without brackets, `key` None until it is learned.

    `port` is for UDP and TCP, `wss` for WebSockets over TLS.
    """

    host: str
    port: int
    key: bytes | None
    wss: int = WSS_PORT_DEFAULT

    def __str__(self) -> str:
        user = f"{format_key(self.key)}@" if self.key is not None else ""
        wss = "" if self.wss == WSS_PORT_DEFAULT else f"?wss={self.wss}"
        return f"{_SCHEME}{user}{self.endpoint}{wss}"

    @property
    def endpoint(self) -> str:
        """Returns "HOST:PORT", a literal IPv6 address in brackets: what sentences call the supernode."""
        return str(Address(self.host, self.port))


def parse_supernode_url(text: str) -> SupernodeUrl:
    """Returns what a person wrote: host in lower case or a canonical literal, port 1971 where none is given.

    Args:
        text: `ntvl://KEY@HOST:PORT`, with or without key and port; `HOST`, `HOST:PORT`, `[IPV6]:PORT` or a bare IPv6
            literal; `?wss=PORT` after any of these.
    Raises:
        UsageError: one sentence that says what is wrong and what to write.
    """
    rest, question, query = text.strip().partition("?")
    if rest[: len(_SCHEME)].lower() == _SCHEME:
        rest = rest[len(_SCHEME) :].removesuffix("/")
    elif "://" in rest:
        raise UsageError(f"{_shown(text)} starts with another scheme than ntvl://; {_FORMS}.")
    user, at, rest = rest.rpartition("@")
    key = parse_key(user) if at else None
    host, port = _split_port(text, rest.removesuffix("/") if question else rest)
    return SupernodeUrl(_parse_host(text, host), port, key, _parse_query(text, query) if question else WSS_PORT_DEFAULT)


def check_server_host(host: str) -> None:
    """Refuses an address that cannot be a server's from here, whatever runs there; takes names and anything else.

    A link-local address means another computer on each interface (RFC 4007 section 6, RFC 3927 section 2.7), and an
    endpoint has no place for the interface. To "any address" and to groups one may send, but the answers come from
    another address, so nobody would know them.

    Raises:
        UsageError: one sentence that says what is wrong and what to write.
    """
    try:
        ip = unmapped(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return
    if ip.is_link_local:
        raise UsageError(
            f"{host[:60]!r} is a link-local address, which leads nowhere without the interface that it belongs to; use "
            "another address of that computer, or its name."
        )
    if ip.is_unspecified or ip.is_multicast or str(ip) == "255.255.255.255":
        raise UsageError(
            f"{host[:60]!r} is not the address of one computer; use the server's own address, or its name."
        )


def _parse_query(text: str, query: str) -> int:
    name, _, port = query.partition("=")
    if name != "wss":
        raise UsageError(f"{_shown(text)} has {query[:40]!r} after its question mark, where only wss=PORT may stand.")
    return _parse_port(text, port)


def _split_port(text: str, rest: str) -> tuple[str, int]:
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")) or ":" not in host:
            raise UsageError(
                f"{_shown(text)} has brackets, which go around an IPv6 address alone, like [2001:db8::1]:1971."
            )
        return host, _parse_port(text, tail[1:]) if tail else PORT_DEFAULT
    if rest.count(":") > 1:
        return rest, PORT_DEFAULT
    host, colon, port = rest.partition(":")
    return host, _parse_port(text, port) if colon else PORT_DEFAULT


def _parse_port(text: str, port: str) -> int:
    if port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535:
        return int(port)
    raise UsageError(f"{_shown(text)} has the port {port[:20]!r}, which is not a number from 1 to 65535; {_FORMS}.")


def _parse_host(text: str, host: str) -> str:
    if not host:
        raise UsageError(f"{_shown(text)} names no supernode; {_FORMS}.")
    if ":" in host:
        try:
            ip = ipaddress.IPv6Address(host)
        except ValueError as error:
            raise UsageError(
                f"{host[:60]!r} is not an IPv6 address; {_FORMS}, and an IPv6 address as [2001:db8::1]."
            ) from error
        check_server_host(host)
        if ip.scope_id is not None:
            raise UsageError(f"{host[:60]!r} has a zone, which a supernode's address cannot have; leave it out.")
        return str(ip)
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    if labels[-1].isdigit():
        try:
            address = str(ipaddress.IPv4Address(name))
        except ValueError as error:
            raise UsageError(f"{host[:60]!r} is not an IPv4 address; {_FORMS}.") from error
        check_server_host(address)
        return address
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UsageError(f"{host[:60]!r} is not a host name (a foreign script needs its xn-- form); {_FORMS}.")
    return name


def _shown(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:97] + "...")
