"""Lengths of time in words."""

from typing import Final

__all__ = ["format_duration"]

_UNITS: Final = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"))


def format_duration(seconds: float) -> str:
    """Returns about how long that is, like "3 days" or "40 seconds"; a negative length counts as its opposite."""
    seconds = abs(seconds)
    for size_s, unit in _UNITS:
        if seconds >= 1.5 * size_s:
            return f"{round(seconds / size_s)} {unit}s"
    return "1 second" if round(seconds) == 1 else f"{round(seconds)} seconds"
