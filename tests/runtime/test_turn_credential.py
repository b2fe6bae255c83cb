"""User name and password of a TURN server are read from a file that nobody else can read."""

from pathlib import Path

import pytest

from ntvl.errors import UsageError
from ntvl.runtime.turn_credential import read_turn_credentials
from ntvl.wire.credential import Credentials


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path = path / "turn.secret"
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("data", [b"alice:a:b c", b"alice:a:b c\n", b"alice:a:b c\r\n\n"])
def test_the_first_colon_parts_user_and_password(tmp_path: Path, data: bytes) -> None:
    assert read_turn_credentials(write(tmp_path, data)) == Credentials("alice", "a:b c")


@pytest.mark.parametrize(
    "data", [b"", b"alice", b":x", b"alice:", b"a:b\nc:d", b"\xff:x", b"a:\x01", b"a:" + b"x" * 5000]
)
def test_anything_else_is_refused_without_being_shown(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UsageError, match="write USER:PASSWORD in one line") as failure:
        read_turn_credentials(write(tmp_path, data))
    assert "alice" not in str(failure.value)


def test_a_file_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, b"alice:x", 0o644)
    with pytest.raises(UsageError, match=f"run 'chmod 600 {path}'"):
        read_turn_credentials(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_turn_credentials(tmp_path / "none")
