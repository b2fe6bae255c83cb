"""HTTP to one gateway and to nobody else, for UPnP.

A description can name any address for its services, and a redirect can too. So only plain HTTP to the gateway's own
literal address is spoken: no names, no redirects, no proxy, no cookies, no compression that unfolds; answers are
bounded in number, size and time.
"""

from collections import Counter
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from async_upnp_client.client import UpnpRequester
from async_upnp_client.const import HttpRequest, HttpResponse
from async_upnp_client.exceptions import UpnpError

from ntvl.runtime.gateway import Gateway

__all__ = ["BODY_BYTES_MAX", "REQUESTS_MAX", "REQUEST_S", "DocumentError", "GatewayRequester", "is_of_gateway"]

URL_CHARS_MAX: Final = 512
BODY_BYTES_MAX: Final = 256 * 1024
REQUESTS_MAX: Final = 32
"""Documents and actions in one go: a description names a handful of services, each with a document of its own."""
REQUEST_S: Final = 4.0


def is_of_gateway(url: str, gateway: str) -> bool:
    """Returns whether a URL leads to the gateway itself, by plain HTTP and by its address, not a name.

    Args:
        url: any text from anybody.
        gateway: a literal address.
    """
    if len(url) > URL_CHARS_MAX:
        return False
    try:
        parts = urlsplit(url)
        return (
            parts.scheme == "http"
            and parts.hostname == gateway
            and parts.username is None
            and parts.password is None
            and parts.port != 0
        )
    except ValueError:
        return False


class DocumentError(UpnpError):
    """Says why a document was not fetched, or not to its end: it is counted."""


class GatewayRequester(UpnpRequester):
    """Fetches from one gateway, and from nobody else.

    Args:
        gateway: where to fetch from, and from which of our addresses.
    Attributes:
        drops: what was not fetched, or not to its end, by reason.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.drops: Counter[str] = Counter()
        self._gateway = gateway
        self._left = REQUESTS_MAX

    def refill(self) -> None:
        """Allows for another `REQUESTS_MAX` requests."""
        self._left = REQUESTS_MAX

    async def async_http_request(self, http_request: HttpRequest) -> HttpResponse:
        """Makes one request, without redirects, within `REQUEST_S` and `BODY_BYTES_MAX`.

        Raises:
            DocumentError: it leads elsewhere, or what comes is too much.
            aiohttp.ClientError, OSError, TimeoutError: no answer.
        """
        if not is_of_gateway(http_request.url, self._gateway.host):
            raise self._refusal("elsewhere", "a document that is not the gateway's own")
        if self._left <= 0:
            raise self._refusal("rate", "too many documents")
        self._left -= 1
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(local_addr=(self._gateway.client, 0), force_close=True),
                timeout=aiohttp.ClientTimeout(total=REQUEST_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            ) as session,
            session.request(
                http_request.method,
                http_request.url,
                headers={**http_request.headers, "Accept-Encoding": "identity"},
                data=http_request.body,
                allow_redirects=False,
            ) as response,
        ):
            if 300 <= response.status < 400:
                raise self._refusal("elsewhere", "a document that is elsewhere")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise self._refusal("long", "a document that is too long")
            return HttpResponse(response.status, response.headers, body.decode("utf-8", "replace"))

    def _refusal(self, reason: str, text: str) -> DocumentError:
        self.drops[reason] += 1
        return DocumentError(text)
