"""Whatever happens to everybody, in any order: when it is over, all talk, and on the best path that their NATs
allow.
"""

from itertools import permutations
from random import Random

import pytest

from ntvl.nat import KINDS, direct_path_possible
from ntvl.sim.net import Net
from ntvl.sim.node import SimNode

NODES = 4
EVENTS = 12
SETTLED_S = 120.0
DAY_S = 86400.0


class Chaos:
    """Does one thing after another to a net, as a seed has it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.net = Net(seed, loss=0.01, jitter_s=0.003)
        self.supernodes = [self.net.supernode(), self.net.supernode()]
        self.kinds: dict[SimNode, str] = {}
        for _ in range(NODES):
            kind = self.kind()
            self.kinds[self.net.node(behind=kind)] = kind
        self.log: list[str] = []

    def kind(self) -> str:
        return self.random.choice(list(KINDS))

    def happen(self) -> None:
        net, node = self.net, self.random.choice(list(self.kinds))
        what = self.random.choice(("move", "reboot", "restart", "suspend", "clock", "supernode", "partition", "unplug"))
        self.log.append(f"{net.now:.1f} {what} {node.name}")
        if what == "move" and not node.host.asleep:
            self.kinds[node] = self.kind()
            net.move(node, behind=self.kinds[node])
        elif what == "reboot":
            net.reboot_nat(node, new_address=self.random.random() < 0.5)
        elif what == "restart" and not node.host.asleep:
            node.restart()
        elif what == "suspend" and not node.host.asleep:
            net.suspend(node, self.random.uniform(1.0, 200.0))
        elif what == "clock":
            step_s = self.random.uniform(-DAY_S, DAY_S)
            net.step_clock(node, step_s)
            net.timeline.after(self.random.uniform(1.0, 100.0), lambda: net.step_clock(node, -step_s))
        elif what == "supernode":
            supernode = self.random.choice(self.supernodes)
            if supernode.runner is not None:
                net.restart_supernode(supernode, down_s=self.random.uniform(0.0, 60.0))
        elif what == "partition":
            other = self.random.choice([*self.kinds, *self.supernodes])
            if other is not node:
                net.partition([node], [other])
                net.timeline.after(self.random.uniform(1.0, 60.0), net.heal)
        elif what == "unplug" and node.host.interfaces:
            node.host.interfaces[0].up = False
            net.timeline.after(self.random.uniform(0.1, 30.0), lambda: self.plug(node))
        for left, right in permutations(self.kinds, 2):
            if self.random.random() < 0.3 and left.runner is not None and left.ipv4 and right.ipv4:
                net.send(left, right, b"chatter")

    @staticmethod
    def plug(node: SimNode) -> None:
        for interface in node.host.interfaces:
            interface.up = True

    def pings(self, left: SimNode, right: SimNode) -> bool:
        return any(self.net.ping(left, right, limit_s=1.0) is not None for _ in range(5))


@pytest.mark.parametrize("seed", range(6))
def test_after_any_trouble_all_talk_and_on_the_best_path(seed: int) -> None:
    chaos = Chaos(seed)
    net = chaos.net
    net.join(limit_s=30.0)
    for _ in range(EVENTS):
        chaos.happen()
        net.run(chaos.random.uniform(0.0, 20.0))
    net.run(220.0)
    net.heal()
    net.run(60.0)
    nodes = list(chaos.kinds)
    assert [node.failed for node in nodes] == [None] * NODES, chaos.log
    assert net.is_joined(), chaos.log
    for left, right in permutations(nodes, 2):
        assert chaos.pings(left, right), (left.name, right.name, chaos.log)

    def settled() -> bool:
        return all(
            net.is_direct(a, b) == direct_path_possible(KINDS[chaos.kinds[a]], KINDS[chaos.kinds[b]], techniques="all")
            for a, b in permutations(nodes, 2)
        )

    deadline = net.now + SETTLED_S
    while not settled() and net.now < deadline:
        for left, right in permutations(nodes, 2):
            net.send(left, right, b"chatter")
        net.run(5.0)
    shown = {(a.name, b.name): (chaos.kinds[a], chaos.kinds[b], net.path(a, b).path) for a, b in permutations(nodes, 2)}
    assert settled(), (shown, chaos.log)
