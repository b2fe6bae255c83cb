"""The asking side of the control socket, without asyncio: a question, then the lines of its answer as they come."""

import errno
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ntvl.errors import UsageError

__all__ = ["ask"]

PATIENCE_S: Final = 10.0
"""Longest silence: a program that lives answers at once, and a ping says each second what came of it."""


def ask(path: Path, question: Mapping[str, Any], *, patience_s: float = PATIENCE_S) -> Iterator[dict[str, Any]]:
    """Yields the lines of the answer to `question` by the program at the socket `path`, until it is complete.

    Raises:
        UsageError: nobody answers there, we may not ask, or the question was refused, in the program's own words.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience_s)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps(dict(question)).encode() + b"\n")
        except OSError as error:
            raise _refusal(path, error) from error
        with connection.makefile("rb") as lines:
            while True:
                try:
                    line = lines.readline()
                except OSError as error:
                    raise _refusal(path, error) from error
                if not line:
                    return
                try:
                    answer = json.loads(line)
                except ValueError as error:
                    raise UsageError(f"The program at {path} does not speak as ntvl does.") from error
                if "error" in answer:
                    raise UsageError(str(answer["error"]))
                yield answer


def _refusal(path: Path, error: OSError) -> UsageError:
    if isinstance(error, TimeoutError):
        return UsageError(f"The program at {path} accepts questions and does not answer; it may hang.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return UsageError(f"You may not ask the node at {path}; ask as root, or as the user who runs it.")
    if error.errno == errno.ECONNREFUSED and not path.is_socket():
        kind = "a directory" if path.is_dir() else "a file"
        return UsageError(f"{path} is {kind}, not a socket; name the control socket of a node with --socket PATH.")
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
        return UsageError(
            f"No node answers at {path}; start one with `ntvl node`, or name its socket with --socket PATH."
        )
    if error.errno is None:  # what the system was not even asked
        return UsageError(f"The path {path} is too long for a socket; name a shorter one with --socket PATH.")
    reason = (error.strerror or str(error)).lower()
    return UsageError(f"Cannot ask the program at {path}: {reason}.")
