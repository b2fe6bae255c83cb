import pytest

from ntvl.identity.url import SupernodeUrl
from ntvl.proto.skew import SKEW_MAX_S, Skew


@pytest.mark.parametrize(("skew_s", "word"), [(SKEW_MAX_S + 1, "ahead of"), (-SKEW_MAX_S - 1, "behind")])
def test_a_clock_that_is_far_off_is_told_of_once(skew_s: float, word: str) -> None:
    skew = Skew(SupernodeUrl("sn.example.org", 1971, None))
    assert skew.judge(SKEW_MAX_S) is None
    notice = skew.judge(skew_s)
    assert notice is not None
    assert word in notice.text
    assert skew.judge(skew_s) is None
