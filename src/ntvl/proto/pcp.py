"""A mapping by PCP (RFC 6887): one MAP request makes it, renews it and ends it, all under one nonce.

Whoever cannot read our requests cannot guess the nonce, so answers are believed by that (section 18.2). An ANNOUNCE has
none: it makes us ask, and nothing else.
"""

from typing import ClassVar, Final

from ntvl.proto.lessee import LIFETIME_S, LIFETIME_S_MIN, Lessee, Send, Standing, not_ours
from ntvl.proto.machine import Random
from ntvl.wire.pcp import (
    PCP_NONCE_BYTES,
    PCP_UDP,
    PcpOpcode,
    PcpResponse,
    PcpResult,
    build_pcp_announce,
    build_pcp_map,
)

__all__ = ["PcpLessee"]

_WORDS: Final = {
    PcpResult.NOT_AUTHORIZED: "the gateway does not allow it",
    PcpResult.NETWORK_FAILURE: "the gateway is offline",
    PcpResult.NO_RESOURCES: "the gateway has no room for another mapping",
    PcpResult.USER_EX_QUOTA: "this computer has too many mappings already",
    PcpResult.CANNOT_PROVIDE_EXTERNAL: "the gateway cannot give the external address that was asked for",
    PcpResult.ADDRESS_MISMATCH: "there is another NAT between this computer and the gateway",
}


class PcpLessee(Lessee):
    """Holds one mapping, or with an IPv6 address one pinhole, by PCP.

    Args:
        client: our literal address, the one that datagrams to the gateway have as source.
    """

    name = "PCP"
    waits_s: ClassVar[tuple[float, ...]] = (3.0, 6.0, 12.0, 24.0, 48.0, 96.0)
    strict_epoch = True

    def __init__(self, port: int, client: str, *, random: Random, send: Send) -> None:
        super().__init__(port, random=random, send=send)
        self._client = client
        self._nonce = b""

    def handle_response(self, response: PcpResponse, now: float) -> None:
        """Takes what came from the gateway.

        Raises:
            PeerError: reason "transaction": it answers nothing that we asked.
        """
        if response.result == PcpResult.UNSUPP_VERSION:
            if not self._is_asking() or self.mapping is not None:
                raise not_ours("version")
            self._give_up(now, "the gateway speaks another version of PCP")
        elif response.opcode is PcpOpcode.ANNOUNCE:
            # An error tells that the gateway is there, and its epoch all the same.
            if not self._take_epoch(response.epoch_s, now) or self.standing is Standing.ABSENT:
                self._restarted(now)
            else:
                self._checked(now)
        elif (response.nonce, response.protocol, response.internal_port) != (self._nonce, PCP_UDP, self.port):
            raise not_ours("nonce or port")
        else:
            self._handle_map(response, now)

    def speaks_natpmp_only(self, now: float) -> None:
        """Takes the answer of a gateway that knows NAT-PMP and not PCP (RFC 6886 section 3.5)."""
        if self._is_asking() and self.mapping is None:
            self._give_up(now, "the gateway speaks NAT-PMP only")

    def _handle_map(self, response: PcpResponse, now: float) -> None:
        if self.is_idle:
            raise not_ours("stopped")
        if self._removed():
            return
        self._take_epoch(response.epoch_s, now)  # the answer is about the mapping as it is now
        if not self._is_asking() and (self.mapping is None or response.result or response.lifetime_s < LIFETIME_S_MIN):
            if self.mapping is not None:  # the gateway tells unasked that the mapping is gone (section 14.2)
                self._restarted(now)
            return
        if response.result:
            error = _WORDS.get(response.result) or f"the gateway answers with error {response.result}"  # type: ignore[call-overload]
            self._refuse(error, response.lifetime_s, now)
        elif (":" in response.external_host) != (":" in self._client):
            self._refuse_family(response.external_host, now)
        else:
            self._mapped(response.external_host, response.external_port, response.lifetime_s, now)

    def _refuse_family(self, host: str, now: float) -> None:
        """Gives back what leads to us from the other family: we asked for our own (section 11.1), and nobody who takes
        the mapping for our address of this family could be reached by it.
        """
        self._send(self._build_removal(), now)
        self._lose()
        family = "IPv6" if ":" in self._client else "IPv4"
        self._refuse(f"the gateway answers with {host}, which is no {family} address", 0.0, now)

    def _build_request(self) -> bytes:
        if not self._nonce:
            self._nonce = self._random(PCP_NONCE_BYTES)
        had = self.mapping.external if self.mapping is not None else None
        return build_pcp_map(
            self._client,
            self._nonce,
            self.port,
            lifetime_s=LIFETIME_S,
            external_host=had.host if had else "",
            external_port=had.port if had else 0,
        )

    def _build_removal(self) -> bytes:
        return build_pcp_map(self._client, self._nonce, self.port, lifetime_s=0)

    def _build_check(self) -> bytes:
        return build_pcp_announce(self._client)

    def _may_be_held(self) -> bool:
        return bool(self._nonce)

    def _forget(self) -> None:
        self._nonce = b""
