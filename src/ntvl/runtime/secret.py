"""A community's secret on its way in: by file, environment or person; never to a log, status or child process.

There is no flag that takes a secret, since every user of a machine can read the arguments of every program.
"""

import getpass
import os
import stat
import sys
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Final

from ntvl.errors import UsageError
from ntvl.identity.community import SECRET_CHARS_ADVISED

__all__ = ["SECRET_VARIABLE", "read_secrets"]

SECRET_VARIABLE: Final = "NTVL_SECRET"
_SECRET_BYTES_MAX: Final = 4096

Warn = Callable[[str, str], None]
Prompt = Callable[[str], str]


def read_secrets(
    communities: Sequence[tuple[str, Path | None]],
    *,
    environ: MutableMapping[str, str],
    warn: Warn,
    prompt: Prompt | None = None,
) -> list[str]:
    """Returns the secret of each community, in order.

    Args:
        communities: name and, if there is one, file of each. Without a file the one in `NTVL_SECRET` counts, which can
            serve one community; without that a person is asked, where there is a terminal.
        environ: as `os.environ`; the variable is removed, so that no child process has it.
        warn: takes a code and a sentence about a secret that is kept or chosen badly.
        prompt: asks a person, None where nobody is there to ask; by default the terminal, if it is one.
    Raises:
        UsageError: a file that cannot be read, no way to a secret, or an empty one.
    """
    in_environment = environ.pop(SECRET_VARIABLE, None)
    without_file = [name for name, file in communities if file is None]
    if in_environment is not None and len(without_file) > 1:
        raise UsageError(
            f"{SECRET_VARIABLE} holds one secret, but the communities {', '.join(without_file)} have no secret_file; "
            "name a file for all of them but one."
        )
    if prompt is None and sys.stdin is not None and sys.stdin.isatty():
        prompt = getpass.getpass
    secrets: list[str] = []
    for name, file in communities:
        if file is not None:
            secret = _read_file(name, file, warn)
        elif in_environment is not None:
            secret = in_environment
        elif prompt is not None:
            secret = _ask(name, prompt)
        else:
            raise UsageError(
                f"The community {name} needs its secret: put it into a file and name that with --secret-file FILE, or "
                f"into the environment as {SECRET_VARIABLE}."
            )
        if not secret:
            raise UsageError(
                f"The secret of the community {name} is empty; every member needs the same, non-empty one."
            )
        if len(secret) < SECRET_CHARS_ADVISED:
            warn(
                "weak-secret",
                f"The secret of the community {name} has fewer than {SECRET_CHARS_ADVISED} characters; whoever runs a "
                "supernode that it uses could guess it.",
            )
        secrets.append(secret)
    return secrets


def _ask(name: str, prompt: Prompt) -> str:
    try:
        return prompt(f"Secret of the community {name}: ")
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise
    except EOFError:
        sys.stderr.write("\n")
        return ""


def _read_file(name: str, path: Path, warn: Warn) -> str:
    """Returns the first line of a secret's file, which may be a pipe."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(_SECRET_BYTES_MAX + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"Cannot read the secret of the community {name} in {path}: {reason}.") from error
    if len(data) > _SECRET_BYTES_MAX:
        raise UsageError(
            f"The file {path} is larger than {_SECRET_BYTES_MAX} bytes; name the file that holds the secret."
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"The secret of the community {name} in {path} is not UTF-8 text.") from error
    lines = text.splitlines()
    if len(lines) > 1 and any(lines[1:]):
        raise UsageError(f"The file {path} has several lines; a secret is one line, equal for all members.")
    if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IRWXO:
        warn("open-secret", f"Every user of this machine can read the secret in {path}; run 'chmod 600 {path}'.")
    return lines[0] if lines else ""
