"""Small UDP packets of one flow, one after the other, made into a super-frame before they are packed.

A kernel makes a super-frame of what an application hands it in one piece, but many `send` calls give as many frames,
and for each of them the other side would have to enter its kernel. So what a network card's receive offload does is
done here: neighbours that differ in nothing but their payload, and in an IPv4 identification that nobody may rely on
(the don't-fragment bit is set, RFC 6864 section 4.1), become one super-frame that stands for exactly these packets.
Nothing waits for it: only what was read together is merged.

Their checksums must still be open (NEEDS_CSUM), so that nothing is vouched for that was not computed.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

from ntvl.wire.vnet import build_udp_super_frame, udp_payload_start

__all__ = ["MERGE_MIN", "MERGE_SEGMENTS_MAX", "merge_udp"]

MERGE_MIN: Final = 3
"""Fewer neighbours cost more to merge than to carry."""
MERGE_SEGMENTS_MAX: Final = 64
"""UDP_MAX_SEGMENTS of Linux before 6.9: as many as a kernel would put into one super-frame itself."""
MERGE_BYTES_MAX: Final = 59_000

# Of IPv4 and UDP headers behind a virtio and an Ethernet header: all but identification and header checksum. For IPv6
# that is less than all, so there the whole headers are compared again.
_LIKE: Final = itemgetter(slice(0, 28), slice(30, 34), slice(36, 52))
_HEADERS6: Final = itemgetter(slice(0, 72))


def merge_udp(buffers: Sequence[bytes]) -> list[bytes]:
    """Returns the frames, each with virtio header, in order, runs of neighbours of one UDP flow made one each."""
    merged: list[bytes] = []
    for _, group in groupby(buffers, _LIKE):
        run = list(group)
        start = udp_payload_start(run[0]) if len(run) >= MERGE_MIN else 0
        if start == 0:
            merged += run
        elif start == 52:
            _merge(run, start, merged)
        else:
            for _, same in groupby(run, _HEADERS6):
                _merge(list(same), start, merged)
    return merged


def _merge(run: list[bytes], start: int, merged: list[bytes]) -> None:
    length = len(run[0])
    size = length - start
    if len(run) < MERGE_MIN or set(map(len, run)) != {length}:
        merged += run
        return
    most = min(MERGE_SEGMENTS_MAX, MERGE_BYTES_MAX // size)
    payload = itemgetter(slice(start, None))
    for first in range(0, len(run), most):
        part = run[first : first + most]
        if len(part) < MERGE_MIN:
            merged += part
        else:
            merged.append(build_udp_super_frame(part[0], start, b"".join(map(payload, part))))
