"""The state directory: what a program keeps between two starts.

    ROLE.key               32 secret bytes as base64 text, made at first use, mode 0600
    ROLE.lock              locked while a program of that role runs; holds its process id
    known_supernodes.json  keys pinned at first use: {"HOST:PORT": "KEY"}

ROLE is "node" or "supernode", so one machine may be both from one directory. Files are written beside their place,
synced and renamed over it, so a power cut leaves the old one or the new one.
"""

import base64
import binascii
import errno
import fcntl
import os
import secrets
import stat
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from ntvl.config import DEFAULT_STATE
from ntvl.errors import UsageError

__all__ = ["DEFAULT_STATE", "KEY_BYTES", "StateDirectory", "write_atomically"]

KEY_BYTES: Final = 32
_READABLE_BY_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class StateDirectory:
    """Holds one role's state directory, locked until `close`.

    Args:
        path: the directory; made with mode 0700 where it is missing.
        role: "node" or "supernode"; names the files.
    Raises:
        UsageError: the directory cannot be made or used, or another program of this role runs on it.
    """

    def __init__(self, path: Path = DEFAULT_STATE, *, role: str = "node") -> None:
        self.path = path
        self.role = role
        try:
            if not path.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(path / f"{role}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(
                f"Cannot use the state directory {path}: {_reason(error)}; "
                "run as root or choose another with --state DIR."
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip()
            os.close(self._lock)
            self._lock = -1
            by = f" (process {holder})" if holder else ""
            raise UsageError(
                f"Another ntvl {role} already runs with the state directory {path}{by}; stop it, or give this one "
                "its own with --state DIR."
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets the next program in; closing twice is harmless."""
        if self._lock >= 0:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = -1

    @property
    def key_path(self) -> Path:
        """Returns where the key is."""
        return self.path / f"{self.role}.key"

    def load_key(self) -> bytes:
        """Returns the 32 secret bytes of this role's key, made now if this is the first use.

        Raises:
            UsageError: others can read the key, we cannot, or it is no key.
        """
        path = self.key_path
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                text = file.read(1024)
        except FileNotFoundError:
            key = secrets.token_bytes(KEY_BYTES)
            write_atomically(path, base64.b64encode(key) + b"\n")
            return key
        except OSError as error:
            raise UsageError(f"Cannot read the {self.role} key {path}: {_reason(error)}.") from error
        if mode & _READABLE_BY_OTHERS:
            raise UsageError(
                f"The {self.role} key {path} is open to other users (mode {mode:04o}); run 'chmod 600 {path}', or "
                "remove it for a new identity if somebody may have read it."
            )
        try:
            key = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise UsageError(
                f"The {self.role} key {path} is damaged (expected {KEY_BYTES} bytes in base64); restore it, or "
                "remove it for a new identity."
            )
        return key

    def load_known_supernodes(self) -> dict[str, str]:
        """Returns the pinned keys, "HOST:PORT" to key text; empty before the first pin.

        Raises:
            UsageError: the file cannot be read or is damaged.
        """
        path = self._known_supernodes
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            raise UsageError(
                f"Cannot read the pinned supernode keys in {path}: {_reason(error)}; repair it, or remove it "
                "to learn the keys again at the next contact."
            ) from error

    def pin_supernode(self, endpoint: str, key: str) -> None:
        """Remembers the key that `endpoint` ("HOST:PORT") showed first; an endpoint that has a key keeps it.

        Raises:
            UsageError: the file cannot be read or written.
        """
        known = self.load_known_supernodes()
        if endpoint in known:
            return
        known[endpoint] = key
        write_atomically(self._known_supernodes, msgspec.json.format(msgspec.json.encode(known), indent=2) + b"\n")

    @property
    def _known_supernodes(self) -> Path:
        return self.path / "known_supernodes.json"


def write_atomically(path: Path, data: bytes) -> None:
    """Puts `data` at `path`, mode 0600, so that a crash at any moment leaves the old content or the new.

    Raises:
        UsageError: the file cannot be written.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    """Returns the operating system's words without its error number, in lower case as part of a sentence."""
    if isinstance(error, OSError) and error.strerror:
        return "no permission" if error.errno in (errno.EACCES, errno.EPERM) else error.strerror.lower()
    return str(error)
