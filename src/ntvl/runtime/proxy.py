"""The HTTP proxy that the environment names, and whether it is meant for a host.

    https_proxy, HTTPS_PROXY, all_proxy, ALL_PROXY    the first that is set: http://[USER:PASSWORD@]HOST[:PORT]
    no_proxy, NO_PROXY                                hosts, domains and networks that need none, or "*"

These are the habits of curl(1); there is no standard for them.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from ntvl.errors import UsageError
from ntvl.wire.address import Address

__all__ = ["PORT_DEFAULT", "Proxy", "find_proxy", "parse_proxy"]

PORT_DEFAULT: Final = 8080
"""Where no port is written. curl says 1080, which is that of SOCKS; most HTTP proxies say 3128 or 8080."""
_NAMES: Final = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@dataclass(frozen=True, slots=True)
class Proxy:
    """Is an HTTP proxy: `host` a name or a literal without brackets."""

    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return str(Address(self.host, self.port))


def find_proxy(host: str, environ: Mapping[str, str]) -> Proxy | None:
    """Returns the proxy towards a host, or None where there is none or the host needs none.

    Raises:
        UsageError: the variable names no HTTP proxy; in one sentence.
    """
    name = next((name for name in _NAMES if environ.get(name)), "")
    if not name or _is_excepted(host, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    return parse_proxy(environ[name], name)


def parse_proxy(text: str, name: str) -> Proxy:
    """Returns what a variable names.

    Raises:
        UsageError: as `find_proxy`; the sentence never holds the text, which may hold a password.
    """
    advice = "write http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT"
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise UsageError(f"The variable {name} does not name a proxy; {advice}.") from error
    if parts.scheme != "http":
        raise UsageError(
            f"The variable {name} names a proxy of the kind {parts.scheme[:20]}, which ntvl cannot use; {advice}."
        )
    if not host or port == 0 or not host.isascii() or any(c.isspace() or not c.isprintable() for c in host):
        raise UsageError(f"The variable {name} does not name a proxy; {advice}.")
    return Proxy(host, port or PORT_DEFAULT, unquote(parts.username or ""), unquote(parts.password or ""))


def _is_excepted(host: str, exceptions: str) -> bool:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        ip = None
    for text in exceptions.replace(",", " ").split():
        if text == "*":
            return True
        if ip is None:
            domain = text.lower().removeprefix("*").lstrip(".")
            if domain and (host == domain or host.endswith(f".{domain}")):
                return True
            continue
        try:
            if ip in ipaddress.ip_network(text.strip("[]"), strict=False):
                return True
        except ValueError:
            continue
    return False
