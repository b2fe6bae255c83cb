"""Where a node stands with one community at one supernode: registered or refused, relay id, roster version.

asking --Registered--> registered --"unknown" in a keepalive reply--> asking
|  ^
|  +-- after 5, 10, 20 ... 300 s: somebody may have mended the cause
+--Refused--> refused
"""

from collections.abc import Callable
from typing import Final, Protocol

from ntvl.errors import REASONS
from ntvl.proto.context import Context
from ntvl.proto.events import Failed, Notice
from ntvl.proto.membership import Membership
from ntvl.proto.settings import NodeSettings
from ntvl.proto.text import printable
from ntvl.wire.control import Leave, Message, PunchReply, Refused, Register, Registered, Roster, RosterRequest

__all__ = ["RegistrationOwner", "Standing", "StandingOwner"]

REGISTER_WAIT_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
REFUSED_WAIT_S: Final = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
STANDBY_WAIT_S: Final = 3.0
"""How long a second supernode lets the first lease the address, so that both know the same one."""
ROSTER_WAIT_S: Final = (0.3, 1.0, 2.0, 5.0)
FATAL_STATIC: Final = frozenset({"address-taken", "address-outside", "subnet-full", "subnet-differs"})
"""Refusals that a node with a static address cannot outlive by waiting."""


class StandingOwner(Protocol):
    """Is what a standing tells its node."""

    def handle_registered(self, via: int, membership: Membership, address: str, now: float) -> None:
        """The community knows us at this supernode; `address` is what it leased, CIDR text or ""."""

    def handle_roster(self, via: int, membership: Membership, roster: Roster, now: float) -> None:
        """Members joined or left, as this supernode tells; `since` 0 begins a full roster."""

    def handle_roster_end(self, via: int, membership: Membership, now: float) -> None:
        """The full roster is there: whom it did not name is not a member any more."""


class RegistrationOwner(StandingOwner, Protocol):
    """Is what a registration tells its node, and asks of it."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Returns this machine's addresses, none before they are known."""

    def handle_supernode_lost(self, via: int, now: float) -> None:
        """The supernode does not answer any more."""

    def handle_observed(self, via: int, now: float) -> None:
        """The supernode sees us at another address than before."""

    def handle_punch_reply(self, reply: PunchReply, now: float) -> None:
        """The supernode lets us punch heavily, or puts us off."""


class Standing:
    """Keeps one registration.

    Args:
        via: the supernode's place in the settings.
        send: seals a message for the supernode.
    """

    def __init__(
        self,
        context: Context,
        settings: NodeSettings,
        owner: StandingOwner,
        *,
        via: int,
        membership: Membership,
        send: Callable[[Message], None],
    ) -> None:
        self._context = context
        self._settings = settings
        self._owner = owner
        self._via = via
        self._send = send
        self.membership = membership
        self.relay_id: int | None = None
        self.version = 0
        """The roster version held."""
        self.refusal = ""
        """Why the supernode refuses us, "" while it does not."""
        self._target_version = 0
        self._certificate = b""
        self._request: int | None = None
        self._next_at: float | None = None
        self._tries = 0
        self._refusals = 0
        self._roster_at: float | None = None
        self._roster_tries = 0
        self._full = False

    # --- registering ---

    def ask(self, now: float) -> None:
        """Registers (again) as soon as it may; a standby lets the first supernode lease the address."""
        membership = self.membership
        waits = self._via > 0 and membership.settings.lease == "auto" and not membership.address
        self._tries = 0
        self._next_at = now + (STANDBY_WAIT_S if waits else 0.0)

    def handle_unknown(self, now: float) -> None:
        """Takes the news that the supernode does not know us: it started anew, or we were silent for too long."""
        if self._request is None:
            self.relay_id = None
            self.ask(now)

    def renew(self, now: float) -> None:
        """Registers again where our certificate changed: another address, or renewed in time."""
        if self.relay_id is not None and self._certificate != self.membership.certificate():
            self._tries = 0
            self._next_at = now

    def _register(self, now: float) -> None:
        settings = self.membership.settings
        self._certificate = self.membership.certificate()
        self._request = int.from_bytes(self._context.random(4), "big") | 1
        self._next_at = now + REGISTER_WAIT_S[min(self._tries, len(REGISTER_WAIT_S) - 1)]
        self._tries += 1
        self._send(
            Register(
                self._request,
                self._certificate,
                self._settings.incarnation,
                settings.lease,
                self.membership.address or settings.address,
                settings.subnet,
            )
        )

    def expects(self, request: int) -> bool:
        """Returns whether an answer to this request is waited for."""
        return request == self._request

    def handle_registered(self, message: Registered, now: float) -> None:
        """Takes the grant that answers our last request."""
        self._request = None
        self._next_at = None
        self._tries = self._refusals = 0
        self.refusal = ""
        self.relay_id = message.relay_id
        self.note_version(message.roster_version, now)
        self._owner.handle_registered(self._via, self.membership, message.address, now)

    def handle_refused(self, message: Refused, now: float) -> None:
        """Takes a refusal: says why, once for each reason, and tries again at a falling rate."""
        if message.request and not self.expects(message.request):
            return
        self._request = None
        self.relay_id = None
        self._next_at = now + REFUSED_WAIT_S[min(self._refusals, len(REFUSED_WAIT_S) - 1)]
        self._refusals += 1
        reason = message.reason if message.reason in REASONS else "format"
        host = self._settings.supernodes[self._via].host
        name = self.membership.community.name
        text = f"supernode {host} refuses community {name!r}: {printable(message.detail) or REASONS[reason]}"
        static = self.membership.settings.lease == "static" and self._via == 0
        if reason == "duplicate-node" or (static and reason in FATAL_STATIC):
            self._context.events.append(Failed(reason, text))
        elif self.refusal != reason:
            self._context.events.append(Notice("error", reason, text))
        self.refusal = reason
        self._context.count(reason)

    def leave(self) -> None:
        """Ends the membership at this supernode."""
        if self.relay_id is not None:
            request = int.from_bytes(self._context.random(4), "big") | 1
            self._send(Leave(request, self.membership.community.id))

    # --- roster ---

    def note_version(self, version: int, now: float) -> None:
        """Takes the supernode's roster version: asks for what is missing; a lower one means that it started anew."""
        if version < self.version:
            self.version = 0
        self._target_version = version
        if version != self.version and self._roster_at is None:
            self._roster_tries = 0
            self._roster_at = now

    def handle_roster(self, roster: Roster, now: float) -> None:
        """Takes a change if it leads on from the version held; after a gap, asks again.

        A full roster is taken whatever is held, if something was asked for: the supernode may have started anew and
        count from anywhere.
        """
        begins = roster.since == 0 and (self._roster_at is not None or self.version == 0)
        if roster.since != self.version and not begins:
            if roster.version > self.version and self._roster_at is None:
                self._roster_tries = 0
                self._roster_at = now + ROSTER_WAIT_S[0]
            return
        self.version = roster.version
        self._full = self._full or begins
        self._owner.handle_roster(self._via, self.membership, roster, now)
        if roster.version >= self._target_version:
            self._target_version = roster.version
            self._roster_at = None
            if self._full:
                self._full = False
                self._owner.handle_roster_end(self._via, self.membership, now)

    def _ask_roster(self, now: float) -> None:
        self._send(RosterRequest(self.membership.community.id, self.version))
        self._roster_at = now + ROSTER_WAIT_S[min(self._roster_tries, len(ROSTER_WAIT_S) - 1)]
        self._roster_tries += 1
        if self._roster_tries > 2 * len(ROSTER_WAIT_S):
            self._roster_at = None  # The next keepalive reply tells whether anything is still missing.

    # --- time ---

    def handle_timeout(self, now: float) -> None:
        """Does what is due; only while a session is up."""
        if self._next_at is not None and now >= self._next_at:
            self._register(now)
        if self._roster_at is not None and now >= self._roster_at:
            self._ask_roster(now)

    def poll_timeout(self) -> float | None:
        """Returns when `handle_timeout` has something to do."""
        return min((t for t in (self._next_at, self._roster_at) if t is not None), default=None)
