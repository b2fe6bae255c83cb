import pytest

from ntvl.proto.duration import format_duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 seconds"),
        (1.2, "1 second"),
        (40.0, "40 seconds"),
        (89.0, "89 seconds"),
        (90.0, "2 minutes"),
        (3600.0, "60 minutes"),
        (7200.0, "2 hours"),
        (86400.0, "24 hours"),
        (30 * 86400.0, "30 days"),
        (-7200.0, "2 hours"),
    ],
)
def test_a_length_of_time_reads_like_a_person_would_say_it(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words
