"""Sessions are renewed under traffic, and end without it."""

import itertools

import pytest

from ntvl.sim.net import Net
from ntvl.wire.header import Kind


@pytest.mark.parametrize("kinds", [("eim-apdf", "eim-apdf"), ("apdm-random", "apdm-random")])
@pytest.mark.parametrize("seed", range(2))
def test_rekeying_under_traffic_loses_and_doubles_nothing(kinds: tuple[str, str], seed: int) -> None:
    net = Net(seed)
    net.supernode()
    a, b = net.node(behind=kinds[0]), net.node(behind=kinds[1])
    net.join()
    net.ping(a, b)
    net.run(5.0)
    packets = 1000
    net.stream(a, b, packets=packets, spacing_s=0.26)
    net.stream(b, a, packets=packets, spacing_s=0.26)
    ages = []
    for _ in range(260):
        net.run(1.0)
        ages.append(next(iter(a.peers().values()))["handshake_age_s"])
    net.run(1.0)
    for node in (a, b):
        assert net.received(node) == list(range(packets))
    assert max(ages) < 130.0
    assert sum(after < before for before, after in itertools.pairwise(ages)) == 2


def test_one_way_traffic_is_rekeyed_as_well() -> None:
    net = Net(seed=4)
    net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf")
    net.join()
    net.ping(a, b)
    net.stream(a, b, packets=1600, spacing_s=0.25)
    net.run(401.0)
    assert net.received(b) == list(range(1600))


def test_old_keys_do_not_open_anything_after_three_minutes() -> None:
    net = Net(seed=5)
    net.supernode()
    a, b = net.node(), net.node()
    net.join()
    net.ping(a, b)
    net.run_until(lambda: net.is_direct(a, b))
    b.host.capture = []
    net.ping(a, b)
    data = next(c for c in b.host.capture if not c.outgoing and c.data[0] == Kind.DATA)
    unseen = data.data[:8] + (1 << 20).to_bytes(8, "big") + data.data[16:]
    net.stream(a, b, packets=760, spacing_s=0.25)
    net.run(190.0)
    before = b.drops().get("unknown-session", 0)
    a.host.send(unseen, data.destination)
    net.run(2.0)
    # The index belongs to nobody any more: it is not even tried.
    assert "authentication" not in b.drops()
    assert net.is_direct(a, b)
    assert before == 0


def test_rekeying_survives_loss() -> None:
    net = Net(seed=6, loss=0.1)
    net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf")
    net.join(limit_s=30.0)
    net.run_until(lambda: net.ping(a, b, limit_s=1.0) is not None, 10.0)
    net.stream(a, b, packets=2400, spacing_s=0.25)
    net.run(601.0)
    assert len(set(net.received(b))) > 2080
