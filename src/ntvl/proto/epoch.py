"""A gateway's epoch: seconds since it lost its memory, from which follows whether it lost it meanwhile.

PCP compares how far both clocks went since the last answer, with a sixteenth and two seconds to spare each way; NAT-PMP
asks only that the gateway's clock went at least seven eighths as far, less two seconds.

Source: RFC 6887 section 8.5, RFC 6886 section 3.6.
"""

__all__ = ["Epoch"]


class Epoch:
    """Follows the epoch of one gateway under one protocol.

    Args:
        strict: whether the rule of PCP holds, else that of NAT-PMP.
    """

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._last: tuple[int, float] | None = None

    def went_on(self, epoch_s: int, now: float) -> bool:
        """Takes the epoch of an answer; returns False if the gateway has lost its memory since the answer before."""
        last, self._last = self._last, (epoch_s, now)
        if last is None:
            return True
        theirs, ours = epoch_s - last[0], now - last[1]
        if not self._strict:
            return theirs + 2 >= ours * 7 / 8
        if theirs < -1:
            return False
        return ours + 2 >= theirs - theirs / 16 and theirs + 2 >= ours - ours / 16
