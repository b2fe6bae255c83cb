"""Where a supernode listens: what a person writes, and the addresses that follow from it."""

import ipaddress
import os
from collections.abc import Sequence
from typing import Final

from ntvl.errors import UsageError
from ntvl.identity.url import PORT_DEFAULT
from ntvl.wire.address import Address, is_public

__all__ = ["choose_public", "is_wildcard", "os_reason", "parse_listen", "parse_wss"]

_ANY: Final = ("0.0.0.0", "::")
_FORMS: Final = "write ADDR:PORT, like 203.0.113.5:1971 or [2001:db8::5]:1971, or :PORT for every address"


def parse_listen(texts: Sequence[str]) -> tuple[Address, ...]:
    """Returns the endpoints to bind, port 0 meaning any.

    Args:
        texts: each "ADDR:PORT", "ADDR", "[IPV6]:PORT", ":PORT" or "PORT"; none for every address at port 1971.
    Raises:
        UsageError: one sentence that says what is wrong and what to write.
    """
    found: dict[Address, None] = {}
    for text in texts or (f":{PORT_DEFAULT}",):
        for address in _parse(text.strip()):
            found[address] = None
    if len({address.port for address in found}) > 1:
        ports = ", ".join(str(port) for port in sorted({address.port for address in found}))
        raise UsageError(f"A supernode has one port, for its URL names one; --listen names {ports}.")
    return tuple(found)


def parse_wss(text: str) -> tuple[Address, ...]:
    """Returns the endpoints of `--wss`: "PORT", ":PORT", "ADDR:PORT" or "[IPV6]:PORT".

    Raises:
        UsageError: one sentence that says what is wrong and what to write.
    """
    try:
        return tuple(_parse(f":{text}" if text.isascii() and text.isdigit() else text.strip()))
    except UsageError as error:
        raise UsageError(f"--wss: {error}") from error


def is_wildcard(host: str) -> bool:
    """Returns whether a host stands for every address of its family."""
    return host in _ANY


def choose_public(hosts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns those of this computer's addresses that are reachable from anywhere unless filtered, and the others."""
    public = [host for host in hosts if is_public(host)]
    return public, [host for host in hosts if host not in public]


def _parse(text: str) -> list[Address]:
    host, port = _split(text)
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise UsageError(f"{text[:60]!r} has no port from 0 to 65535 to listen on; {_FORMS}.")
    if not host:
        return [Address(any_, int(port)) for any_ in _ANY]
    try:
        ip = ipaddress.ip_address(host)
    except ValueError as error:
        raise UsageError(f"{text[:60]!r} names no address to listen on; {_FORMS}.") from error
    if "%" in host or ip.is_multicast or ip.is_link_local:
        raise UsageError(f"{host[:60]!r} is not an address that nodes could reach; {_FORMS}.")
    return [Address(str(ip), int(port))]


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if bracket and ":" in host and (not rest or rest.startswith(":")):
            return host, rest[1:] or str(PORT_DEFAULT)
    elif text.count(":") > 1:
        return text, str(PORT_DEFAULT)
    elif ":" in text:
        host, _, port = text.partition(":")
        return host, port
    elif text.isdigit():
        return "", text
    elif text:
        return text, str(PORT_DEFAULT)
    raise UsageError(f"{text[:60]!r} names no address to listen on; {_FORMS}.")


def os_reason(error: OSError) -> str:
    """Returns why the system refused, in its own words: those of libraries around it name addresses once more."""
    return (os.strerror(error.errno) if error.errno else str(error)).lower()
