"""Lines of output, for people or for programs: what a role's reporter writes its events with.

For programs a line is one JSON object with "event" and "time" first; for people a time and a sentence. Names come from
other machines, so what a terminal could take for a command is replaced.
"""

import json
import os
import sys
import time
from typing import Any, Final, TextIO

from ntvl.runtime.clock import Clock, wall_time

__all__ = ["EventLines", "printable"]

_RESET: Final = "\x1b[0m"
_STYLES: Final = {
    "dim": "\x1b[2m",
    "good": "\x1b[32m",
    "middling": "\x1b[33m",
    "bad": "\x1b[31m",
}


class EventLines:
    """Writes one line for each event to a stream, at once.

    Args:
        as_json: objects instead of sentences.
        stream: standard output by default; colours only on a terminal, and not where NO_COLOR is set.
        clock: the wall clock.
    """

    def __init__(self, *, as_json: bool = False, stream: TextIO | None = None, clock: Clock = wall_time) -> None:
        self.as_json = as_json
        self._stream = sys.stdout if stream is None else stream
        self._clock = clock
        self._colours = not as_json and self._stream.isatty() and "NO_COLOR" not in os.environ
        self._silent = False

    def tell(self, fields: dict[str, Any], text: str, style: str = "") -> None:
        """Writes an event.

        Args:
            fields: for programs; "event" names it.
            text: the same for people.
            style: "dim", "good", "middling", "bad" or "".
        """
        if self._silent:
            return
        now = self._clock()
        if self.as_json:
            fields = {"event": fields["event"], "time": round(now, 3), **fields}
            line = json.dumps(fields, ensure_ascii=False)
        else:
            at = time.strftime("%H:%M:%S", time.localtime(now))
            text = printable(text)
            if self._colours:
                at = f"{_STYLES['dim']}{at}{_RESET}"
                text = f"{_STYLES[style]}{text}{_RESET}" if style else text
            line = f"{at} {text}"
        try:
            print(line, file=self._stream, flush=True)
        except BrokenPipeError:  # whoever listened left; the program goes on
            self._silent = True


def printable(text: str) -> str:
    """Returns `text` without anything that a terminal could take for a command."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
