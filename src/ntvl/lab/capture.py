"""A recording of everything that passes one device of a lab, and what can be read in it.

tcpdump records; what it wrote is read here: the classic pcap format (magic a1b2c3d4, microseconds; link type Ethernet),
of which a record is a 16-byte header and the frame.
"""

import os
import re
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ntvl.errors import UsageError
from ntvl.lab.program import build_environment
from ntvl.wire.header import Kind

__all__ = ["Capture", "Datagram", "parse_pcap"]

_MAGIC: Final = 0xA1B2C3D4
_ETHERNET: Final = 1
_READY_S: Final = 10.0
_STILL_S: Final = 0.2
_STILL_AT_MOST_S: Final = 3.0


class Datagram(NamedTuple):
    """Is a recorded UDP datagram over IPv4: when (seconds since the epoch), from and to which address, and what."""

    at: float
    source: str
    target: str
    payload: bytes

    @property
    def is_relayed(self) -> bool:
        """Returns whether it has the relay prefix of ntvl."""
        return self.payload[:1] == bytes([Kind.RELAY])


class Capture:
    """Records a device of a namespace, from before it returns until `stop`.

    Raises:
        UsageError: tcpdump is missing or does not start.
    """

    def __init__(self, namespace: str, device: str, directory: Path) -> None:
        self.file = directory / "capture.pcap"
        self.dropped = 0
        messages = directory / "capture.log"
        argv = ["ip", "netns", "exec", namespace]
        # To standard output, since tcpdump gives up root's rights before it opens a file of its own.
        argv += ["tcpdump", "-i", device, "-n", "-U", "--immediate-mode", "-B", "16384", "-s", "0", "-w", "-"]
        with self.file.open("wb") as output, messages.open("wb") as said:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=said,
                env=build_environment(),
                process_group=0,
            )
        self._messages = messages
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + _READY_S
        while "listening on" not in (said := self._messages.read_text(errors="replace")):
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise UsageError(f"tcpdump did not start: {said.strip() or 'it said nothing'}")
            time.sleep(0.01)

    def _wait_until_still(self) -> None:
        until = time.monotonic() + _STILL_AT_MOST_S
        size_bytes = -1
        while time.monotonic() < until and self.file.stat().st_size != size_bytes:
            size_bytes = self.file.stat().st_size
            time.sleep(_STILL_S)

    def stop(self) -> None:
        """Ends the recording; `dropped` then has the number of frames that tcpdump was too slow for.

        A signal makes tcpdump leave unread what the kernel still holds for it, so it first gets time to catch up.
        """
        if self._process.poll() is None:
            self._wait_until_still()
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        found = re.search(r"(\d+) packets? dropped by kernel", self._messages.read_text(errors="replace"))
        self.dropped = int(found[1]) if found else 0

    def datagrams(self) -> list[Datagram]:
        """Returns the UDP datagrams recorded so far, those over IPv4."""
        return [datagram for at, frame in parse_pcap(self.file.read_bytes()) if (datagram := _parse_udp(at, frame))]

    def contains(self, text: bytes) -> bool:
        """Returns whether these bytes occur anywhere in what was recorded."""
        return text in self.file.read_bytes()


def parse_pcap(data: bytes) -> Iterator[tuple[float, bytes]]:
    """Yields (seconds since the epoch, Ethernet frame) of each whole record; a record cut off at the end is left out.

    Raises:
        UsageError: not a pcap file of Ethernet frames with microseconds.
    """
    order = {struct.pack("<I", _MAGIC): "<", struct.pack(">I", _MAGIC): ">"}.get(data[:4])
    if order is None or len(data) < 24 or struct.unpack_from(f"{order}I", data, 20)[0] != _ETHERNET:
        raise UsageError("the capture is not a pcap file of Ethernet frames: was it tcpdump that wrote it?")
    record = struct.Struct(f"{order}IIII")
    offset = 24
    while offset + record.size <= len(data):
        seconds, microseconds, length, _ = record.unpack_from(data, offset)
        offset += record.size
        if offset + length > len(data):
            return
        yield seconds + microseconds / 1e6, data[offset : offset + length]
        offset += length


def _parse_udp(at: float, frame: bytes) -> Datagram | None:
    if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[23] != 17:
        return None
    start = 14 + (frame[14] & 0x0F) * 4 + 8
    source, target = (".".join(map(str, frame[at : at + 4])) for at in (26, 30))
    return Datagram(at, source, target, frame[start:])
