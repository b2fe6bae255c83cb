"""Whether streams to supernodes would work from here: each way is opened once, up to the agreement, and closed."""

import asyncio
import errno
import ssl
from collections.abc import Mapping, Sequence
from typing import Final

from ntvl.errors import PeerError, UsageError
from ntvl.identity.url import SupernodeUrl
from ntvl.runtime.dialler import ProxyError, dial
from ntvl.runtime.proxy import Proxy, find_proxy
from ntvl.wire.address import Address

__all__ = ["WORKS", "check_streams", "describe_failure"]

WORKS: Final = "works"
SILENT: Final = "no answer"
SOMEBODY: Final = "somebody else answers: a captive portal, or another program"
REFUSED: Final = "refused: nothing listens there"
NO_ROUTE: Final = "no route there from here"
CUT: Final = "cut off in the middle"
NO_TLS: Final = "TLS failed: another program answers"
_WORDS: Final = {
    errno.ECONNREFUSED: REFUSED,
    errno.ETIMEDOUT: SILENT,
    errno.ENETUNREACH: NO_ROUTE,
    errno.EHOSTUNREACH: NO_ROUTE,
    errno.ENETDOWN: NO_ROUTE,
    errno.EHOSTDOWN: NO_ROUTE,
    errno.EADDRNOTAVAIL: NO_ROUTE,
    errno.EACCES: "a firewall on this computer forbids it",
    errno.EPERM: "a firewall on this computer forbids it",
    errno.ECONNRESET: CUT,
    errno.ECONNABORTED: CUT,
    errno.EPIPE: CUT,
}
_NOWHERE: Final = Address("127.0.0.1", 9)
"""In the place of an engine, to which nothing is sent."""


async def check_streams(
    servers: Sequence[tuple[SupernodeUrl, Sequence[Address]]], environ: Mapping[str, str], limit_s: float
) -> list[dict[str, str]]:
    """Returns for each supernode what came of "tcp", "wss" and, where there is one, "proxy": `WORKS`, or why not.

    Args:
        servers: with the addresses that their names resolve to.
        environ: names the proxy.
        limit_s: what has no answer by then counts as silent.
    """

    async def check(url: SupernodeUrl, addresses: Sequence[Address], kind: str, proxy: Proxy | None) -> str:
        try:
            async with asyncio.timeout(limit_s):
                (await dial(kind, url, addresses, _NOWHERE, proxy=proxy)).close()
        except PeerError:
            return SOMEBODY
        except OSError as error:
            return describe_failure(error)
        return WORKS

    asked = []
    for url, addresses in servers:
        proxy = _find(url.host, environ)
        asked.append((url, addresses, proxy, ("tcp", "wss") if proxy is None else ("tcp", "wss", "proxy")))
    flat = [(url, addresses, kind, proxy) for url, addresses, proxy, kinds in asked for kind in kinds]
    answers = iter(await asyncio.gather(*(check(*each) for each in flat)))
    return [{kind: next(answers) for kind in kinds} for *_, kinds in asked]


def describe_failure(error: OSError) -> str:
    """Returns in a person's words why a stream did not come about."""
    if isinstance(error, ProxyError) or (error.errno is None and type(error) is OSError):
        return str(error)
    if isinstance(error, TimeoutError):
        return SILENT
    if isinstance(error, ssl.SSLError):
        return NO_TLS
    if isinstance(error, ConnectionError) and error.errno is None:  # asyncio's own, such as an end amid the agreement
        return CUT
    return _WORDS.get(error.errno or 0) or (error.strerror or str(error)).lower()


def _find(host: str, environ: Mapping[str, str]) -> Proxy | None:
    """Returns the proxy towards a host; one that ntvl cannot use is none."""
    try:
        return find_proxy(host, environ)
    except UsageError:
        return None
