"""Text that came from elsewhere, made safe to show."""

from ntvl.errors import REASONS, PeerError

__all__ = ["explain", "printable"]


def printable(text: str) -> str:
    """Returns `text` without control characters and escape sequences: it cannot move a cursor or forge a line."""
    if text.isprintable():
        return text
    return "".join(character for character in text if character.isprintable())


def explain(error: PeerError) -> str:
    """Returns an error's reason in words, with what to look at where that is known."""
    words = REASONS[error.reason]
    if error.reason in ("certificate-expired", "certificate-not-yet-valid"):
        words += "; compare the clocks of the two machines"
    return words
