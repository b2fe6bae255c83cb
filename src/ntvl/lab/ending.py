"""How a command that builds a lab ends when it is told to: everything is removed, whenever the signal comes.

The first signal that asks to end becomes an exception, so that each part puts away what it made. Every later one is
taken without effect: people press Ctrl-C again while a removal takes its second. An exception can come between any two
steps, that of making a thing and that of noting it, or in the middle of a removal that was under way already; so in
the end whatever this process still has by the records (`ntvl.lab.run`) is removed once more.
"""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Final

from ntvl.lab.run import remove_own_runs

__all__ = ["STOPPED", "Ending", "ignore_signals"]

STOPPED: Final = "Stopped; everything is removed."
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ending:
    """Is the time, from `with` to the end of it, in which a signal removes all labs of this process.

        with Ending(say) as ending, Stage(topology) as stage:
            ...
            stage.keep()
            ending.settle()     # from here on the lab stays, and this program ends by itself

    After a signal the `with` ends by SystemExit(128 + number), whatever else was raised meanwhile, and later signals
    stay without effect until the process has ended. A SIGHUP that was ignored before (nohup) stays so.

    Args:
        say: is told `STOPPED` once all is removed.
        waiting: is told that everything is being removed, when the signal comes.
        seconds: after so many `expired` is called by a signal of its own and may raise; 0 for never.
    """

    def __init__(
        self,
        say: Callable[[str], object],
        waiting: Callable[[str], object] | None = None,
        *,
        seconds: int = 0,
        expired: Callable[[], object] | None = None,
    ) -> None:
        self._say = say
        self._waiting = waiting
        self._seconds = seconds
        self._expired = expired
        self._number = 0
        self._is_late = False
        self._settled = False
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> "Ending":
        taken = [each for each in _SIGNALS if each is not signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN]
        if self._expired is not None:
            taken.append(signal.SIGALRM)
            signal.alarm(self._seconds)
        self._before = {each: signal.getsignal(each) for each in taken}
        for each in taken:
            signal.signal(each, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # `_take` still stands, but a signal that comes from here on stops nothing any more: only `_number` tells.
        if self._expired is not None:
            signal.alarm(0)
        settled, self._settled = self._settled, True
        if self._number or (self._is_late and not settled):
            remove_own_runs()
        for each, handler in self._before.items():
            signal.signal(each, signal.SIG_IGN if self._number or settled else handler)
        if self._number:
            self._say(STOPPED)
            raise SystemExit(128 + self._number) from None

    def settle(self) -> None:
        """Makes every later signal without effect, until the process has ended: what is done is done."""
        self._settled = True

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._number or self._settled:
            return
        if number == signal.SIGALRM:
            self._is_late = True
            if self._expired is not None:
                self._expired()
            return
        self._number = number
        if self._waiting is not None:
            self._waiting("removing everything")
        raise SystemExit(128 + number)


def ignore_signals() -> None:
    """Lets what begins now, a removal, come to its end: signals that ask to end are without effect from here on."""
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
