"""From frames to plaintexts: what goes into which datagram.

Frames keep their order. Small ones that are there at the same time share a datagram, super-frames are cut where their
segments end, and what neither fits nor can be cut goes in fragments.
"""

from collections.abc import Sequence

from ntvl.dataplane.merger import MERGE_MIN, merge_udp
from ntvl.dataplane.train import TrainBuilder
from ntvl.errors import PeerError
from ntvl.wire.header import PLAINTEXT_BYTES_MAX
from ntvl.wire.plaintext import FRAME_BUFFER_MAX, build_bundle, build_fragments, build_pieces
from ntvl.wire.vnet import GSO_NONE, parse_super_frame

__all__ = ["Packer"]

_FRAME_KIND = b"\x01"


class Packer:
    """Packs the frames for one peer; `run` numbers what is cut."""

    __slots__ = ("_run",)

    def __init__(self) -> None:
        self._run = 0

    def pack(self, buffers: Sequence[bytes]) -> list[list[bytes]]:
        """Returns the plaintexts for frames with virtio headers, in order, grouped so that each group makes one
        train.
        """
        builder = TrainBuilder()
        bundle: list[bytes] = []
        room = PLAINTEXT_BYTES_MAX - 1
        for buffer in merge_udp(buffers) if len(buffers) >= MERGE_MIN else buffers:
            size = len(buffer)
            if size > FRAME_BUFFER_MAX:
                if bundle:
                    builder.add(_close(bundle))
                    bundle = []
                    room = PLAINTEXT_BYTES_MAX - 1
                builder.add_run(self._cut(buffer))
                continue
            if room < size + 2 and bundle:
                builder.add(_close(bundle))
                bundle = []
                room = PLAINTEXT_BYTES_MAX - 1
            bundle.append(buffer)
            room -= size + 2
        if bundle:
            builder.add(_close(bundle))
        return builder.groups

    def next_run(self) -> int:
        """Returns the number for the next frame that is cut."""
        self._run = (self._run + 1) & 0xFFFF
        return self._run

    def _cut(self, buffer: bytes) -> list[bytes]:
        run = self.next_run()
        pieces = None
        if buffer[1] != GSO_NONE:
            try:
                layout = parse_super_frame(buffer)
                if layout.payload + layout.size == len(buffer):
                    pieces = build_pieces(buffer, layout, run)
            except PeerError:
                pass  # Nothing that the kernel makes today; it still arrives, whole.
        return build_fragments(buffer, run) if pieces is None else pieces


def _close(bundle: list[bytes]) -> bytes:
    return _FRAME_KIND + bundle[0] if len(bundle) == 1 else build_bundle(bundle)
