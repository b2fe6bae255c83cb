import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.proto.text import printable


@pytest.mark.parametrize("text", ["", "ann", "Ann's laptop (old)", "büro-Δ", "计算机", "a b"])
def test_what_can_be_printed_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ann\x1b[2Jbob", "ann[2Jbob"),
        ("ann\nroot: fine", "annroot: fine"),
        ("a\tb\rc\x00d\x7fe", "abcde"),
        ("a\u202eb\u200bc\u2028d", "abcd"),
        ("\x9b31m", "31m"),
    ],
)
def test_what_moves_a_cursor_or_hides_is_left_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(text=st.text())
def test_the_result_is_printable_and_printing_again_changes_nothing(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
