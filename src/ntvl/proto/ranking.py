"""Which of two ways to a peer is better, and how long it has to be so before data changes over.

A way costs its round trip, and a second for each packet that it loses: ten milliseconds for a percent. Where two ways
have lost about the same of what was asked on them, so that chance may be all, loss counts for neither. A direct way is
left for a relay only if the relay is clearly better, and taken again as soon as the relay's lead is small: who is
direct burdens nobody else. Ways of one sort change over where one is clearly better, or where they are about equal and
one is nearer.

What is better now may be worse in a moment, so a way has to be better all along for a while, and for twice as long
after each change of late: two ways whose quality changes for ever make the data change over ever less often.

Source: the third and the 10 ms are Tailscale's rule for its home relay; the growing patience is that of BGP's route
flap damping (RFC 2439), without its decay.
"""

import math
from collections import deque
from typing import Final, NamedTuple

from ntvl.proto.far_ends import TCP

__all__ = ["PATIENCE_S", "Patience", "Quality", "costs_s", "is_better"]

LOSS_COST_S: Final = 1.0
"""What a path that loses everything would cost above its round trip, seconds."""
CLEARLY: Final = 0.67
CLEARLY_S: Final = 0.010
"""Clearly better is a third and 10 ms, so that ways of like length do not take turns."""
SIGNIFICANT: Final = 3.0
"""Standard deviations that two shares of lost checks must be apart (the two-proportion z-test)."""
STILL: Final = 0.85
STILL_S: Final = 0.005
"""A relay that won is left again when it is not even by this much better: less than made it win."""
PATIENCE_S: Final = 30.0
PATIENCE_DOUBLINGS_MAX: Final = 4
RECENT_S: Final = 1200.0
"""How long a change makes the next one slower."""


class Quality(NamedTuple):
    """Is what is known of one way: its smoothed round trip, how many of the checks `asked` of late were `lost`, and
    what it is.

    `is_relay` where somebody else carries the packets, whoever that is; `kind` is the candidate's ("host", "srflx",
    "prflx", "mapped", "tcp") or the relay's ("relay", "turn").
    """

    is_relay: bool
    rtt_s: float
    lost: int = 0
    asked: int = 0
    kind: str = ""
    is_ipv6: bool = False


def is_better(new: Quality, old: Quality) -> bool:
    """Returns whether data should rather go by `new` than by `old`, which has it now, if this lasts."""
    if new.is_relay and not old.is_relay:
        return _leads(new, old, CLEARLY, CLEARLY_S)
    if old.is_relay and not new.is_relay:
        return not _leads(old, new, STILL, STILL_S)
    if _leads(new, old, CLEARLY, CLEARLY_S):
        return True
    if _leads(old, new, CLEARLY, CLEARLY_S):
        return False
    return _nearness(new) < _nearness(old)


def costs_s(one: Quality, other: Quality) -> tuple[float, float]:
    """Returns what each of two ways costs, seconds; less is better."""
    if not one.asked or not other.asked:
        return one.rtt_s, other.rtt_s
    share = (one.lost + other.lost) / (one.asked + other.asked)
    deviation = math.sqrt(share * (1 - share) * (1 / one.asked + 1 / other.asked))
    losses = one.lost / one.asked, other.lost / other.asked
    if abs(losses[0] - losses[1]) <= SIGNIFICANT * deviation:
        return one.rtt_s, other.rtt_s
    return one.rtt_s + losses[0] * LOSS_COST_S, other.rtt_s + losses[1] * LOSS_COST_S


def _leads(one: Quality, other: Quality, share: float, margin_s: float) -> bool:
    ours_s, theirs_s = costs_s(one, other)
    return ours_s < theirs_s * share and theirs_s - ours_s > margin_s


def _nearness(quality: Quality) -> tuple[int, int]:
    """Ranks a LAN address before any other, TCP behind UDP, and IPv6 before IPv4; relays are all alike."""
    if quality.is_relay:
        return (0, 0)
    return ({"host": 0, TCP: 2}.get(quality.kind, 1), 0 if quality.is_ipv6 else 1)


class Patience:
    """Says how long a way has to be better: longer after each change."""

    def __init__(self) -> None:
        self._changes: deque[float] = deque(maxlen=PATIENCE_DOUBLINGS_MAX)

    def wait_s(self, now: float) -> float:
        """Returns the time, seconds."""
        recent = sum(now - at < RECENT_S for at in self._changes)
        return PATIENCE_S * 2.0**recent

    def note_change(self, now: float) -> None:
        """Notes that data changed over to a better way, while the other still worked."""
        self._changes.append(now)

    def clear(self) -> None:
        """Forgets the changes: with another network the ways are others."""
        self._changes.clear()
