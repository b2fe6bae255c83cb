"""Direct TCP with one peer: a port, what the peer has to know of it, connections, and what becomes of them.

    begin --(DialPortWanted)--> port --(Dial, thrice)--> the peer's Dial --(DialWanted)--> streams, each a path

Either `Dial` may come first, that of the peer even before our own technique has begun.
"""

from typing import Final, Protocol

from ntvl.dataplane.interface import Target
from ntvl.proto.candidates import Network, build_candidates, usable_candidates
from ntvl.proto.far_ends import TCP
from ntvl.proto.path import Path, PathSet
from ntvl.proto.surroundings import Surroundings
from ntvl.proto.tcp_open import plan_remotes
from ntvl.wire.address import Address
from ntvl.wire.control import Candidate, Dial, Message, Nat

__all__ = ["DialKeeper", "Dialling"]

REPEAT_S: Final = (0.4, 1.2)
"""The peer is told again after so long, for a datagram may be lost."""


class DialKeeper(Protocol):
    """Is what a dialling asks of the pathfinder that it belongs to."""

    paths: PathSet

    def check(self, path: Path, now: float) -> None:
        """Asks on a path."""

    def drop(self, path: Path, now: float) -> None:
        """Forgets a path that has broken."""

    def send(self, message: Message, target: Target | None) -> bool:
        """Seals and sends a message by the paths of data, the target being None."""

    def wake(self, now: float) -> None:
        """Has the timers set anew."""


class Dialling:
    """Is what one peer's attempts have of TCP.

    Args:
        overlay: the subnets of the community: never an underlay.
    """

    def __init__(self, surroundings: Surroundings, keeper: DialKeeper, *, overlay: tuple[Network, ...]) -> None:
        self._node = surroundings
        self._keeper = keeper
        self._overlay = overlay
        self._number = 0
        """Of the dialling under way, 0 for none."""
        self._mine: Dial | None = None
        self._theirs: Dial | None = None
        self._attempt = 0
        self._nat = Nat()
        self._guesses = False
        self._repeat_at: list[float] = []
        self._carriers: set[Address] = set()
        self._remotes: tuple[Address, ...] = ()

    @property
    def aims(self) -> tuple[Candidate, ...]:
        """Returns what the dialling under way connects to."""
        return tuple(Candidate(TCP, *remote) for remote in self._remotes)

    # --- for the negotiation ---

    def begin(self, attempt: int, nat: Nat, *, guesses: bool) -> None:
        """Begins a dialling in an attempt.

        Args:
            nat: the peer's.
            guesses: whether both sides let ports be guessed.
        """
        self._end_number()
        self._attempt, self._nat, self._guesses = attempt, nat, guesses
        self._number = self._node.streams.begin(self, self._node.stream_servers())

    def handle_dial(self, dial: Dial, now: float) -> None:
        """Takes where the peer dials from."""
        self._theirs = dial
        self._dial(now)

    def end(self) -> None:
        """Ends the dialling under way, if there is one; what has opened stays."""
        self._end_number()
        self._theirs = None

    def settle(self) -> None:
        """Closes connections that are no paths any more."""
        if not self._carriers:
            return
        used = {Address(p.target.host, p.target.port) for p in self._keeper.paths.checked()}
        self._node.streams.settle(self, used)
        self._carriers &= used

    def handle_timeout(self, now: float) -> None:
        """Tells the peer again."""
        while self._repeat_at and now >= self._repeat_at[0] and self._mine is not None:
            self._repeat_at.pop(0)
            self._keeper.send(self._mine, None)

    def poll_timeout(self) -> float | None:
        """Returns when `handle_timeout` has something to do."""
        return self._repeat_at[0] if self._repeat_at else None

    # --- for the runtime ---

    def handle_port(self, port: int, observed: Address | None, now: float) -> None:
        """Takes our port and tells the peer of it."""
        if not port or self._mine is not None:
            return
        hosts = [c.host for c in self._node.candidates() if c.kind == "host"]
        seen = () if observed is None else (observed,)
        self._mine = Dial(self._attempt, build_candidates(hosts, port, seen, self._overlay))
        self._keeper.send(self._mine, None)
        self._repeat_at = [now + wait_s for wait_s in REPEAT_S]
        self._dial(now)
        self._keeper.wake(now)

    def handle_stream(self, carrier: Address, now: float) -> None:
        """Takes a connection: a path like any other, as long as it lives."""
        self._carriers.add(carrier)
        path = self._keeper.paths.add_direct(Target(carrier.host, carrier.port), TCP)
        if path is not None:
            self._keeper.check(path, now)
        self._keeper.wake(now)

    def handle_end(self, carrier: Address, now: float) -> None:
        """Takes the end of a connection."""
        self._carriers.discard(carrier)
        path = self._keeper.paths.find(Target(carrier.host, carrier.port))
        if path is not None:
            self._keeper.drop(path, now)
        self._keeper.wake(now)

    def _dial(self, now: float) -> None:
        mine, theirs = self._mine, self._theirs
        if mine is None or theirs is None or theirs.attempt != mine.attempt or self._remotes:
            return
        usable = usable_candidates(theirs.candidates, mine.candidates, self._overlay)
        planned = plan_remotes(usable, self._nat, guesses=self._guesses)
        remotes = [remote for remote in planned if self._node.budget.take(remote.host, now)]
        if remotes:
            self._remotes = tuple(remotes)
            self._node.streams.dial(self._number, remotes)

    def _end_number(self) -> None:
        if self._number:
            self._node.streams.end(self._number)
        self._number = 0
        self._mine = None
        self._repeat_at = []
        self._remotes = ()
