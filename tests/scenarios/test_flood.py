"""Under a flood of handshakes a node asks for cookies, and established sessions keep flowing."""

from random import Random

import pytest

from ntvl.identity.keys import NodeKey
from ntvl.proto.handshake import Initiation
from ntvl.sim.net import Net
from ntvl.sim.node import SimNode
from ntvl.sim.supernode import SimSupernode
from ntvl.wire.address import Address
from ntvl.wire.header import Kind

RATE_PER_S = 200
SECONDS = 5


class Flooder:
    """Sends well-made initiations of ever new keys, and notes what comes back."""

    def __init__(
        self, net: Net, victim: SimNode | SimSupernode, *, psk: bytes | None = bytes(32), rate_per_s: int = RATE_PER_S
    ) -> None:
        self.host = net.host("flooder")
        self.host.program = self
        self.answers: list[int] = []
        random = Random(99)
        target = Address(victim.host.addresses[0], victim.host.ports[0])
        for number in range(rate_per_s * SECONDS):
            attempt = Initiation(
                NodeKey.generate(random.randbytes),
                victim.key.public,
                psk=psk,
                payload=b"no certificate",
                aes=True,
                index=number,
                random=random.randbytes,
            )
            net.timeline.after(number / rate_per_s, lambda data=attempt.datagram: self.host.send(data, target))

    def handle_datagram(self, data: bytes, source: Address, socket: int) -> None:
        self.answers.append(data[0])

    def handle_wake(self) -> None:
        pass

    def handle_interfaces(self) -> None:
        pass


def test_established_sessions_flow_and_cookies_go_out() -> None:
    net = Net(seed=1)
    net.supernode()
    victim, b = net.node(), net.node(behind="eim-apdf")
    net.join()
    net.ping(b, victim)
    net.run_until(lambda: net.is_direct(victim, b))
    net.run(3.0)
    flooder = Flooder(net, victim)
    net.stream(b, victim, packets=SECONDS * 100, spacing_s=0.01)
    net.stream(victim, b, packets=SECONDS * 100, spacing_s=0.01)
    net.run(SECONDS + 1.0)
    for node in (victim, b):
        assert net.received(node) == list(range(SECONDS * 100))
    assert set(flooder.answers) == {Kind.COOKIE}
    assert len(flooder.answers) > RATE_PER_S * (SECONDS - 1)
    assert net.is_direct(victim, b)


@pytest.mark.parametrize("behind", ["open", "eim-apdf", "apdm-random"])
def test_a_member_gets_through_the_flood_with_its_cookie(behind: str) -> None:
    net = Net(seed=2)
    net.supernode()
    victim, b = net.node(), net.node(behind=behind)
    net.join()
    flooder = Flooder(net, victim)
    net.run(1.0)
    b.host.capture = []
    assert net.ping(b, victim, limit_s=3.0) is not None
    kinds = [c.data[12] for c in b.host.capture if c.data[0] == Kind.RELAY]
    assert Kind.COOKIE in kinds
    net.run_until(lambda: net.is_direct(victim, b), 5.0)
    assert Kind.COOKIE in flooder.answers


def test_rubbish_is_counted_and_costs_no_answer() -> None:
    net = Net(seed=3)
    net.supernode()
    victim, b = net.node(), net.node()
    net.join()
    net.ping(victim, b)
    stranger = net.host("stranger")
    stranger.capture = []
    random = Random(5)
    target = Address(victim.host.addresses[0], victim.host.ports[0])
    for first in range(256):
        for size in (1, 20, 60, 200, 1400):
            stranger.send(bytes((first,)) + random.randbytes(size - 1), target)
    net.run(5.0)
    answers = [c for c in stranger.capture if not c.outgoing]
    # At most hints (RESET), within their rate.
    assert {c.data[0] for c in answers} <= {Kind.RESET}
    assert len(answers) <= 50
    assert sum(victim.drops().values()) > 1000
    assert net.ping(victim, b) is not None


def test_a_flooded_supernode_still_takes_newcomers_and_relays() -> None:
    net = Net(seed=4)
    supernode = net.supernode()
    a, b = net.node(behind="apdm-random"), net.node(behind="cgn")
    net.join()
    net.ping(a, b)
    flooder = Flooder(net, supernode, psk=None, rate_per_s=500)
    net.stream(a, b, packets=400, spacing_s=0.01)
    net.run(1.0)
    newcomer = net.node(behind="eim-apdf")
    net.join(a, b, newcomer, limit_s=3.0)
    assert net.ping(newcomer, a) is not None
    net.run(4.0)
    assert net.received(b) == list(range(400))
    # Anybody may shake hands with a supernode, so some are answered before the load is noticed.
    assert flooder.answers.count(Kind.COOKIE) > flooder.answers.count(Kind.RESPONSE) > 0


@pytest.mark.parametrize("behind", ["open", "apdm-random"])
def test_altered_truncated_and_reflected_copies_of_real_datagrams_change_nothing(behind: str) -> None:
    net = Net(seed=5)
    supernode = net.supernode()
    a, b = net.node(), net.node(behind=behind)
    net.join()
    net.ping(a, b)
    net.run(5.0)
    stranger = net.host("stranger")
    random = Random(6)
    a.host.capture, supernode.host.capture = [], []
    net.stream(a, b, packets=500, spacing_s=0.02)
    net.stream(b, a, packets=500, spacing_s=0.02)
    for _ in range(100):
        net.run(0.1)
        real = [
            c
            for c in (*a.host.capture, *supernode.host.capture)
            if stranger.addresses[0] not in (c.source.host, c.destination.host)
        ]
        a.host.capture, supernode.host.capture = [], []
        for captured in real:
            data = bytearray(captured.data)
            match random.randrange(4):
                case 0:
                    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
                case 1:
                    del data[random.randrange(len(data)) :]
                case 2:
                    data += random.randbytes(random.randrange(1, 400))
                case _:
                    pass
            for target in (captured.destination, captured.source):
                stranger.send(bytes(data), target)
    net.run(3.0)
    for node in (a, b):
        numbers = net.received(node)
        assert len(numbers) == len(set(numbers))
        assert set(numbers) == set(range(500))
        assert node.failed is None
        assert node.supernode_state() == "registered"
    assert sum(a.drops().values()) > 500
    assert net.is_direct(a, b)


def test_rubbish_does_not_disturb_a_supernode() -> None:
    net = Net(seed=7)
    supernode = net.supernode()
    a, b = net.node(behind="apdm-random"), net.node(behind="apdm-random")
    net.join()
    stranger = net.host("stranger")
    stranger.capture = []
    random = Random(8)
    sent_bytes = 0
    for first in range(256):
        for size in (1, 12, 20, 64, 200, 1400):
            data = bytes((first,)) + random.randbytes(size - 1)
            sent_bytes += len(data)
            stranger.send(data, supernode.addresses[0])
    net.run(5.0)
    answered_bytes = sum(len(c.data) for c in stranger.capture if not c.outgoing)
    assert answered_bytes < sent_bytes / 10
    assert net.ping(a, b) is not None
