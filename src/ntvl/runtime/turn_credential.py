"""User name and password of a TURN server, out of a file that nobody else can read."""

import os
import stat
from pathlib import Path
from typing import Final

from ntvl.errors import UsageError
from ntvl.wire.credential import Credentials, prepare_text

__all__ = ["read_turn_credentials"]

_FILE_BYTES_MAX: Final = 4096


def read_turn_credentials(path: Path) -> Credentials:
    """Returns what a file holds in one line, `USER:PASSWORD`; the first colon parts them.

    Raises:
        UsageError: a file that cannot be read, that others can read, or that holds something else.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"Cannot read the TURN credentials in {path}: {reason}.") from error
    if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IRWXO:
        raise UsageError(f"Every user of this machine can read the TURN credentials in {path}; run 'chmod 600 {path}'.")
    try:
        lines = data.decode("utf-8").splitlines() if len(data) <= _FILE_BYTES_MAX else []
        user, colon, password = lines[0].partition(":") if lines and not any(lines[1:]) else ("", "", "")
        if not colon:
            raise ValueError("not one line")
        return Credentials(prepare_text(user), prepare_text(password))
    except ValueError as error:
        raise UsageError(f"The file {path} does not hold TURN credentials: write USER:PASSWORD in one line.") from error
