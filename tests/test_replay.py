import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.replay import WINDOW_DEFAULT, WINDOW_MIN, ReplayWindow

SIZE = WINDOW_MIN
LAST = 2**64 - 1


class NaiveWindow:
    """Remembers every number in a set: slow, and beyond doubt."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.numbers: set[int] = set()

    @property
    def top(self) -> int:
        return max(self.numbers, default=-1)

    def check(self, number: int) -> str | None:
        if number <= self.top - self.size:
            return "too-old"
        return "replay" if number in self.numbers else None


def steps() -> st.SearchStrategy[list[int]]:
    near = st.integers(-SIZE - 3, SIZE + 3)
    far = st.sampled_from([-3 * SIZE, 2 * SIZE, 2 * SIZE - 1, 5 * SIZE + 7, 2**32])
    return st.lists(st.one_of(st.just(1), st.integers(-40, 40), near, far), max_size=120)


@given(start=st.one_of(st.integers(0, 3 * SIZE), st.integers(0, LAST)), moves=steps())
def test_the_window_agrees_with_a_set(start: int, moves: list[int]) -> None:
    window, naive = ReplayWindow(SIZE), NaiveWindow(SIZE)
    number = start
    for move in moves:
        number = min(max(number + move, 0), LAST)
        assert window.check(number) == naive.check(number)
        if naive.check(number) is None:
            window.accept(number)
            naive.numbers.add(number)
            assert window.check(number) == "replay"
        assert window.top == naive.top


@given(
    runs=st.lists(st.tuples(st.integers(0, 3 * SIZE), st.integers(1, 3 * SIZE)), max_size=6), probe=st.integers(0, SIZE)
)
def test_a_run_is_the_same_as_its_numbers_one_by_one(runs: list[tuple[int, int]], probe: int) -> None:
    together, single = ReplayWindow(SIZE), ReplayWindow(SIZE)
    for gap, count in runs:
        first = together.top + 1 + gap
        together.accept_run(first, count)
        for number in range(first, first + count):
            single.accept(number)
        assert together.top == single.top
        assert together.seen == single.seen
        assert together.check(max(0, together.top - probe)) == single.check(max(0, single.top - probe))


@given(numbers=st.lists(st.integers(0, LAST), max_size=40))
def test_check_changes_nothing(numbers: list[int]) -> None:
    window = ReplayWindow(SIZE)
    for number in (5, 6, 9):
        window.accept(number)
    before = (window.top, bytes(window.seen))
    for number in numbers:
        window.check(number)
    assert (window.top, bytes(window.seen)) == before


def test_a_forged_huge_number_does_not_move_the_window() -> None:
    window = ReplayWindow()
    window.accept(10)
    assert window.check(LAST) is None  # new for all we know; the seal will not open, so it is never accepted
    assert window.check(11) is None
    assert window.check(10) == "replay"
    assert window.top == 10


def test_the_inlined_fast_path_is_check_and_accept() -> None:
    inlined, called = ReplayWindow(SIZE), ReplayWindow(SIZE)
    for number in range(3 * SIZE):
        assert number == inlined.top + 1
        inlined.seen[number & inlined.mask] = 1
        inlined.top = number
        assert called.check(number) is None
        called.accept(number)
    assert (inlined.top, inlined.seen) == (called.top, called.seen)


def test_numbers_go_up_to_the_last_one() -> None:
    window = ReplayWindow()
    window.accept(LAST)
    assert window.check(LAST) == "replay"
    assert window.check(LAST - WINDOW_DEFAULT + 1) is None
    assert window.check(LAST - WINDOW_DEFAULT) == "too-old"


def test_a_number_behind_the_window_is_not_remembered_over_a_newer_one() -> None:
    window = ReplayWindow(SIZE)
    window.accept(SIZE)
    window.accept(0)  # shares its slot with SIZE
    assert window.check(SIZE) == "replay"
    window.accept(SIZE + 5)
    window.accept(2)
    assert window.check(SIZE + 2) is None


@pytest.mark.parametrize("size", [0, 1024, 3000, -2048])
def test_a_window_too_small_or_crooked_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        ReplayWindow(size)


@pytest.mark.parametrize(("first", "count"), [(5, 1), (3, 4), (6, 0)])
def test_a_run_that_is_not_above_all_is_the_callers_mistake(first: int, count: int) -> None:
    window = ReplayWindow()
    window.accept(5)
    with pytest.raises(ValueError, match="not above"):
        window.accept_run(first, count)
