"""The Unix socket at which a running program answers questions: `ntvl status`, `ntvl ping`.

One connection carries one question: a line of JSON, {"verb": "status"}. The answer is one or more lines of JSON, one
object each, and then the end. A question that cannot be answered gets {"error": "a sentence"}. The socket has mode
0600: whoever may connect may ask everything.

Questions and connections are bounded, and a client that says nothing or takes nothing is let go after some seconds.
"""

import asyncio
import errno
import json
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ntvl.errors import UsageError
from ntvl.runtime.lines import printable

__all__ = ["ControlSocket", "Handler"]

QUESTION_BYTES_MAX: Final = 4096
CLIENTS_MAX: Final = 32
PATIENCE_S: Final = 5.0
"""How long a client may take to ask, and to take each line of the answer."""
SOCKET_PATH_BYTES_MAX: Final = 107
"""unix(7): sun_path is 108 bytes with its zero."""

Handler = Callable[[dict[str, Any]], AsyncIterator[dict[str, Any]]]
"""Takes the question, yields the lines of its answer; a `UsageError` becomes the last line."""

_log = logging.getLogger("ntvl.control")


class ControlSocket:
    """Answers questions at `path` from `open` to `close`.

    Args:
        path: of the socket; a stale one left by a killed program is replaced.
        handlers: verb to handler.
    """

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self.path = path
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._identity: tuple[int, int] | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Starts to answer.

        Raises:
            UsageError: another program answers there, or the place cannot be used.
        """
        self._make_room()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            listener.bind(str(self.path))
        except OSError as error:
            listener.close()
            raise self._refusal(error) from error
        finally:
            os.umask(before)
        status = self.path.stat()
        self._identity = (status.st_dev, status.st_ino)
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=QUESTION_BYTES_MAX)

    async def close(self) -> None:
        """Ends every answer and removes the socket, if it is still ours."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        try:
            status = self.path.stat()
            if (status.st_dev, status.st_ino) == self._identity:
                self.path.unlink()
        except OSError:
            pass

    def _make_room(self) -> None:
        if len(os.fsencode(self.path)) > SOCKET_PATH_BYTES_MAX:
            raise UsageError(f"The path {self.path} is too long for a socket; choose a shorter one with --socket PATH.")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._refusal(error) from error
        if not stat.S_ISSOCK(mode):
            raise UsageError(
                f"{self.path} exists and is not a socket; remove it, or choose another path with --socket PATH."
            )
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self.path))
            except ConnectionRefusedError:
                self.path.unlink(missing_ok=True)
                return
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ETIMEDOUT):
                    raise self._refusal(error) from error
        raise UsageError(
            f"Another program answers at {self.path}; stop it, or choose another path for this one with --socket PATH."
        )

    def _refusal(self, error: OSError) -> UsageError:
        reason = (
            "no permission" if error.errno in (errno.EACCES, errno.EPERM) else (error.strerror or str(error)).lower()
        )
        return UsageError(f"Cannot open the control socket {self.path}: {reason}; choose another with --socket PATH.")

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._clients) >= CLIENTS_MAX:
            writer.transport.abort()
            return
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # The client left, hangs, or the program ends: nobody is there to be told.
        finally:
            self._clients.discard(task)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            line = error.partial
        except asyncio.LimitOverrunError:
            await self._write(writer, {"error": f"A question has at most {QUESTION_BYTES_MAX} bytes."})
            return
        try:
            question = json.loads(line)
        except (ValueError, RecursionError):
            question = None
        verb = question.get("verb") if isinstance(question, dict) else None
        handler = self._handlers.get(verb) if isinstance(verb, str) else None
        if handler is None:
            known = ", ".join(self._handlers)
            refusal = f"A question is one JSON object with a verb: {known}."
            if isinstance(verb, str):
                refusal = f"The program at this socket answers to {known}, not to {printable(verb[:40])}; ask another."
            await self._write(writer, {"error": refusal})
            return
        try:
            async for answer in handler(question):
                await self._write(writer, answer)
        except UsageError as error:
            await self._write(writer, {"error": str(error)})
        except (OSError, TimeoutError):
            raise
        except Exception:
            _log.exception("a bug in the answer to %r, survived; please report it", verb)
            await self._write(writer, {"error": "The program failed to answer; its log says more."})

    async def _write(self, writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
        writer.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
        async with asyncio.timeout(PATIENCE_S):
            await writer.drain()
