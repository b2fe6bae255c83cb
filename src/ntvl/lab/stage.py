"""A lab that stands: builds a topology, runs programs on its machines, and removes all of it in the end.

This is the part that needs root. It does what the plan says and nothing of its own.
"""

import secrets
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType

from ntvl.errors import UsageError
from ntvl.lab.namespace import open_socket
from ntvl.lab.plan import Command, build_plan, plan_router
from ntvl.lab.program import Program, ProgramEvent, build_environment
from ntvl.lab.run import Run, new_run, remove_run, remove_stale_runs
from ntvl.lab.topology import Topology

__all__ = ["Stage"]


class Stage:
    """Is one lab, from `with` to the end of it.

    Raises, on entering:
        UsageError: the kernel or a missing program does not let it be built; what was built is removed again.
    """

    def __init__(self, topology: Topology, title: str = "lab") -> None:
        self.topology = topology
        self._title = title
        self._run: Run | None = None
        self._numbers = count()
        self._programs: list[Program] = []
        self._kept = False

    def __enter__(self) -> "Stage":
        remove_stale_runs()
        # Recorded before it is made: whoever is told to end between the two removes it by the record.
        directory = Path(tempfile.gettempdir(), f"ntvl-lab-{secrets.token_hex(6)}")
        try:
            self._run = new_run(self._title, str(directory))
            directory.mkdir(mode=0o700)
            for command in build_plan(self.topology, self._run.prefix).up:
                _apply(command)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        told_to_end = kind is not None and not issubclass(kind, Exception)
        if not self._kept or told_to_end:
            self.close()

    @property
    def run_record(self) -> Run:
        """Returns the record of this lab."""
        if self._run is None:
            raise UsageError("the lab is not built: enter it by `with` first")
        return self._run

    @property
    def directory(self) -> Path:
        """Returns a directory that lives as long as the lab."""
        return Path(self.run_record.directory)

    @property
    def programs(self) -> tuple[Program, ...]:
        """Returns every program that was started here, oldest first."""
        return tuple(self._programs)

    def namespace(self, machine: str) -> str:
        """Returns the name of a machine's namespace, for `ip netns exec`."""
        return f"{self.run_record.prefix}-{machine}"

    def address(self, machine: str, network: str = "", *, ipv6: bool = False) -> str:
        """Returns a machine's address, on its first network or the one named."""
        for interface in self.topology.interfaces(machine):
            if network in ("", interface.network):
                return (interface.ipv6 if ipv6 else interface.ipv4).partition("/")[0]
        raise UsageError(f"{machine!r} is not on the network {network!r}")

    def run(
        self, machine: str, argv: Sequence[str], *, timeout_s: float = 30.0, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program on a machine to its end, and returns its outputs.

        Raises:
            UsageError: it did not end in time, or it failed and `check` is set; the message has what it said.
        """
        try:
            done = subprocess.run(
                ["ip", "netns", "exec", self.namespace(machine), *argv],
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                env=build_environment(),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise UsageError(f"{argv[0]} on {machine} did not end within {timeout_s:g} s") from error
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise UsageError(f"{argv[0]} on {machine} ended with status {done.returncode}: {said}")
        return done

    def start(
        self,
        machine: str,
        argv: Sequence[str],
        *,
        name: str = "",
        environment: Mapping[str, str] | None = None,
        on_event: Callable[[ProgramEvent], None] | None = None,
    ) -> Program:
        """Starts a program on a machine; it ends with the lab if not before."""
        program = Program(
            name or f"{Path(argv[0]).name} on {machine}",
            self.namespace(machine),
            argv,
            self.directory / f"{next(self._numbers):02}-{machine}.log",
            environment=environment,
            on_event=on_event,
        )
        self._programs.append(program)
        return program

    def open_socket(self, machine: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Returns a socket of a machine, usable here."""
        return open_socket(self.namespace(machine), family, kind, protocol)

    def reboot_router(self, router: str, *, wan: str = "") -> None:
        """Makes a router forget all flows, and gives it another outside IPv4 address (with prefix length) if one is
        named.

        Port preserving routers map as before after that unless their address changes.
        """
        interface = self.topology.interfaces(router)[0]
        address = wan or interface.ipv4
        if wan:
            routes = [route for route in self.topology.routes(router) if ":" not in route.prefix]
            script = "address flush dev wan scope global\n"  # flows of an address end with it
            script += f"address add {address} dev wan\n"
            script += f"address add {interface.ipv6} dev wan nodad\n" if interface.ipv6 else ""
            script += "".join(f"route replace {route.prefix} via {route.via}\n" for route in routes)
            _apply(Command(("ip", "-n", self.namespace(router), "-batch", "-"), script))
        _apply(plan_router(self.topology, self.run_record.prefix, router, address.partition("/")[0]))
        self.run(router, ["conntrack", "-F"])

    def keep(self) -> Run:
        """Lets the lab, with its programs, outlive this process, and returns its record."""
        self._run = self.run_record.keep()
        self._kept = True
        return self._run

    def close(self) -> None:
        """Ends the programs, newest first, and removes everything; calling again is harmless."""
        for program in reversed(self._programs):
            program.send_signal(signal.SIGTERM)
        for program in reversed(self._programs):
            program.stop(timeout_s=3.0)
        self._programs.clear()
        if self._run is not None:
            remove_run(self._run)
            self._run = None


def _apply(command: Command) -> None:
    try:
        done = subprocess.run(
            command.argv,
            input=command.stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env=build_environment(),
            check=False,
        )
    except FileNotFoundError as error:
        raise UsageError(
            f"the lab needs the program {command.argv[0]!r}: install it (Debian: iproute2, nftables)"
        ) from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise UsageError(f"the lab could not be built: `{' '.join(command.argv)}` said: {said or done.returncode}")
