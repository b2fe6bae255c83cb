"""Whether streams to supernodes would work from here: each way is opened once, up to the agreement, and closed."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import Final

from ntvl.errors import PeerError, UsageError
from ntvl.identity.url import SupernodeUrl
from ntvl.runtime.dialler import ProxyError, dial
from ntvl.runtime.proxy import Proxy, find_proxy
from ntvl.wire.address import Address

__all__ = ["WORKS", "check_streams"]

WORKS: Final = "works"
SILENT: Final = "no answer"
SOMEBODY: Final = "somebody else answers: a captive portal, or another program"
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
        except ProxyError as error:
            return str(error)
        except TimeoutError:
            return SILENT
        except (PeerError, ssl.SSLError):
            return SOMEBODY
        except OSError as error:
            return (error.strerror or str(error)).lower() or SOMEBODY
        return WORKS

    asked = []
    for url, addresses in servers:
        proxy = _find(url.host, environ)
        asked.append((url, addresses, proxy, ("tcp", "wss") if proxy is None else ("tcp", "wss", "proxy")))
    flat = [(url, addresses, kind, proxy) for url, addresses, proxy, kinds in asked for kind in kinds]
    answers = iter(await asyncio.gather(*(check(*each) for each in flat)))
    return [{kind: next(answers) for kind in kinds} for *_, kinds in asked]


def _find(host: str, environ: Mapping[str, str]) -> Proxy | None:
    """Returns the proxy towards a host; one that ntvl cannot use is none."""
    try:
        return find_proxy(host, environ)
    except UsageError:
        return None
