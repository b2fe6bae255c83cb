import asyncio
import json
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ntvl.errors import UsageError
from ntvl.runtime import control_socket
from ntvl.runtime.control_client import ask
from ntvl.runtime.control_socket import ControlSocket


async def count(question: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    for number in range(question.get("to", 3)):
        await asyncio.sleep(0)
        yield {"number": number}


async def refuse(question: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield {"first": 1}
    raise UsageError("There is no such peer.")


async def break_down(question: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    raise KeyError("a bug")
    yield {}


async def flood(question: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    while True:
        yield {"filler": "x" * 100_000}


HANDLERS = {"count": count, "refuse": refuse, "break": break_down, "flood": flood}


def serve(path: Path, scenario: Callable[[], None]) -> None:
    """Runs `scenario`, which blocks, in a thread while the socket is open."""

    async def main() -> None:
        control = ControlSocket(path, HANDLERS)
        await control.open()
        try:
            await asyncio.wait_for(asyncio.to_thread(scenario), 20)
        finally:
            await control.close()

    asyncio.run(main())


def raw(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "ntvl.sock"


def test_a_question_gets_its_answer_line_by_line(path: Path) -> None:
    def scenario() -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(ask(path, {"verb": "count"})) == [{"number": 0}, {"number": 1}, {"number": 2}]
        assert list(ask(path, {"verb": "count", "to": 0})) == []

    serve(path, scenario)
    assert not path.exists(), "the socket goes with the program"


def test_a_refusal_comes_in_the_programs_words(path: Path) -> None:
    def scenario() -> None:
        answers = ask(path, {"verb": "refuse"})
        assert next(answers) == {"first": 1}
        with pytest.raises(UsageError, match=r"^There is no such peer\.$"):
            next(answers)

    serve(path, scenario)


def test_a_bug_in_an_answer_harms_only_that_answer(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def scenario() -> None:
        with pytest.raises(UsageError, match="failed to answer"):
            list(ask(path, {"verb": "break"}))
        assert len(list(ask(path, {"verb": "count"}))) == 3

    serve(path, scenario)
    assert "a bug in the answer to 'break'" in caplog.text


@pytest.mark.parametrize(
    "question",
    [
        b"",
        b"\n",
        b"rubbish\n",
        b"[]\n",
        b"{}\n",
        b'{"verb": 3}\n',
        b"[" * 4000 + b"\n",
        b"\xff\n",
    ],
)
def test_what_is_no_question_is_told_so(path: Path, question: bytes) -> None:
    def scenario() -> None:
        assert "one JSON object with a verb: count," in json.loads(raw(path, question))["error"]

    serve(path, scenario)


def test_who_asks_the_wrong_program_is_told_what_it_answers(path: Path) -> None:
    def scenario() -> None:
        error = json.loads(raw(path, b'{"verb": "fly\\u001b"}\n'))["error"]
        assert error.startswith("The program at this socket answers to count,")
        assert error.endswith("not to fly?; ask another.")

    serve(path, scenario)


def test_a_question_without_its_newline_is_still_one(path: Path) -> None:
    serve(path, lambda: _equal(raw(path, b'{"verb": "count", "to": 1}'), b'{"number":0}\n'))


def _is_there(path: Path) -> bool:
    return path.exists()


def _equal(left: bytes, right: bytes) -> None:
    assert left == right


def test_an_endless_question_is_cut_off(path: Path) -> None:
    def scenario() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(10)
            connection.connect(str(path))
            with pytest.raises(OSError, match=r"Broken pipe|reset"):
                while True:
                    connection.sendall(b"x" * 10_000)

    serve(path, scenario)


def test_clients_that_hang_are_let_go_and_harm_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "PATIENCE_S", 0.2)

    def scenario() -> None:
        silent = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(3)]
        deaf = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        for client in (*silent, deaf):
            client.settimeout(10)
            client.connect(str(path))
        deaf.sendall(b'{"verb": "flood"}\n')
        assert len(list(ask(path, {"verb": "count"}))) == 3
        for client in silent:
            assert client.recv(1) == b"", "a silent client is let go"
            client.close()
        finished = threading.Event()
        finished.wait(0.5)
        received = 0
        while part := deaf.recv(1 << 20):
            received += len(part)
        assert received < 10_000_000, "a deaf client does not get the whole flood"
        deaf.close()

    serve(path, scenario)


def test_too_many_clients_are_turned_away_and_the_next_is_served(path: Path) -> None:
    def scenario() -> None:
        clients = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(control_socket.CLIENTS_MAX)]
        for client in clients:
            client.connect(str(path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as extra:
            extra.settimeout(10)
            extra.connect(str(path))
            assert extra.recv(1) == b""
        for client in clients:
            client.shutdown(socket.SHUT_WR)
            assert b"error" in client.recv(1000)
            client.close()
        assert len(list(ask(path, {"verb": "count"}))) == 3

    serve(path, scenario)


def test_a_stale_socket_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
        killed.bind(str(path))
    serve(path, lambda: _equal(raw(path, b'{"verb": "count", "to": 1}'), b'{"number":0}\n'))


def test_a_live_socket_is_refused_and_stays(path: Path) -> None:
    def scenario() -> None:
        with pytest.raises(UsageError, match="Another program answers at"):
            asyncio.run(ControlSocket(path, HANDLERS).open())
        assert len(list(ask(path, {"verb": "count"}))) == 3

    serve(path, scenario)


def test_a_file_that_is_no_socket_is_refused_and_stays(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists and is not a socket"):
        asyncio.run(ControlSocket(path, HANDLERS).open())
    assert path.read_text() == "precious"


def test_a_path_that_cannot_be_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too long for a socket"):
        asyncio.run(ControlSocket(tmp_path / ("x" * 120), HANDLERS).open())
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"Cannot open the control socket .*--socket PATH"):
        asyncio.run(ControlSocket(tmp_path / "file" / "sock", HANDLERS).open())


def test_the_socket_of_a_successor_is_not_removed(path: Path) -> None:
    async def main() -> None:
        first = ControlSocket(path, HANDLERS)
        await first.open()
        os.unlink(path)
        second = ControlSocket(path, HANDLERS)
        await second.open()
        await first.close()
        assert _is_there(path)
        await second.close()
        assert not _is_there(path)

    asyncio.run(main())


def test_asking_nobody_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"No node answers at .*; start one with `ntvl node`"):
        list(ask(tmp_path / "no.sock", {"verb": "status"}))


def test_asking_what_is_no_socket_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, kind in ((tmp_path, "a directory"), (tmp_path / "file", "a file")):
        with pytest.raises(UsageError, match=f"^{path} is {kind}, not a socket; name the control socket of a node"):
            list(ask(path, {"verb": "status"}))


def test_a_path_that_no_socket_can_have_is_called_too_long(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is too long for a socket; name a shorter one"):
        list(ask(tmp_path / ("x" * 120), {"verb": "status"}))


def test_a_socket_that_a_killed_node_left_is_a_node_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left"))
    with pytest.raises(UsageError, match="No node answers at "):
        list(ask(tmp_path / "left", {"verb": "status"}))


def test_asking_without_permission_says_whom_to_ask_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(self: socket.socket, address: str) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(socket.socket, "connect", deny)
    with pytest.raises(UsageError, match="ask as root"):
        list(ask(tmp_path / "sock", {"verb": "status"}))


def test_a_program_that_hangs_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hung:
        hung.bind(str(tmp_path / "sock"))
        hung.listen()
        with pytest.raises(UsageError, match="does not answer; it may hang"):
            list(ask(tmp_path / "sock", {"verb": "status"}, patience_s=0.1))
