"""Datagrams as binary messages of a WebSocket, as what else passes where only HTTPS does (RFC 6455).

Subprotocol "ntvl", no compression: everything is sealed already. The protocol is that of the package `websockets`,
used without its I/O.
"""

from typing import Final

from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from ntvl.errors import PeerError
from ntvl.wire.stream import FRAME_BYTES_MAX

__all__ = ["PATH", "WebSocketFraming"]

PATH: Final = "/ntvl"
_SUBPROTOCOL: Final = Subprotocol("ntvl")


class WebSocketFraming:
    """Is one end of a WebSocket.

    Args:
        host: whom a client asks for, a name or a literal; empty for a server.
        port: whom a client asks for.
    """

    def __init__(self, host: str = "", port: int = 443) -> None:
        self.is_open = False
        self._protocol: ClientProtocol | ServerProtocol
        self._is_client = bool(host)
        if host:
            named = f"[{host}]" if ":" in host else host
            uri = parse_uri(f"wss://{named}:{port}{PATH}")
            self._protocol = ClientProtocol(uri, subprotocols=[_SUBPROTOCOL], max_size=FRAME_BYTES_MAX)
        else:
            self._protocol = ServerProtocol(subprotocols=[_SUBPROTOCOL], max_size=FRAME_BYTES_MAX)

    def begin(self) -> bytes:
        """Returns a client's request."""
        if isinstance(self._protocol, ClientProtocol):
            self._protocol.send_request(self._protocol.connect())
        return self.take_output()

    def feed(self, data: bytes) -> list[bytes]:
        """Returns the messages that are whole now.

        Raises:
            PeerError: reason "type" (no WebSocket of ours: whoever it is gets an answer in HTTP), "format" (a breach
                of the protocol, text, or a message in parts) or "expired" (closed as the protocol wants it).
        """
        protocol = self._protocol
        found = []
        try:
            protocol.receive_data(data)
            for event in protocol.events_received():
                if isinstance(event, Frame):
                    if event.opcode is Opcode.BINARY and event.fin:
                        if event.data:
                            found.append(bytes(event.data))
                    elif event.opcode not in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
                        protocol.fail(1003)
                elif isinstance(event, Request) and isinstance(protocol, ServerProtocol):
                    if protocol.eof_sent:  # What came behind the request broke the protocol already.
                        raise PeerError("format", "rubbish behind a request")
                    protocol.send_response(protocol.accept(event))
        except (WebSocketException, EOFError) as error:
            raise PeerError("format", type(error).__name__) from error
        if protocol.handshake_exc is not None:
            raise PeerError("type", "no WebSocket of ours")
        if protocol.state is State.OPEN:
            self.is_open = True
        elif self.is_open:
            raise PeerError("expired" if protocol.parser_exc is None else "format", "closed")
        return found

    def frame(self, datagram: bytes) -> bytes:
        """Returns a binary message."""
        if self._protocol.state is not State.OPEN:
            return b""
        self._protocol.send_binary(datagram)
        return self.take_output()

    def take_output(self) -> bytes:
        """Returns what the protocol has to say: the opening, pongs, the closing."""
        return b"".join(self._protocol.data_to_send())
