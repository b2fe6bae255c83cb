import random

from ntvl.proto.indices import Indices


def scripted(*numbers: int):
    left = iter(numbers)
    return lambda length: next(left).to_bytes(length, "big")


def test_an_index_leads_to_its_owner_until_it_is_given_back() -> None:
    indices = Indices[str](random.Random(1).randbytes)
    one, two = indices.allocate("one"), indices.allocate("two")
    assert (indices.find(one), indices.find(two)) == ("one", "two")
    indices.release(one)
    assert (indices.find(one), indices.find(two)) == (None, "two")


def test_unknown_indices_lead_nowhere_and_are_given_back_in_peace() -> None:
    indices = Indices[str](random.Random(1).randbytes)
    indices.release(7)
    assert indices.find(7) is None


def test_no_index_is_zero_and_none_is_given_out_twice() -> None:
    indices = Indices[str](scripted(0, 5, 5, 0, 6, 5))
    assert indices.allocate("one") == 5
    assert indices.allocate("two") == 6
    indices.release(5)
    assert indices.allocate("three") == 5


def test_indices_use_all_32_bits() -> None:
    indices = Indices[int](random.Random(1).randbytes)
    drawn = [indices.allocate(n) for n in range(2000)]
    assert len(set(drawn)) == 2000
    assert all(1 <= index < 1 << 32 for index in drawn)
    assert max(drawn) > 1 << 31
