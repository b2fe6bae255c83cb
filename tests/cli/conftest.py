import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ntvl.runtime.control_socket import ControlSocket

Answer = Callable[[str, list[dict[str, Any]]], Path]


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Answer]:
    """Serves fixed answers to one verb at a control socket, from a thread, and returns the socket's path."""
    stops: list[Callable[[], None]] = []

    def start(verb: str, answers: list[dict[str, Any]]) -> Path:
        path = tmp_path / f"{len(stops)}.sock"
        ready = threading.Event()
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()

        async def handler(question: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
            for answer in answers:
                yield {**answer, "question": question} if answer.get("echo") else answer

        async def serve() -> None:
            control = ControlSocket(path, {verb: handler})
            await control.open()
            ready.set()
            await stop.wait()
            await control.close()

        def run() -> None:
            loop.run_until_complete(serve())
            loop.close()

        thread = threading.Thread(target=run)
        thread.start()

        def end() -> None:
            loop.call_soon_threadsafe(stop.set)
            thread.join(5)

        stops.append(end)
        assert ready.wait(5)
        return path

    yield start
    for end in stops:
        end()
