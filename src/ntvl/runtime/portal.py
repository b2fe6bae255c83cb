"""Whether a captive portal stands in front of the Internet here: it answers plain HTTP in everybody's place.

A supernode need not run a web server; so whatever answers HTTP at its address with a way to somewhere else, or with 511
(RFC 6585 section 6), is a portal, or its owner's web server, which one is told apart only by where it leads: to another
name. Nothing is followed or fetched; what the answer names is shown to a person.
"""

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from ntvl.identity.url import SupernodeUrl
from ntvl.proto.text import printable
from ntvl.wire.address import Address

__all__ = ["find_portal", "parse_portal"]

HTTP_PORT: Final = 80
_ANSWER_BYTES_MAX: Final = 4096
_SHOWN_MAX: Final = 200
_REDIRECTS: Final = (b"301", b"302", b"303", b"307", b"308")


async def find_portal(
    servers: Sequence[tuple[SupernodeUrl, Sequence[Address]]], limit_s: float, *, port: int = HTTP_PORT
) -> str:
    """Returns where a portal leads to, "?" where it does not say, empty where nothing speaks for one.

    Args:
        servers: supernodes with the addresses that their names resolve to; the first of each is asked.
        limit_s: what has no answer by then is none.
    """
    asked = [_ask(url.host, Address(addresses[0].host, port), limit_s) for url, addresses in servers if addresses]
    return next(filter(None, await asyncio.gather(*asked)), "")


async def _ask(host: str, address: Address, limit_s: float) -> str:
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection(*address)
            name = f"[{host}]" if ":" in host else host
            writer.write(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head and len(head) < _ANSWER_BYTES_MAX:
                data = await reader.read(_ANSWER_BYTES_MAX - len(head))
                if not data:
                    break
                head += data
    except OSError:
        return ""
    finally:
        if writer is not None:
            writer.transport.abort()
    return parse_portal(head, host)


def parse_portal(head: bytes, host: str) -> str:
    """Returns where an HTTP answer leads, if that is away from `host`; "?" for a 511 without a place; else empty."""
    lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")
    status = lines[0].split(b" ")[1] if lines[0].startswith(b"HTTP/1.") and b" " in lines[0] else b""
    named = next((line[9:].strip() for line in lines[1:] if line[:9].lower() == b"location:"), b"")
    place = printable(named.decode("ascii", "replace"))[:_SHOWN_MAX]
    if status == b"511":
        return place or "?"
    if status not in _REDIRECTS:
        return ""
    try:
        found = urlsplit(place).hostname
    except ValueError:
        return ""
    return place if found and found != host.lower() else ""
