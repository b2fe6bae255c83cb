"""Text that came from elsewhere, made safe to show."""

__all__ = ["printable"]


def printable(text: str) -> str:
    """Returns `text` without control characters and escape sequences: it cannot move a cursor or forge a line."""
    if text.isprintable():
        return text
    return "".join(character for character in text if character.isprintable())
