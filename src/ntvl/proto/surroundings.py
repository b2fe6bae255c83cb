"""What a peer may ask of its node, and nothing else of it."""

from collections.abc import Callable, Sequence

from ntvl.identity.keys import NodeKey
from ntvl.proto.candidates import Network
from ntvl.proto.check_budget import CheckBudget
from ntvl.proto.events import NodeEvent
from ntvl.proto.far_ends import FarEnds
from ntvl.proto.leave import Leave
from ntvl.proto.sockets import Sockets
from ntvl.proto.stream_paths import StreamPaths
from ntvl.proto.turn_paths import TurnPaths
from ntvl.wire.address import Address
from ntvl.wire.control import UNKNOWN_NAT, Candidate, Nat

__all__ = ["Surroundings"]


class Surroundings:
    """Holds what is the same for all peers of a node.

    Args:
        key: our static key.
        sockets: those besides the main port.
        nat: what is known of our NAT; changes, as does `udp`: whether UDP gets out at all, None where nobody looked.
        mappings: where gateways let others in to our main port; changes.
        overlay: the subnets of all our communities.
        candidates: returns our candidates now.
        server: returns a supernode to ask as which port it sees a socket, None where there is none over IPv4.
        leave: asks supernodes whether we may punch heavily.
        guesses: whether we let ports be guessed.
        refresh: asks the supernodes to look at our address again.
        url: returns the URL of supernode `via`, for people.
        tell: takes events for the runtime.
        is_connected: returns whether any supernode can be reached.
        stream_servers: returns supernodes that tell as which address they see a TCP connection of ours.
    """

    def __init__(
        self,
        key: NodeKey,
        *,
        aes: bool,
        direct: bool,
        tie_breaker: int,
        sockets: Sockets,
        nat: Nat = UNKNOWN_NAT,
        mappings: tuple[Address, ...] = (),
        overlay: tuple[Network, ...] = (),
        candidates: Callable[[], tuple[Candidate, ...]],
        server: Callable[[], Address | None] = lambda: None,
        leave: Leave,
        guesses: bool = True,
        refresh: Callable[[float], None],
        url: Callable[[int], str],
        tell: Callable[[NodeEvent], None],
        stream_servers: Callable[[], Sequence[Address]] = tuple,
        is_connected: Callable[[], bool] = lambda: True,
    ) -> None:
        self.key = key
        self.aes = aes
        self.direct = direct
        self.tie_breaker = tie_breaker
        self.sockets = sockets
        self.nat = nat
        self.udp: bool | None = None
        self.mappings = mappings
        self.overlay = overlay
        self.candidates = candidates
        self.server = server
        self.leave = leave
        self.guesses = guesses
        self.refresh = refresh
        self.url = url
        self.budget = CheckBudget()
        self.ends = FarEnds()
        self.turn = TurnPaths(tell, self.ends)
        self.streams = StreamPaths(tell, self.ends)
        self.stream_servers = stream_servers
        self.is_connected = is_connected
