"""The one request that asks an HTTP proxy for a tunnel, and its answer.

Source: RFC 9110 sections 9.3.6 (CONNECT) and 11.7 (proxy authentication), RFC 7617 (Basic).
"""

import base64
import re
from typing import Final

from ntvl.errors import PeerError

__all__ = ["ANSWER_BYTES_MAX", "build_connect", "parse_connect_answer"]

ANSWER_BYTES_MAX: Final = 8192
"""The longest head of an answer, as most HTTP programs have it."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")


def build_connect(host: str, port: int, *, user: str = "", password: str = "") -> bytes:
    """Returns the request for a tunnel to a host, a name or a literal without brackets.

    Args:
        user, password: for Basic authentication; none is offered where both are empty.
    """
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
    if user or password:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        head += f"Proxy-Authorization: Basic {token}\r\n"
    return f"{head}\r\n".encode()


def parse_connect_answer(data: bytes) -> tuple[int, int] | None:
    """Returns the status of an answer and where the tunnel begins in `data`; None while its head is not whole.

    Args:
        data: everything that came so far.
    Raises:
        PeerError: reason "long" (no end of the head) or "format" (not HTTP); close the stream.
    """
    if not b"HTTP/1.".startswith(data[:7]):
        raise PeerError("format", "no HTTP")
    end = data.find(b"\r\n\r\n", 0, ANSWER_BYTES_MAX)
    if end < 0:
        if len(data) >= ANSWER_BYTES_MAX:
            raise PeerError("long", "the head of a proxy's answer")
        return None
    found = _STATUS.match(data)
    if found is None:
        raise PeerError("format", "a proxy's status line")
    return int(found[1]), end + 4
