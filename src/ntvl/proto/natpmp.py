"""A mapping by NAT-PMP (RFC 6886): first the gateway's external address, then the mapping of the port.

The question for the address makes nothing, so it can be asked while PCP is asked too; a private address ends it there.
Answers carry no nonce: they are believed if they come from the gateway and name our port.
"""

from typing import ClassVar, Final

from ntvl.proto.lessee import LIFETIME_S, Lessee, Send, Standing, not_ours
from ntvl.proto.machine import Random
from ntvl.wire.address import is_public
from ntvl.wire.natpmp import (
    NatPmpAddress,
    NatPmpMapping,
    NatPmpResult,
    build_natpmp_address_request,
    build_natpmp_map_request,
)

__all__ = ["NatPmpLessee"]

_WORDS: Final = {
    NatPmpResult.UNSUPPORTED_VERSION: "the gateway speaks another version",
    NatPmpResult.NOT_AUTHORIZED: "the gateway does not allow it",
    NatPmpResult.NETWORK_FAILURE: "the gateway is offline",
    NatPmpResult.OUT_OF_RESOURCES: "the gateway has no room for another mapping",
    NatPmpResult.UNSUPPORTED_OPCODE: "the gateway makes no mappings",
}
_PASSING: Final = (NatPmpResult.NETWORK_FAILURE, NatPmpResult.OUT_OF_RESOURCES)
_PASSING_S: Final = 60.0
_LASTING_S: Final = 1800.0
"""How long an error lasts: NAT-PMP does not say, PCP's kinds are taken (RFC 6887 section 7.4)."""


class NatPmpLessee(Lessee):
    """Holds one mapping by NAT-PMP.

    Attributes:
        not_before: on the machine's clock; until then it asks for the address only and makes no mapping.
    """

    name = "NAT-PMP"
    waits_s: ClassVar[tuple[float, ...]] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
    strict_epoch = False

    def __init__(self, port: int, *, random: Random, send: Send) -> None:
        super().__init__(port, random=random, send=send)
        self.not_before = 0.0
        self._external = ""
        self._asked_to_map = False

    @property
    def maps(self) -> bool:
        """Returns whether it has asked for the mapping itself, or holds it."""
        return self._asked_to_map

    def handle_response(self, response: NatPmpAddress | NatPmpMapping, now: float) -> None:
        """Takes what came from the gateway.

        Raises:
            PeerError: reason "transaction": it answers nothing that we asked.
        """
        if self.is_idle:
            raise not_ours("stopped")
        went_on = self._take_epoch(response.epoch_s, now)
        if isinstance(response, NatPmpAddress):
            self._handle_address(response, went_on, now)
        else:
            self._handle_mapping(response, now)

    def may_map(self, now: float) -> None:
        """Ends the wait of `not_before`."""
        self.not_before = now
        if self._is_asking() and self._external and not self._asked_to_map:
            self._due = now

    def _handle_address(self, response: NatPmpAddress, went_on: bool, now: float) -> None:
        if self._is_asking() and not self._external:
            if response.result:
                self._refuse_by(response.result, now)
            elif not is_public(response.host):
                self._not_public(response.host, now)
            else:
                self._external, self._tries = response.host, 0
                self._due = max(now, self.not_before)
                self.handle_timeout(now)
        elif not went_on or self._is_news(response.host):
            self._restarted(now)
        else:
            self._checked(now)

    def _is_news(self, host: str) -> bool:
        """Returns whether an external address that was told, asked or not, is a reason to ask for the mapping again."""
        if self.mapping is not None:
            return host not in ("", self.mapping.external.host)
        return self.standing is Standing.ABSENT or (self.standing is Standing.NOT_PUBLIC and is_public(host or "::"))

    def _handle_mapping(self, response: NatPmpMapping, now: float) -> None:
        if (
            response.result in (NatPmpResult.SUCCESS, NatPmpResult.NOT_AUTHORIZED)
            and response.internal_port != self.port
        ):
            raise not_ours("port")
        if self._removed():
            return
        if not (self._is_asking() and self._asked_to_map and self._external):
            raise not_ours("unasked")
        if response.result:
            self._refuse_by(response.result, now)
        else:
            self._mapped(self._external, response.external_port, response.lifetime_s, now)

    def _refuse_by(self, result: int, now: float) -> None:
        if self.mapping is None:
            self._forget()
        words = _WORDS.get(result) or f"the gateway answers with error {result}"  # type: ignore[call-overload]
        self._refuse(words, _PASSING_S if result in _PASSING else _LASTING_S, now)

    def _begin(self, now: float) -> None:
        self._external = ""
        super()._begin(now)

    def _build_request(self) -> bytes:
        if not self._external:
            return build_natpmp_address_request()
        self._asked_to_map = True
        had = self.mapping.external.port if self.mapping is not None else 0
        return build_natpmp_map_request(self.port, lifetime_s=LIFETIME_S, external_port=had)

    def _build_removal(self) -> bytes:
        return build_natpmp_map_request(self.port, lifetime_s=0)

    def _build_check(self) -> bytes:
        return build_natpmp_address_request()

    def _may_be_held(self) -> bool:
        return self._asked_to_map

    def _forget(self) -> None:
        self._external, self._asked_to_map = "", False
