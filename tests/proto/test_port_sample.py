"""How ports are chosen, by samples."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.nat import PortAllocation
from ntvl.proto.port_sample import BLOCK_MAX, judge_ports

LOCAL = list(range(40000, 40080, 10))


def series(*outside: int) -> list[tuple[int, int]]:
    return list(zip(LOCAL, outside, strict=False))


def test_a_kept_port_is_preserving_even_if_one_was_taken() -> None:
    assert judge_ports(series(*LOCAL)).allocation is PortAllocation.PRESERVING
    assert judge_ports(series(*LOCAL[:-1], 1024)).allocation is PortAllocation.PRESERVING


@pytest.mark.parametrize("step", [1, 2, -1, 7])
def test_equal_steps_are_sequential_though_one_was_taken_by_somebody_else(step: int) -> None:
    ports = [20000 + step * place for place in range(8)]
    assert judge_ports(series(*ports))[:2] == (PortAllocation.SEQUENTIAL, step)
    ports = [*ports[:3], *(port + step for port in ports[3:])]
    assert judge_ports(series(*ports))[:2] == (PortAllocation.SEQUENTIAL, step)


def test_steps_of_a_busy_nat_have_their_measure() -> None:
    assert judge_ports(series(100, 102, 108, 112, 114, 122, 132, 144))[:2] == (PortAllocation.SEQUENTIAL, 2)


def test_a_wrapped_counter_is_sequential() -> None:
    assert judge_ports(series(65534, 65535, 1024, 1025, 1026, 1027))[:2] == (PortAllocation.SEQUENTIAL, 1)


@pytest.mark.parametrize("seed", range(20))
def test_a_block_and_chance_are_told_apart(seed: int) -> None:
    dice = random.Random(seed)
    block = judge_ports(series(*(5120 + dice.randrange(1024) for _ in range(8))))
    assert block.allocation is PortAllocation.BLOCK_RANDOM
    assert block.ports is not None
    assert 5120 <= block.ports[0] < block.ports[1] < 6144
    assert block.block_ports in (512, 1024)
    anywhere = judge_ports(series(*(1024 + dice.randrange(64512) for _ in range(8))))
    assert anywhere.allocation is PortAllocation.RANDOM


def test_too_few_ports_tell_nothing() -> None:
    assert judge_ports([]).allocation is None
    found = judge_ports(series(3000, 9000, 50000))
    assert (found.allocation, found.ports) == (None, (3000, 50000))


@given(st.lists(st.tuples(st.integers(1, 65535), st.integers(1, 65535)), max_size=12), st.lists(st.integers(1, 65535)))
def test_any_ports_are_judged(ports: list[tuple[int, int]], others: list[int]) -> None:
    found = judge_ports(ports, others)
    assert found.step != 0
    assert found.block_ports <= BLOCK_MAX
