"""Whatever is asked of it, a budget lets no more go out than its two bounds."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from ntvl.proto.check_budget import HOST_BURST, HOST_PER_S, NODE_BURST, NODE_PER_S, CheckBudget

VICTIM = "203.0.113.7"
HOSTS = (VICTIM, "203.0.113.8", "2001:db8::1", "2001:db8:0:1::1")


def spend(budget: CheckBudget, host: str, count: int, now: float) -> int:
    return sum(budget.take(host, now) for _ in range(count))


def test_one_host_gets_its_burst_and_then_its_rate() -> None:
    budget = CheckBudget()
    assert spend(budget, VICTIM, 6000, 100.0) == HOST_BURST
    assert spend(budget, VICTIM, 6000, 110.0) == 10 * HOST_PER_S
    assert budget.drops == {"check-host": 12000 - HOST_BURST - 10 * HOST_PER_S}


def test_other_hosts_go_on_meanwhile_until_the_node_has_sent_enough() -> None:
    budget = CheckBudget()
    spend(budget, VICTIM, 6000, 100.0)
    assert sum(budget.take(f"198.51.100.{number % 250}", 100.0) for number in range(2000)) == NODE_BURST - HOST_BURST
    assert spend(budget, "192.0.2.1", 1000, 101.0) == NODE_PER_S
    assert budget.drops["check-rate"] == 2000 - (NODE_BURST - HOST_BURST) + 1000 - NODE_PER_S


def test_what_the_node_refuses_costs_the_host_nothing() -> None:
    budget = CheckBudget()
    for number in range(7000):
        budget.take(f"198.51.100.{number % 250}", 100.0)
    assert spend(budget, VICTIM, 3000, 100.0) == 0
    assert spend(budget, VICTIM, 6000, 200.0) == HOST_BURST


def test_a_birthday_at_its_pace_is_not_cut_nor_are_the_three_attempts_of_a_minute() -> None:
    budget = CheckBudget()
    for begun in (0.0, 18.0, 48.0):
        spend(budget, VICTIM, 24, begun)
        assert all(budget.take(VICTIM, begun + number / 200) for number in range(2000))
    assert not budget.drops


def test_sixty_peers_with_the_most_candidates_are_checked_four_times_at_once() -> None:
    budget = CheckBudget()
    for peer in range(60):
        for candidate in range(24):
            assert spend(budget, f"198.51.{candidate}.{peer}", 4, 0.0) == 4


def test_the_first_answer_clears_a_host_and_nothing_else() -> None:
    budget = CheckBudget()
    spend(budget, VICTIM, 5000, 100.0)
    budget.handle_answer("203.0.113.8")
    assert not budget.take(VICTIM, 100.0)
    budget.handle_answer(VICTIM)
    assert spend(budget, VICTIM, 5000, 100.0) == NODE_BURST - HOST_BURST


def test_ipv6_hosts_are_one_by_their_network_of_64_bits() -> None:
    budget = CheckBudget()
    assert sum(budget.take(f"2001:db8::{number:x}", 100.0) for number in range(6000)) == HOST_BURST
    assert not budget.take("2001:db8:0:0:ffff::1", 100.0)
    assert budget.take("2001:db8:0:1::1", 100.0)


def test_ever_new_hosts_do_not_make_it_forget_what_one_owes() -> None:
    budget = CheckBudget()
    spend(budget, VICTIM, 5000, 0.0)
    given_again = number = 0
    for second in range(1, 101):
        given_again += spend(budget, VICTIM, 30, float(second))
        for _ in range(190):
            number += 1
            budget.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", float(second))
    assert number > 2 * 8192
    assert given_again == 100 * HOST_PER_S


Step = tuple[float, str, int, bool]
"""Seconds to wait, the host, how many checks are asked for, and whether the host answers then."""
STEPS = st.lists(
    st.tuples(st.floats(0.0, 60.0), st.sampled_from(HOSTS), st.integers(1, 4000), st.booleans()), max_size=12
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_in_no_stretch_of_time_more_goes_out_than_a_burst_and_the_rate(
    steps: list[Step],
) -> None:
    budget, now = CheckBudget(), 1000.0
    log: list[Step] = []
    refused = 0
    for wait_s, host, count, answers in steps:
        now += wait_s
        sent = spend(budget, host, count, now)
        refused += count - sent
        if answers:
            budget.handle_answer(host)
        log.append((now, host, sent, answers))
    assert refused == sum(budget.drops.values())
    for first, (since, *_) in enumerate(log):
        total, hosts, willing = 0, Counter[str](), set[str]()
        for at, host, sent, answers in log[first:]:
            total += sent
            hosts[host] += sent
            assert total <= NODE_BURST + NODE_PER_S * (at - since) + 1
            assert host in willing or hosts[host] <= HOST_BURST + HOST_PER_S * (at - since) + 1
            if answers:
                willing.add(host)


def test_an_ipv4_address_inside_of_an_ipv6_one_is_one_host_however_it_is_written() -> None:
    budget = CheckBudget()
    names = ["203.0.113.7", "2002:cb00:7107:1::1", "2002:cb00:7107:2::1", "64:ff9b::203.0.113.7"]
    went = sum(budget.take(names[number % len(names)], 0.0) for number in range(int(NODE_BURST)))
    assert went == HOST_BURST
    assert budget.take("64:ff9b::203.0.113.8", 0.0), "another one"
