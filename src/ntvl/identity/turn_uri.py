"""A TURN server as people write it: `turn:HOST:PORT?transport=udp` or `turns:HOST:PORT`.

Source: RFC 7065 section 3.1; the ports are those of RFC 8656 section 3 (3478, with TLS 5349). Deviation: `turns:` is
TLS over TCP, without DTLS.
"""

import ipaddress
import re
from enum import Enum
from typing import Final, NamedTuple

from ntvl.errors import UsageError
from ntvl.identity.url import check_server_host
from ntvl.wire.address import Address

__all__ = ["TurnTransport", "TurnUri", "is_host_name", "parse_turn_uri"]

PORT_DEFAULT: Final = 3478
TLS_PORT_DEFAULT: Final = 5349
_FORMS: Final = "write turn:HOST:PORT, turn:HOST:PORT?transport=tcp or turns:HOST:PORT"
_URI: Final = re.compile(
    r"(?P<scheme>turns?):(?P<host>\[[0-9a-f:.]+\]|[^:?\[\]/@]+)(:(?P<port>[0-9]{1,5}))?(\?transport=(?P<over>[a-z]+))?",
    re.ASCII | re.IGNORECASE,
)
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)


class TurnTransport(Enum):
    """Names how the server is spoken with; between server and peers it is UDP always."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


class TurnUri(NamedTuple):
    """Is a TURN server: `host` a name in lower case or a literal without brackets, `port` 1..65535."""

    host: str
    port: int
    transport: TurnTransport

    def __str__(self) -> str:
        scheme = "turns" if self.transport is TurnTransport.TLS else "turn"
        return (
            f"{scheme}:{Address(self.host, self.port)}{'?transport=tcp' if self.transport is TurnTransport.TCP else ''}"
        )


def parse_turn_uri(text: str) -> TurnUri:
    """Returns what a person wrote, with the default port where none is given; UDP where `turn:` names no transport.

    Raises:
        UsageError: one sentence that says what is wrong and what to write.
    """
    shown = repr(text[:100])
    found = _URI.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{shown} is no TURN server; {_FORMS}.")
    over = (found["over"] or "").lower()
    secure = found["scheme"].lower() == "turns"
    if over not in ("", "tcp", "udp") or (secure and over == "udp"):
        raise UsageError(f"{shown} asks for a transport that there is not: turn: has udp and tcp, turns: has tcp.")
    port = int(found["port"] or (TLS_PORT_DEFAULT if secure else PORT_DEFAULT))
    if not 1 <= port <= 65535:
        raise UsageError(f"{shown} has the port {port}, which is not a number from 1 to 65535; {_FORMS}.")
    transport = TurnTransport.TLS if secure else TurnTransport.TCP if over == "tcp" else TurnTransport.UDP
    return TurnUri(_parse_host(shown, found["host"]), port, transport)


def is_host_name(name: str) -> bool:
    """Returns whether a text is a DNS name in ASCII without a dot at its end (RFC 1123 section 2.1), in either case."""
    return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.lower().split("."))


def _parse_host(shown: str, host: str) -> str:
    name = host.lower().removesuffix(".")
    if host.startswith("[") or name.rpartition(".")[2].isdigit():
        try:
            address = str(ipaddress.ip_address(host.strip("[]")))
        except ValueError:
            raise UsageError(f"{shown} has a host that is no address; {_FORMS}.") from None
        check_server_host(address)
        return address
    if not is_host_name(name):
        raise UsageError(f"{shown} has a host that is no name; {_FORMS}.")
    return name
