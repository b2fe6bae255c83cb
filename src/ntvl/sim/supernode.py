"""A supernode in the simulator: a host, a machine, and a lease store that outlives both."""

from random import Random
from typing import Any

from ntvl.identity.keys import NodeKey
from ntvl.identity.url import WSS_PORT_DEFAULT, SupernodeUrl
from ntvl.proto.reception import MAIN_SOCKET, OTHER_SOCKET, StunPlace
from ntvl.proto.supernode import Supernode
from ntvl.registry.memory import MemoryStore
from ntvl.sim.greeter import Greeter
from ntvl.sim.host import Host
from ntvl.sim.runner import Runner
from ntvl.sim.timeline import Timeline
from ntvl.wire.address import Address

__all__ = ["SimSupernode"]


class SimSupernode:
    """Is one supernode, which may be stopped and started.

    Args:
        random: its chance: key, indices.
        wss: where it takes WebSockets, 0 for nowhere.
        options: more arguments of `Supernode`.
    """

    def __init__(self, host: Host, timeline: Timeline, random: Random, *, wss: int = 443, **options: Any) -> None:
        self.host = host
        self.key = NodeKey.generate(random.randbytes)
        self.store = MemoryStore()
        self.wss = wss
        self.events: list[tuple[float, Any]] = []
        """What it told its runtime, with the simulator's time."""
        self.runner: Runner | None = None
        self._timeline = timeline
        self._random = random
        self._options = options
        self.start()

    @property
    def name(self) -> str:
        """Returns its host's name."""
        return self.host.name

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Returns where it listens."""
        return tuple(Address(a, self.host.ports[0]) for a in self.host.addresses)

    @property
    def url(self) -> SupernodeUrl:
        """Returns its URL with its key."""
        return SupernodeUrl(f"{self.name}.example", self.host.ports[0], self.key.public, self.wss or WSS_PORT_DEFAULT)

    @property
    def machine(self) -> Supernode:
        """Returns the running machine."""
        assert self.runner is not None, f"{self.name} is stopped"
        machine = self.runner.machine
        assert isinstance(machine, Supernode)
        return machine

    def start(self) -> None:
        """Starts it, with the leases of the last time and nothing else."""
        port = self.host.ports[MAIN_SOCKET]
        self.host.ports[OTHER_SOCKET] = port + 1
        machine = Supernode(
            self.key,
            self.store,
            random=self._random.randbytes,
            wall=self.host.wall,
            stun=StunPlace(port, port + 1, self._host_towards),
            **self._options,
        )
        self.runner = Runner(
            self.host, self._timeline, machine, relay=True, on_event=self._note, on_interfaces=lambda: None
        )
        self.runner.start()
        Greeter(self.host, self._timeline, self._random)

    def stop(self) -> None:
        """Kills it."""
        if self.runner is not None:
            self.runner.stop()
        self.runner = None

    def replace_key(self) -> None:
        """Gives it another key from its next start on, as if its state were lost or somebody else sat at its
        address.
        """
        self.key = NodeKey.generate(self._random.randbytes)

    def status(self) -> dict[str, Any]:
        """Returns the machine's status."""
        return self.machine.status(self.host.now)

    def _host_towards(self, address: Address) -> str | None:
        return next((host for host in self.host.addresses if (":" in host) == address.is_ipv6), None)

    def _note(self, event: Any) -> None:
        self.events.append((self._timeline.now, event))
