"""A community of real nodes on a stage, for tests: a supernode, members, and questions to them."""

import socket
import time
from collections.abc import Callable
from contextlib import closing

from ntvl.lab.echo import Echo, EchoReport
from ntvl.lab.member import Member, start_supernode
from ntvl.lab.stage import Stage

__all__ = ["Overlay", "eventually"]


def eventually(condition: Callable[[], object], timeout_s: float, what: str) -> float:
    """Waits until something is true; returns how many seconds that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


class Overlay:
    """Is one community whose members have the names of their machines."""

    def __init__(self, stage: Stage, *supernodes: str) -> None:
        self.stage = stage
        self.secret = stage.directory / "secret"
        self.secret.write_text("a secret of this test\n")
        self.secret.chmod(0o600)
        self.supernodes, self.urls = {}, []
        for machine in supernodes or ("supernode",):
            self.supernodes[machine], url = start_supernode(stage, machine)
            self.urls.append(url)
        self.members: dict[str, Member] = {}

    def join(
        self, *machines: str, arguments: tuple[str, ...] = (), ready: bool = True, relayed: tuple[str, ...] = ()
    ) -> None:
        """Starts a node on each machine, those in `relayed` to stay on relays; waits until each has an address and
        knows all the others.
        """
        for machine in machines:
            self.start(machine, arguments=(*arguments, *(("--punch", "off") if machine in relayed else ())))
        if ready:
            self.wait(*machines, among=tuple(self.members))

    def start(self, machine: str, *, community: str = "lab", arguments: tuple[str, ...] = ()) -> None:
        """Starts a node."""
        more = [word for url in self.urls[1:] for word in ("--supernode", url)]
        self.members[machine] = Member(
            self.stage,
            machine,
            community=community,
            supernode=self.urls[0],
            secret_file=self.secret,
            arguments=(*more, *arguments),
        )

    def wait(self, *machines: str, among: tuple[str, ...] = ()) -> None:
        """Waits until each has an address and knows all the others, of these or `among` more."""
        for machine in machines:
            self.members[machine].wait_address(60.0)
            self.members[machine].wait_peers([other for other in among or machines if other != machine], 60.0)

    def address(self, machine: str) -> str:
        return self.members[machine].address

    def echo(self, source: str, target: str, interval_s: float = 0.02) -> Echo:
        return Echo(self.stage.namespace(source), self.address(target), interval_s=interval_s)

    def pings(self, source: str, target: str, seconds: float = 0.5) -> EchoReport:
        echo = self.echo(source, target)
        time.sleep(seconds)
        return echo.stop()

    def path(self, source: str, target: str) -> str:
        return self.members[source].path_to(target).path

    def wait_path(self, source: str, target: str, path: str, timeout_s: float = 10.0) -> None:
        """Pings until both ends have the path."""
        with closing(_Stopping(self.echo(source, target))):
            eventually(
                lambda: {self.path(source, target), self.path(target, source)} == {path},
                timeout_s,
                f"{source} and {target} {path}, but {self.path(source, target)} and {self.path(target, source)}",
            )

    def udp(self, machine: str, port: int = 0) -> socket.socket:
        """Returns a UDP socket on the overlay."""
        opened = self.stage.open_socket(machine, socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind((self.address(machine), port))
        opened.settimeout(5.0)
        return opened


class _Stopping:
    def __init__(self, echo: Echo) -> None:
        self._echo = echo

    def close(self) -> None:
        self._echo.stop()
