"""Hosts for real engines: network namespaces, each entered by a thread of its own, and wires between them."""

import ctypes
import itertools
import os
import select
import subprocess
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from ntvl.dataplane.choice import Engine, start_engine
from ntvl.dataplane.interface import DeviceClosed, DeviceOpened, Event, OpenDevice
from ntvl.wire.address import Address

CLONE_NEWNET = 0x40000000
T = TypeVar("T")
E = TypeVar("E", bound=Event)
_COUNT = itertools.count(1)
_WAITING: "weakref.WeakKeyDictionary[Engine, list[Event]]" = weakref.WeakKeyDictionary()


def run(*arguments: str, timeout_s: float = 60.0, check: bool = True) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert not check or done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


class Host:
    """Is a namespace; what `call` runs, runs there, and so do the processes and sockets that it makes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.engines: list[Engine] = []
        run("ip", "netns", "add", name)
        self._executor = ThreadPoolExecutor(1, initializer=self._enter)
        self.run("ip", "link", "set", "lo", "up")
        # Duplicate address detection takes seconds, and nobody else is here.
        for scope in ("all", "default"):
            self.run("sysctl", "-qw", f"net.ipv6.conf.{scope}.accept_dad=0")

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(descriptor)

    def call(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        return self._executor.submit(function, *arguments, **named).result(60)

    def run(self, *arguments: str, timeout_s: float = 60.0, check: bool = True) -> str:
        return run("ip", "netns", "exec", self.name, *arguments, timeout_s=timeout_s, check=check)

    def start(self, port: int = 7000, **named: Any) -> Engine:
        """Returns an engine that listens here."""
        listen = [Address("0.0.0.0", port), Address("::", port)]
        engine = self.call(start_engine, "python", listen=listen, **named)
        self.engines.append(engine)
        return engine

    def open_tap(self, engine: Engine, mac: bytes, addresses: Sequence[str], *, mtu: int = 1360) -> DeviceOpened:
        """Gives an engine the device 1 and the addresses on it."""
        engine.apply([OpenDevice(1, "ntvl0", mac, mtu)])
        opened = wait_event(engine, (DeviceOpened, DeviceClosed))
        assert isinstance(opened, DeviceOpened), opened
        for address in addresses:
            self.run("ip", "addr", "add", address, "dev", opened.name)
        # Bursts of a test's own making must not be lost where this host is busy with something else.
        self.run("ip", "link", "set", opened.name, "txqueuelen", "20000", "up")
        return opened

    def close(self) -> None:
        for engine in self.engines:
            engine.close()
        self._executor.shutdown()
        run("ip", "netns", "del", self.name)


class Hosts:
    """Makes hosts and wires, and takes all of them away."""

    def __init__(self) -> None:
        self._prefix = f"ntvl-test-{os.getpid()}-{next(_COUNT)}"
        self._hosts: list[Host] = []

    def add(self, name: str) -> Host:
        host = Host(f"{self._prefix}-{name}")
        self._hosts.append(host)
        return host

    def wire(self, left: Host, right: Host, device: str, *addresses: tuple[str, str]) -> None:
        """Connects two hosts by a veth pair that is called `device` on both."""
        left.run("ip", "link", "add", device, "type", "veth", "peer", "name", device, "netns", right.name)
        for host, side in ((left, 0), (right, 1)):
            for pair in addresses:
                host.run("ip", "addr", "add", pair[side], "dev", device)
            host.run("ip", "link", "set", device, "up")

    def close(self) -> None:
        for host in reversed(self._hosts):
            host.close()


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    made = Hosts()
    try:
        yield made
    finally:
        made.close()


def wait_event(engine: Engine, kinds: type[E] | tuple[type[E], ...], timeout_s: float = 10.0) -> E:
    """Returns the next event of these kinds; others that came before it are lost, those behind it are not."""
    deadline = time.monotonic() + timeout_s
    waiting = _WAITING.setdefault(engine, [])
    while time.monotonic() < deadline:
        if not waiting:
            select.select([engine], [], [], 0.1)
            waiting += engine.drain()
        while waiting:
            event = waiting.pop(0)
            if isinstance(event, kinds):
                return event
    raise AssertionError(f"no {kinds} within {timeout_s} s")
