"""What a TURN client asks for."""

from ntvl.proto.turn_request import METHODS, TurnRequest
from ntvl.wire.turn import TurnMethod


def test_an_allocation_is_given_back_by_refreshing_it_for_no_time() -> None:
    assert METHODS["close"] is METHODS["refresh"] is TurnMethod.REFRESH


def test_no_two_other_purposes_share_a_method_so_that_an_answer_is_to_one_of_them() -> None:
    methods = [method for purpose, method in METHODS.items() if purpose != "close"]
    assert len(set(methods)) == len(methods)


def test_a_request_shows_no_password() -> None:
    assert "authorization=None" in repr(TurnRequest(("allocate",), None, 1, stale=False, since=1.0))
