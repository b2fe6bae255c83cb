"""A simulated supernode's TCP port, as far as diallings ask it: it tells whoever greets as which address it sees him.

Carriers to supernodes do not come here (`stream`).
"""

from contextlib import suppress
from random import Random

from ntvl.errors import PeerError
from ntvl.sim.host import Host
from ntvl.sim.tcp_connection import TcpConnection
from ntvl.sim.tcp_ports import TcpPorts
from ntvl.sim.timeline import Timeline
from ntvl.wire.stream import build_greeting, parse_greeting

__all__ = ["Greeter"]


class Greeter:
    """Listens on a host's main port until the host's program ends."""

    def __init__(self, host: Host, timeline: Timeline, random: Random) -> None:
        ports = TcpPorts(host, timeline, random)
        ports.listen(host.ports[0], self._greet)
        host.on_stop.append(ports.close)

    @staticmethod
    def _greet(connection: TcpConnection) -> None:
        def answer(line: bytes) -> None:
            with suppress(PeerError):
                parse_greeting(line)
                connection.send(build_greeting(connection.remote))

        connection.take(answer, lambda: None)
