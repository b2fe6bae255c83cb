import base64
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ntvl.errors import UsageError
from ntvl.runtime.state import StateDirectory, write_atomically


def test_the_key_is_made_at_first_use_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state"
    with StateDirectory(path) as state:
        key = state.load_key()
        assert len(key) == 32
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE(state.key_path.stat().st_mode) == 0o600
        assert base64.b64decode(state.key_path.read_text()) == key
    with StateDirectory(path) as state:
        assert state.load_key() == key
    assert sorted(p.name for p in path.iterdir()) == ["node.key", "node.lock"], "nothing is left beside"


def test_a_key_is_private_even_under_a_generous_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with StateDirectory(tmp_path / "state") as state:
            state.load_key()
            assert stat.S_IMODE(state.key_path.stat().st_mode) == 0o600
            assert stat.S_IMODE(state.path.stat().st_mode) == 0o700
    finally:
        os.umask(old)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    with StateDirectory(tmp_path) as state:
        state.load_key()
        state.key_path.chmod(mode)
        with pytest.raises(UsageError, match=f"open to other users \\(mode 0{mode:o}\\); run 'chmod 600"):
            state.load_key()


@pytest.mark.parametrize("content", [b"", b"rubbish", b"AAAA", b"\xff" * 44, base64.b64encode(b"x" * 33)])
def test_a_damaged_key_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    with StateDirectory(tmp_path) as state:
        write_atomically(state.key_path, content)
        with pytest.raises(UsageError, match="is damaged"):
            state.load_key()
        assert state.key_path.read_bytes() == content


def test_a_key_that_is_a_directory_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "node.key").mkdir()
    with (
        StateDirectory(tmp_path) as state,
        pytest.raises(UsageError, match=r"Cannot read the node key .* is a directory"),
    ):
        state.load_key()


def test_an_unreadable_key_is_refused_in_words(tmp_path: Path) -> None:
    with StateDirectory(tmp_path) as state:
        state.load_key()
    if os.geteuid() != 0:
        (tmp_path / "node.key").chmod(0)
        with StateDirectory(tmp_path) as state, pytest.raises(UsageError, match="no permission"):
            state.load_key()
        return
    program = (
        "import os, pathlib, sys\n"
        "from ntvl.errors import UsageError\nfrom ntvl.runtime.state import StateDirectory\n"
        "state = StateDirectory(pathlib.Path(sys.argv[1]))\n"
        "os.setuid(65534)\n"
        "try: state.load_key()\n"
        "except UsageError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "Cannot read the node key" in done.stdout
    assert "no permission" in done.stdout


def test_two_programs_on_one_state_directory_are_refused(tmp_path: Path) -> None:
    with StateDirectory(tmp_path):
        with pytest.raises(UsageError, match=rf"Another ntvl node already runs .* \(process {os.getpid()}\)"):
            StateDirectory(tmp_path)
        StateDirectory(tmp_path, role="supernode").close()
    StateDirectory(tmp_path).close()


def test_a_killed_program_leaves_no_lock(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys\nfrom ntvl.runtime.state import StateDirectory\n"
        "state = StateDirectory(pathlib.Path(sys.argv[1]))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == -9
    StateDirectory(tmp_path).close()


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UsageError, match=r"Cannot use the state directory .*file/state: .*; run as root or choose another"
    ):
        StateDirectory(tmp_path / "file" / "state")


def test_a_supernode_keeps_the_key_that_it_showed_first(tmp_path: Path) -> None:
    with StateDirectory(tmp_path) as state:
        assert state.load_known_supernodes() == {}
        state.pin_supernode("a.example:1971", "first")
        state.pin_supernode("a.example:1971", "second")
        state.pin_supernode("[2001:db8::1]:1971", "third")
    with StateDirectory(tmp_path) as state:
        assert state.load_known_supernodes() == {"a.example:1971": "first", "[2001:db8::1]:1971": "third"}


def test_damaged_pins_are_refused_rather_than_forgotten(tmp_path: Path) -> None:
    (tmp_path / "known_supernodes.json").write_text("{")
    with StateDirectory(tmp_path) as state:
        with pytest.raises(UsageError, match="remove it to learn the keys again"):
            state.load_known_supernodes()
        with pytest.raises(UsageError):
            state.pin_supernode("a.example:1971", "key")
        assert (tmp_path / "known_supernodes.json").read_text() == "{"


def test_a_reader_sees_the_old_file_or_the_new_one_and_never_half(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([65 + i]) * 100_000 for i in range(4)]
    write_atomically(path, contents[0])
    seen: list[bool] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(path.read_bytes() in contents)

    reader = threading.Thread(target=read)
    reader.start()
    for content in contents * 5:
        write_atomically(path, content)
    stop.set()
    reader.join()
    assert seen
    assert all(seen)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UsageError, match=r"Cannot write .*file: no space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
