"""The difference between this machine's clock and a supernode's, which a person hears of once if it is large."""

from typing import Final

from ntvl.identity.url import SupernodeUrl
from ntvl.proto.duration import format_duration
from ntvl.proto.events import Notice

__all__ = ["SKEW_MAX_S", "Skew"]

SKEW_MAX_S: Final = 300.0
"""What certificates forgive, and no more."""


class Skew:
    """Judges the clocks of this machine and of one supernode."""

    def __init__(self, url: SupernodeUrl) -> None:
        self._url = url
        self._warned = False

    def judge(self, skew_s: float) -> Notice | None:
        """Returns the warning for a clock that is `skew_s` ahead of the supernode's, once, or None."""
        if self._warned or abs(skew_s) <= SKEW_MAX_S:
            return None
        self._warned = True
        text = (
            f"this machine's clock is {format_duration(abs(skew_s))} {'ahead of' if skew_s > 0 else 'behind'} that of "
            f"supernode {self._url.endpoint}: certificates may be refused until both are right; set the clock, or "
            "run a time service"
        )
        return Notice("warning", "clock", text)
