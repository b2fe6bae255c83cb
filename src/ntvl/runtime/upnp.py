"""A mapping by UPnP (Internet Gateway Device 1 and 2), with async-upnp-client for the formats.

    find    M-SEARCH to the link and to the gateway ──► where its description is ──► the connection services in it
    add     the external address, then AddAnyPortMapping (IGD 2) or AddPortMapping, with a lease
    renew   the same again; remove: DeletePortMapping

What the gateway says is bounded by `runtime.requester`, and read by the package with defusedxml, which refuses entities
that a document defines and whatever lies outside it. Where the package still fails, the gateway has no description.

Source: UPnP Device Architecture 1.1 sections 2 (description) and 3 (control); WANIPConnection:1 and :2,
WANPPPConnection:1 sections 2.4 (actions) and 2.5 (errors).
"""

import asyncio
import ipaddress
import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from async_upnp_client.client import UpnpService
from async_upnp_client.client_factory import UpnpFactory
from async_upnp_client.exceptions import UpnpActionError, UpnpResponseError

from ntvl.errors import NtvlError
from ntvl.proto.lessee import LIFETIME_S, PortMapping, Standing
from ntvl.proto.machine import Random
from ntvl.runtime.gateway import Gateway
from ntvl.runtime.requester import DocumentError, GatewayRequester
from ntvl.runtime.ssdp import search
from ntvl.wire.address import Address, is_public

__all__ = ["UpnpGateway", "UpnpRefusedError"]

SERVICES: Final = tuple(
    f"urn:schemas-upnp-org:service:{name}" for name in ("WANIPConnection:2", "WANIPConnection:1", "WANPPPConnection:1")
)
FIND_S: Final = 12.0
DESCRIPTION: Final = "ntvl"
"""What the router's pages show for the mapping."""
CONFLICTS_MAX: Final = 4
_NO_LEASE: Final = (402, 725)
"""OnlyPermanentLeasesSupported, and what some routers say instead."""
_CONFLICT: Final = 718
_WORDS: Final = {
    501: "the gateway could not do it",
    606: "the gateway does not allow it",
    718: "other computers have the ports that were tried",
    728: "the gateway has no room for another mapping",
}

# What it finds wrong is said here, in our words: its own repeat what strangers sent.
logging.getLogger("async_upnp_client").setLevel(logging.CRITICAL)


class UpnpRefusedError(NtvlError):
    """Says in words why there is no mapping by UPnP, and how the protocol stands."""

    def __init__(self, standing: Standing, text: str) -> None:
        super().__init__(text)
        self.standing = standing


@dataclass(frozen=True, slots=True)
class _Held:
    """Is a mapping and where it was made."""

    service: UpnpService
    mapping: PortMapping
    lease_s: int


class UpnpGateway:
    """Maps one UDP port at one IPv4 gateway by UPnP.

    Args:
        port: our UDP port.
        random: chance, for the port to try after one that is taken.
    """

    def __init__(self, gateway: Gateway, port: int, *, random: Random) -> None:
        self.gateway = gateway
        self.port = port
        self._random = random
        self._requester = GatewayRequester(gateway)
        self._services: list[UpnpService] = []
        self._held: _Held | None = None
        self._adding: asyncio.Task[PortMapping] | None = None

    @property
    def mapping(self) -> PortMapping | None:
        """Returns the mapping that was made; its lifetime is 0 where the gateway knows permanent ones only."""
        return self._held.mapping if self._held is not None else None

    @property
    def drops(self) -> Counter[str]:
        """Returns what of the gateway's, or of others in its name, was dropped, by reason."""
        return self._requester.drops

    async def find(self) -> None:
        """Looks for the gateway's services; takes 3 s at least where there are none.

        Raises:
            UpnpRefusedError: it has none that we may use.
        """
        locations = await search(self.gateway, self.drops)
        if not locations:
            raise UpnpRefusedError(Standing.ABSENT, "the gateway does not answer")
        self._requester.refill()
        self._services = []
        with suppress(TimeoutError):
            async with asyncio.timeout(FIND_S):
                for location in locations:
                    self._services += await self._describe(location)
                    if self._services:
                        break
        if not self._services:
            raise UpnpRefusedError(Standing.ABSENT, "the gateway describes no Internet connection that can be used")

    async def add(self) -> PortMapping:
        """Makes a mapping, or makes the one that it holds last longer; call `find` before.

        Raises:
            UpnpRefusedError: the gateway makes none, or none that is public; nothing is held then.
        """
        # Who is cancelled meanwhile does not know whether there is a mapping; so what was asked for is heard out.
        self._adding = asyncio.create_task(self._add())
        return await asyncio.shield(self._adding)

    async def _add(self) -> PortMapping:
        self._requester.refill()
        refusal = UpnpRefusedError(Standing.ABSENT, "the gateway has no Internet connection")
        for service in [self._held.service] if self._held is not None else self._services:
            try:
                self._held = await self._add_at(service)
            except UpnpRefusedError as error:
                refusal = error
            else:
                return self._held.mapping
        self._held = None
        raise refusal

    async def remove(self) -> None:
        """Removes the mapping, if there is one; a gateway that does not answer is left alone."""
        if self._adding is not None:
            with suppress(UpnpRefusedError):
                await self._adding
        held, self._held = self._held, None
        if held is None:
            return
        self._requester.refill()
        with suppress(UpnpRefusedError):
            await self._call(held.service, "DeletePortMapping", **_key(held.mapping.external.port))

    async def _describe(self, location: str) -> list[UpnpService]:
        try:
            device = await UpnpFactory(self._requester, non_strict=True).async_create_device(location)
            found = [service for service in device.all_services if service.service_type in SERVICES]
            return sorted(found, key=lambda service: SERVICES.index(service.service_type))
        except Exception as error:  # whatever a stranger's document makes of the package: it lists no way to fail
            self._count(error)
            return []

    async def _add_at(self, service: UpnpService) -> _Held:
        host = await self._external_host(service)
        if self._held is not None:
            port, lease_s = self._held.mapping.external.port, self._held.lease_s
            await self._call(service, "AddPortMapping", **self._wish(port, lease_s))
            return _Held(service, PortMapping(Address(host, port), lease_s), lease_s)
        action = "AddAnyPortMapping" if service.has_action("AddAnyPortMapping") else "AddPortMapping"
        port, lease_s = self.port, LIFETIME_S
        last = UpnpRefusedError(Standing.REFUSED, _WORDS[_CONFLICT])
        for _ in range(CONFLICTS_MAX):
            try:
                answer = await self._call(service, action, **self._wish(port, lease_s))
            except UpnpRefusedError as error:
                code = getattr(error.__cause__, "error_code", None)
                if code in _NO_LEASE and lease_s:
                    lease_s = 0
                elif code == _CONFLICT:
                    port = 1024 + int.from_bytes(self._random(2), "big") % 64512
                else:
                    raise
                last = error
                continue
            given = port if action == "AddPortMapping" else _parse_port(answer.get("NewReservedPort"))
            if not given:
                # miniupnpd 2.3 describes the answer under another name than it gives; the older action names the port.
                action = "AddPortMapping"
                last = UpnpRefusedError(Standing.REFUSED, "the gateway names no port for the mapping")
                continue
            held = _Held(service, PortMapping(Address(host, given), lease_s), lease_s)
            await self._check(held)
            return held
        raise last

    async def _check(self, held: _Held) -> None:
        """Asks the gateway where the mapping leads, for some say yes to everything; no answer is no objection."""
        try:
            entry = await self._call(held.service, "GetSpecificPortMappingEntry", **_key(held.mapping.external.port))
        except UpnpRefusedError:
            return
        leads_to = (str(entry.get("NewInternalClient")), entry.get("NewInternalPort"))
        if leads_to != (self.gateway.client, self.port):
            raise UpnpRefusedError(Standing.REFUSED, "the gateway's mapping leads elsewhere")

    async def _external_host(self, service: UpnpService) -> str:
        answer = await self._call(service, "GetExternalIPAddress")
        try:
            host = str(ipaddress.IPv4Address(str(answer.get("NewExternalIPAddress")).strip()))
        except ValueError as error:
            raise UpnpRefusedError(Standing.REFUSED, "the gateway is offline") from error
        if not is_public(host):
            raise UpnpRefusedError(
                Standing.NOT_PUBLIC,
                f"the gateway's external address {host} is not public: it is behind another NAT, or offline",
            )
        return host

    def _wish(self, port: int, lease_s: int) -> dict[str, Any]:
        return {
            **_key(port),
            "NewInternalPort": self.port,
            "NewInternalClient": self.gateway.client,
            "NewEnabled": True,
            "NewPortMappingDescription": DESCRIPTION,
            "NewLeaseDuration": lease_s,
        }

    def _count(self, error: Exception) -> None:
        """Counts a document that came and could not be read; silence and errors of HTTP are no documents."""
        if not isinstance(error, DocumentError | UpnpResponseError | aiohttp.ClientConnectionError | OSError):
            self.drops["format"] += 1

    async def _call(self, service: UpnpService, action: str, **arguments: Any) -> Mapping[str, Any]:
        try:
            if not service.has_action(action):
                raise UpnpRefusedError(Standing.REFUSED, f"the gateway does not know {action}")
            return await service.action(action).async_call(**arguments)
        except UpnpRefusedError:
            raise
        except UpnpActionError as error:
            words = _WORDS.get(error.error_code or 0) or f"the gateway answers with error {error.error_code}"
            raise UpnpRefusedError(Standing.REFUSED, words) from error
        except Exception as error:  # as in _describe
            self._count(error)
            raise UpnpRefusedError(Standing.REFUSED, "the gateway answers nothing that can be read") from error


def _key(port: int) -> dict[str, Any]:
    return {"NewRemoteHost": "", "NewExternalPort": port, "NewProtocol": "UDP"}


def _parse_port(value: object) -> int:
    return value if isinstance(value, int) and 1 <= value <= 65535 else 0
