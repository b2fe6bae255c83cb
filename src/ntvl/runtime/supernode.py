"""A supernode as a program: state, lease database, engine and machine put together, and taken apart again.

    start   state locked, key loaded, database checked -> port bound, engine started -> machine -> "ready"
    run     the driver moves datagrams; a control socket in the state directory answers `ntvl status`
    end     a signal, or a sentence that says why: leases counted from now on, database closed, state released

Nodes are not told of the end: they notice, keep their direct paths, and come back when the supernode does.
"""

import asyncio
import logging
import os
import signal
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ntvl import __version__
from ntvl.config import SUPERNODE_SOCKET
from ntvl.dataplane.choice import Engine, start_engine
from ntvl.errors import UsageError
from ntvl.identity.keys import NodeKey
from ntvl.proto.supernode import Supernode
from ntvl.proto.supernode_events import MemberJoined, MemberMoved, Refusal, SupernodeEvent
from ntvl.registry.sqlite import SqliteStore
from ntvl.runtime.carrier import engine_address
from ntvl.runtime.clock import wall_time
from ntvl.runtime.control_socket import ControlSocket
from ntvl.runtime.driver import Driver
from ntvl.runtime.interfaces import read_hosts
from ntvl.runtime.listen import choose_public, is_wildcard
from ntvl.runtime.netlink import NetlinkError
from ntvl.runtime.second_port import SecondPort
from ntvl.runtime.state import StateDirectory
from ntvl.runtime.stream_server import StreamServer
from ntvl.runtime.supernode_report import SupernodeReporter
from ntvl.runtime.tls import server_context
from ntvl.wire.address import Address

__all__ = ["DATABASE_NAME", "Wss", "run_supernode"]

DATABASE_NAME: Final = "leases.db"


@dataclass(frozen=True, slots=True)
class Wss:
    """Says where to take WebSockets over TLS, and under which certificate; without one a new one is made."""

    listen: tuple[Address, ...]
    certificate: Path | None = None
    key: Path | None = None


def run_supernode(listen: Sequence[Address], state: Path, *, wss: Wss | None = None, as_json: bool = False) -> None:
    """Runs a supernode until SIGINT, SIGTERM or the end of its terminal.

    Args:
        listen: what to bind, port 0 for any; 0.0.0.0 and :: for every address.
        state: the state directory, made where it is missing.
        wss: where to take WebSockets, None for nowhere.
        as_json: events as JSON lines instead of sentences.
    Raises:
        UsageError: why it cannot start or go on, in one sentence.
    """
    reporter = SupernodeReporter(as_json=as_json)
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    context = None if wss is None else server_context(wss.certificate, wss.key)
    with StateDirectory(state, role="supernode") as directory:
        key = NodeKey.from_bytes(directory.load_key())
        store = _open_store(state / DATABASE_NAME)
        try:
            asyncio.run(_Program(key, store, listen, state, reporter, wss, context).run())
        finally:
            store.close()


class _Program:
    """Is one run of a supernode."""

    def __init__(
        self,
        key: NodeKey,
        store: SqliteStore,
        listen: Sequence[Address],
        state: Path,
        reporter: SupernodeReporter,
        wss: Wss | None,
        context: ssl.SSLContext | None,
    ) -> None:
        self._key = key
        self._store = store
        self._listen = listen
        self._state = state
        self._reporter = reporter
        self._wss = wss
        self._context = context
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Starts, runs until told to stop, ends."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1) has SIGHUP ignored
                loop.add_signal_handler(number, self._signalled, number)
        engine = start_engine(listen=self._listen, taps=False, relay=True)
        try:
            await self._run_on(engine)
        finally:
            engine.close()
        self._reporter.stopped()

    async def _run_on(self, engine: Engine) -> None:
        second = SecondPort(engine, self._listen)
        if not second.port:
            self._reporter.notice("warning", "no-second-port", f"{second.reason}; STUN answers from one port alone")
        supernode = Supernode(self._key, self._store, random=os.urandom, wall=wall_time, stun=second.place)
        streams = StreamServer(engine_address(self._listen, engine.port), supernode.addresses)
        driver = Driver[SupernodeEvent](
            supernode, second, on_event=lambda event: self._reporter.event(_unveil_event(event, streams))
        )
        began = driver.clock()

        async def answer_status(_: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
            now = driver.clock()
            status = supernode.status(now)
            yield {
                "supernode": {
                    "key": status.pop("key"),
                    "version": __version__,
                    "port": engine.port,
                    "uptime_s": round(now - began, 1),
                },
                "engine": {"name": engine.name},
                "streams": {"tcp": streams.count("tcp"), "wss": streams.count("wss"), "drops": dict(streams.drops)},
                **_unveil(status, streams),
                "faults": dict(driver.faults),
            }

        wss = await self._take_streams(streams, engine.port)
        control = await self._open_control(ControlSocket(self._state / SUPERNODE_SOCKET, {"status": answer_status}))
        driving = asyncio.create_task(driver.run())
        second.read(lambda data, origin: driver.tell(supernode.handle_datagram, data, origin))
        try:
            public, others = choose_public(await self._own_hosts())
            self._reporter.ready(
                key=self._key.public,
                public=public,
                others=others,
                port=engine.port,
                state=self._state,
                socket=None if control is None else control.path,
                wss=wss,
            )
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait((driving, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            driver.stop()
            try:
                await driving
            except ConnectionError as error:
                raise UsageError(f"The data plane failed ({error}); start the supernode again.") from error
        finally:
            driving.cancel()
            second.end()
            await streams.close()
            if control is not None:
                await control.close()
            driver.call(supernode.close)

    async def _take_streams(self, streams: StreamServer, port: int) -> int:
        """Listens for streams, and returns the port for WebSockets; without TCP at its port it serves the others."""
        try:
            await streams.listen([Address(address.host, port) for address in self._listen])
        except UsageError as error:
            self._reporter.notice("warning", "no-tcp", f"{error}; nodes that UDP does not reach cannot come over TCP.")
        if self._wss is None:
            return 0
        try:
            return await streams.listen(self._wss.listen, self._context)
        except UsageError as error:
            raise UsageError(f"{error} for --wss: stop the program that has it, or name another one.") from error

    async def _open_control(self, control: ControlSocket) -> ControlSocket | None:
        """Returns the socket, open; a supernode that cannot have one serves nodes all the same."""
        try:
            await control.open()
        except UsageError as error:
            self._reporter.notice("warning", "no-control-socket", f"`ntvl status` cannot ask this supernode: {error}")
            return None
        return control

    async def _own_hosts(self) -> list[str]:
        """Returns the addresses of this computer by which nodes may come, as far as they can be named."""
        named = [address.host for address in self._listen if not is_wildcard(address.host)]
        families = {address.is_ipv6 for address in self._listen if is_wildcard(address.host)}
        if families:
            try:
                named += [host for host in await read_hosts() if (":" in host) in families]
            except (NetlinkError, OSError):
                pass  # A sandbox without netlink: nodes can come, only we cannot say where.
        return list(dict.fromkeys(named)) or ["127.0.0.1" if False in families else "::1"]

    def _signalled(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            os._exit(128 + number)
        self._stop.set()


def _unveil(status: dict[str, Any], streams: StreamServer) -> dict[str, Any]:
    """Puts where streams come from in the place of their carriers' loopback addresses."""
    for community in status["communities"]:
        for member in community["members"]:
            member["observed"] = streams.find(member["observed"]) or member["observed"]
    return status


def _unveil_event(event: SupernodeEvent, streams: StreamServer) -> SupernodeEvent:
    """Does for an event what `_unveil` does for a status."""
    if isinstance(event, MemberJoined | MemberMoved | Refusal) and (found := streams.find(event.observed)):
        return replace(event, observed=found)
    return event


def _open_store(path: Path) -> SqliteStore:
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise UsageError(
            f"cannot write the lease database {path}: {(error.strerror or str(error)).lower()}."
        ) from error
    return SqliteStore(path)
