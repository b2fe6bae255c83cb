"""What PCP and NAT-PMP share: one asks a gateway for a mapping of one UDP port, keeps it, and gives it back.

    asking ──answer──► mapped ──half the lifetime──► asking again, the mapping stays until it expires
       │  ├─error────► refused ──as long as the error lasts──► asking
       │  ├─private──► not-public: given back at once, for a mapping on an inner NAT is no public one ──► asking
       │  └─silence──► absent ──an hour──► asking
    stopped: gives back what it may have, three packets in a second

Requests are repeated with the waits of each protocol. Between renewals a short question every two minutes tells by its
epoch whether the gateway has forgotten everything; then it is asked for the mapping again. A gateway is a stranger:
lifetimes are bounded both ways, an error delays for an hour at most.

Source: RFC 6887 sections 8.1.1 (retransmission), 11.2.1 (renewal), 15 (lifetimes), 8.5 and 14.1 (lost state), RFC 6886
sections 3.1, 3.3, 3.6 and 3.7. Deviations: PCP asks six times, not for ever, and then once an hour; NAT-PMP's waits
have PCP's jitter; a lifetime under 20 s is taken as a refusal.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import ClassVar, Final

from ntvl.errors import PeerError
from ntvl.proto.epoch import Epoch
from ntvl.proto.machine import Random, Wakeup
from ntvl.wire.address import Address, is_public

__all__ = [
    "ABSENT_S",
    "CHECK_S",
    "ERROR_S_MAX",
    "ERROR_S_MIN",
    "LIFETIME_S",
    "LIFETIME_S_MAX",
    "LIFETIME_S_MIN",
    "NOT_PUBLIC_S",
    "Lessee",
    "PortMapping",
    "Send",
    "Standing",
    "not_ours",
]

LIFETIME_S: Final = 7200
"""What is asked for (RFC 6886 section 3.3 recommends it)."""
LIFETIME_S_MIN: Final = 20
LIFETIME_S_MAX: Final = 86_400
"""RFC 6887 section 15: an absurdly long lifetime is taken for 24 hours."""
RENEW_S_MIN: Final = 4.0
"""RFC 6887 section 11.2.1."""
CHECK_S: Final = 120.0
ABSENT_S: Final = 3600.0
NOT_PUBLIC_S: Final = 1800.0
ERROR_S_MIN: Final = 30.0
ERROR_S_MAX: Final = 3600.0
RESTART_SPREAD_S: Final = 5.0
"""RFC 6887 section 14.1.2: computers that hear of a restart together do not ask together."""
REMOVE_WAITS_S: Final = (0.25, 0.35, 0.4)
"""After each of three requests for removal: the end of a program waits for a second and not longer."""

Send = Callable[[bytes, float], None]
"""Takes a datagram for the gateway, and the time."""


class Standing(StrEnum):
    """Says how one protocol fares with one gateway."""

    ASKING = "asking"
    MAPPED = "mapped"
    REFUSED = "refused"
    NOT_PUBLIC = "not-public"
    ABSENT = "absent"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class PortMapping:
    """Is a mapping: the address at which others reach our port, and how long the gateway said it lasts."""

    external: Address
    lifetime_s: int


class _Phase(Enum):
    IDLE = auto()
    ASKING = auto()
    RESTING = auto()
    REMOVING = auto()


class Lessee(ABC):
    """Holds one mapping by one protocol; see the module.

    Args:
        port: our UDP port, 1..65535.
        random: chance, for jitter and nonces.
        send: takes what is for the gateway.
    """

    name: ClassVar[str]
    waits_s: ClassVar[tuple[float, ...]]
    """After each request, until the next or, after the last, until the gateway counts as silent."""
    strict_epoch: ClassVar[bool]

    def __init__(self, port: int, *, random: Random, send: Send) -> None:
        self.port = port
        self.standing = Standing.STOPPED
        self.outcome = "not asked"
        self.mapping: PortMapping | None = None
        self._random = random
        self._send = send
        self._phase = _Phase.IDLE
        self._epoch = Epoch(strict=self.strict_epoch)
        self._tries = 0
        self._due: float | None = None
        self._renew_at = 0.0
        self._expires = 0.0
        self._checking = False

    @property
    def is_idle(self) -> bool:
        """Returns whether it is stopped and has nothing left to give back."""
        return self._phase is _Phase.IDLE

    def start(self, now: float) -> None:
        """Begins to ask; harmless while it does already."""
        if self._phase in (_Phase.IDLE, _Phase.REMOVING):
            self.standing, self.outcome = Standing.ASKING, "no answer yet"
            self._forget()
            self._begin(now)

    def stop(self, now: float, why: str = "stopped") -> None:
        """Gives back what the gateway may hold for us; `is_idle` tells when the gateway has confirmed, or after 1 s."""
        if self._phase in (_Phase.IDLE, _Phase.REMOVING):
            return
        self.standing, self.outcome, self.mapping = Standing.STOPPED, why, None
        self._phase, self._due = _Phase.IDLE, None
        if self._may_be_held():
            self._phase, self._tries = _Phase.REMOVING, 0
            self._remove(now)

    def verify(self, now: float) -> None:
        """Asks at the next wake-up, which is due at once, whether the gateway has forgotten the mapping."""
        if self._phase is _Phase.RESTING and self.mapping is not None:
            self._due = now

    def handle_timeout(self, now: float) -> None:
        """Does what is due."""
        if self.mapping is not None and now >= self._expires:
            self.mapping = None
            self.standing, self.outcome = Standing.ASKING, "the mapping expired: the gateway stopped answering"
        if self._due is None or now < self._due:
            return
        match self._phase:
            case _Phase.ASKING if self._tries < len(self.waits_s):
                self._ask(now)
            case _Phase.ASKING:
                self._give_up(now, "the gateway does not answer")
            case _Phase.RESTING if self.mapping is not None and now < self._renew_at:
                self._check(now)
            case _Phase.RESTING:
                self._begin(now)
            case _Phase.REMOVING if self._tries < len(REMOVE_WAITS_S):
                self._remove(now)
            case _:
                self._phase, self._due = _Phase.IDLE, None

    def poll_timeout(self) -> Wakeup | None:
        """Returns when to call `handle_timeout`, or None for never."""
        times = [at for at in (self._due, self._expires if self.mapping else None) if at is not None]
        return Wakeup(min(times), self.name) if times else None

    # --- what a protocol says of itself ---

    @abstractmethod
    def _build_request(self) -> bytes:
        """Returns the request that is next."""

    @abstractmethod
    def _build_removal(self) -> bytes:
        """Returns the request for the end of the mapping."""

    @abstractmethod
    def _build_check(self) -> bytes:
        """Returns the question that shows the gateway's epoch."""

    @abstractmethod
    def _may_be_held(self) -> bool:
        """Returns whether the gateway may hold a mapping for us."""

    @abstractmethod
    def _forget(self) -> None:
        """Begins a life without a mapping: nothing is known but the gateway's epoch."""

    # --- what a protocol calls when an answer has come ---

    def _begin(self, now: float) -> None:
        """Starts a round of requests."""
        self._phase, self._tries, self._checking = _Phase.ASKING, 0, False
        if self.mapping is None:
            self.standing = Standing.ASKING
        self._ask(now)

    def _is_asking(self) -> bool:
        return self._phase is _Phase.ASKING

    def _take_epoch(self, epoch_s: int, now: float) -> bool:
        """Notes an epoch; returns whether the gateway still knows what it knew."""
        return self._epoch.went_on(epoch_s, now)

    def _restarted(self, now: float) -> None:
        """Asks for the mapping again: at once if we asked the gateway, else within 5 s."""
        if self._phase is not _Phase.RESTING:
            return
        delay_s = 0.0 if self._checking else self._spread(0.0, RESTART_SPREAD_S)
        self._checking = False
        self._renew_at = self._due = min(self._renew_at, now + delay_s)
        if self.mapping is not None:  # for as long as it takes to ask: most likely we get the same one again
            self._expires = min(self._expires, now + delay_s + sum(self.waits_s[:3]))

    def _removed(self) -> bool:
        """Takes the confirmation of a removal; returns False if none was asked for."""
        if self._phase is not _Phase.REMOVING:
            return False
        self._phase, self._due = _Phase.IDLE, None
        return True

    def _mapped(self, host: str, port: int, lifetime_s: int, now: float) -> None:
        """Takes a mapping that the gateway says it made."""
        if lifetime_s < LIFETIME_S_MIN or not port:
            self._send(self._build_removal(), now)
            self._lose()
            self._refuse(f"the gateway answers with port {port} for {lifetime_s} s, which is no mapping", 0.0, now)
            return
        external = Address(host, port)
        if not is_public(host):
            self._not_public(host, now)
            return
        held_s = min(lifetime_s, LIFETIME_S_MAX)
        self.mapping = PortMapping(external, held_s)
        self.standing, self.outcome = Standing.MAPPED, f"mapped to {external} for {held_s} s"
        self._expires = now + held_s
        self._renew_at = now + max(RENEW_S_MIN, self._spread(held_s / 2, held_s * 5 / 8))
        self._rest(now)

    def _not_public(self, host: str, now: float) -> None:
        """Takes an external address of an inner network: the gateway is behind a NAT itself."""
        if self._may_be_held():
            self._send(self._build_removal(), now)
        self._lose()
        self.standing = Standing.NOT_PUBLIC
        self.outcome = f"the gateway's external address {host} is not public: it is behind another NAT, or offline"
        self._wait(NOT_PUBLIC_S * self._spread(0.9, 1.1), now)

    def _refuse(self, words: str, lasts_s: float, now: float) -> None:
        """Takes an error: the gateway is asked again when it has passed. A mapping that we have stays (section 15)."""
        self.outcome = words
        if self.mapping is None:
            self.standing = Standing.REFUSED
        self._wait(min(max(lasts_s, ERROR_S_MIN), ERROR_S_MAX) * self._spread(0.9, 1.1), now)

    def _give_up(self, now: float, words: str) -> None:
        """Remembers that the gateway does not speak the protocol."""
        if self.mapping is None:
            self.standing, self.outcome = Standing.ABSENT, words
            self._forget()
        self._wait(ABSENT_S * self._spread(0.9, 1.1), now)

    def _check(self, now: float) -> None:
        """Asks for the epoch, and again as often as for a mapping: the gateway may be about to start."""
        self._tries = self._tries if self._checking else 0
        self._checking = True
        self._send(self._build_check(), now)
        self._rest(now)
        if self._tries < len(self.waits_s) and self._due is not None:
            self._due = min(self._due, now + self.waits_s[self._tries] * self._spread(0.9, 1.1))
            self._tries += 1

    def _checked(self, now: float) -> None:
        """Takes the answer that the gateway knows what it knew."""
        if self._checking and self._phase is _Phase.RESTING:
            self._checking = False
            self._rest(now)

    # ---

    def _lose(self) -> None:
        self.mapping = None
        self._forget()

    def _wait(self, wait_s: float, now: float) -> None:
        if self.mapping is not None:
            wait_s = max(RENEW_S_MIN, min(wait_s, (self._expires - now) / 2))
        self._renew_at = now + wait_s
        self._rest(now)

    def _rest(self, now: float) -> None:
        self._phase = _Phase.RESTING
        self._due = self._renew_at if self.mapping is None else min(self._renew_at, now + CHECK_S)

    def _ask(self, now: float) -> None:
        self._send(self._build_request(), now)
        self._due = now + self.waits_s[self._tries] * self._spread(0.9, 1.1)
        self._tries += 1

    def _remove(self, now: float) -> None:
        self._send(self._build_removal(), now)
        self._due = now + REMOVE_WAITS_S[self._tries]
        self._tries += 1

    def _spread(self, low: float, high: float) -> float:
        return low + (high - low) * int.from_bytes(self._random(2), "big") / 65535


def not_ours(detail: str) -> PeerError:
    """Returns the error of an answer to no question of ours."""
    return PeerError("transaction", detail)
