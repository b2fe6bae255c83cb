"""Hostile members name a victim's addresses as theirs: few checks go there, and honest members notice nothing."""

import pytest

from ntvl.nat import NatBehaviour
from ntvl.proto.check_budget import HOST_BURST, HOST_PER_S, CheckBudget
from ntvl.proto.events import PathChanged
from ntvl.sim.net import Net
from ntvl.wire.address import Address

HOSTILE = 16
SECONDS = 15
HONEST = 30
SPENT_S = 120.0


def test_sixteen_members_that_name_one_victim_have_it_sent_no_more_than_the_budget() -> None:
    net = Net(seed=1)
    net.supernode()
    honest, friend = net.node(), net.node(behind="eim-apdf")
    hostile = [net.node() for _ in range(HOSTILE)]
    victim = net.host("victim")
    net.join()
    begun = net.now
    honest.host.capture = []
    for node in hostile:
        net.cut([node.host], [honest.host])  # They are heard by relay alone: no path that works ends an attempt.
        net.stream(node, honest, packets=SECONDS, spacing_s=1.0)
        for second in range(SECONDS):
            names = [Address(victim.addresses[0], 2000 + 20 * second + number) for number in range(20)]
            assert node.runner is not None
            net.timeline.after(
                second, lambda run=node.runner.call, tell=node.machine.handle_mappings, names=names: run(tell, names)
            )
    net.run(SECONDS)
    sent = sum(each.outgoing and each.destination.host in victim.addresses for each in honest.host.capture)
    refused = honest.drops()["check-host"]
    assert 0.9 * HOST_BURST < sent <= HOST_BURST + HOST_PER_S * (net.now - begun)
    assert victim.received + victim.drops["no-socket"] < sent, "openers do not arrive"
    assert sent + refused > 1.5 * HOST_BURST, "the peers' own bounds together are far above"
    # The victim's is one host's budget: another peer has a direct path as soon as ever.
    net.send(friend, honest, b"hello")
    assert net.run_until(lambda: net.is_direct(friend, honest), 5.0) < 1.0


def crowd() -> tuple[dict[tuple[str, bytes], float], dict[str, int]]:
    """Has thirty nodes, half of them behind one address of a carrier's, seek paths to all others at one moment.

    Returns:
        when each node first showed a direct path to each peer, seconds; and what all of them dropped.
    """
    net = Net(seed=4)
    net.supernode()
    carrier = net.site([NatBehaviour(hairpin=True)])
    for number in range(HONEST):
        net.node(behind=net.site("eim-apdf", outside=carrier) if number % 2 else "eim-apdf")
    net.join()
    begun = net.now
    for place, node in enumerate(net.nodes):
        for other in net.nodes[place + 1 :]:
            net.send(node, other, b"hello")
    net.run(0.6)
    direct: dict[tuple[str, bytes], float] = {}
    drops: dict[str, int] = {}
    for node in net.nodes:
        for at, event in node.events:
            if isinstance(event, PathChanged) and event.path == "direct":
                direct.setdefault((node.name, event.peer), at - begun)
        for reason, count in node.drops().items():
            drops[reason] = drops.get(reason, 0) + count
    return direct, drops


def test_thirty_members_that_all_begin_at_once_are_as_fast_as_without_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    with_budget, drops = crowd()
    assert len(with_budget) == HONEST * (HONEST - 1)
    assert max(with_budget.values()) < 0.5
    assert not {"check-host", "check-rate"} & set(drops)
    monkeypatch.setattr(CheckBudget, "take", lambda budget, host, now: True)
    without, _ = crowd()
    assert max(with_budget.values()) == max(without.values())


def test_a_spent_budget_costs_a_pair_as_long_as_it_is_spent_and_no_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(seed=1)
    net.supernode()
    a, b = net.node(behind="eim-apdf"), net.node(behind="eim-apdf")
    net.join()
    take, ours, end = CheckBudget.take, a.machine._surroundings.budget, net.now + SPENT_S

    def take_or_refuse(budget: CheckBudget, host: str, now: float) -> bool:
        return take(budget, host, now) and (budget is not ours or net.now >= end)

    monkeypatch.setattr(CheckBudget, "take", take_or_refuse)
    net.stream(a, b, packets=1000, spacing_s=0.2)
    net.run(SPENT_S - 1.0)
    (peer,) = a.peers().values()
    tried = [each for each in peer["attempts"] if each["verdict"] == "no-reply"]
    assert {(each["packets"], each["detail"]) for each in tried} == {(0, "the budget of checks is spent")}
    assert len(tried) > 1
    net.run_until(lambda: net.is_direct(a, b), 45.0, "direct")
