import pytest

from ntvl.proto.turn_events import explain_error


@pytest.mark.parametrize("code", [300, 400, 401, 403, 437, 438, 440, 441, 442, 443, 486, 500, 508])
def test_every_error_of_the_rfc_has_words(code: int) -> None:
    assert str(code) not in explain_error(code)


def test_an_error_that_nobody_wrote_down_is_told_by_its_number() -> None:
    assert explain_error(699) == "the server refuses with error 699"
