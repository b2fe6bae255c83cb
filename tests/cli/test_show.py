import pytest
from rich.table import Table

from ntvl.cli.show import console, describe_path, format_bytes, format_count, format_milliseconds, format_span


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1024, "1.00 KiB"),
        (1240, "1.21 KiB"),
        (10 * 1024, "10.0 KiB"),
        (1023 * 1024, "1.00 MiB"),
        (47 * 1024**2, "47.0 MiB"),
        (500 * 1024**3, "500 GiB"),
        (2**60, "1024 PiB"),
    ],
)
def test_data_is_shown_in_three_digits(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.4321, "0.43 ms"), (12.34, "12.3 ms"), (430.4, "430 ms"), (99.99, "100.0 ms")]
)
def test_a_round_trip_is_as_exact_as_it_is_short(value: float | None, text: str) -> None:
    assert format_milliseconds(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0, "0s"), (8.9, "8s"), (125, "2m 5s"), (60, "1m 0s"), (11_520, "3h 12m"), (353_000, "4d 2h")],
)
def test_a_length_of_time_has_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert format_span(seconds) == text


def test_a_path_names_where_it_leads() -> None:
    assert describe_path({"path": "direct", "remote": "203.0.113.5:4", "via": None}) == "direct 203.0.113.5:4"
    key = "A" * 43
    assert describe_path({"path": "relay", "remote": None, "via": f"ntvl://{key}@hub:1971"}) == "relay hub:1971"
    assert describe_path({"path": "none", "remote": None, "via": None}) == "none"


def test_one_thing_is_no_plural() -> None:
    assert [format_count(n, "pair") for n in (0, 1, 2, 4096)] == ["0 pairs", "1 pair", "2 pairs", "4,096 pairs"]


def test_a_table_that_goes_into_a_pipe_has_no_blanks_at_the_ends_of_its_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = Table(box=None)
    table.add_column("from")
    table.add_column("last")
    table.add_row("a", "b")
    table.add_row("a", "a long one")
    for stderr in (False, True):
        console(stderr=stderr).print(table)
    for shown in capsys.readouterr():
        assert [line.split() for line in shown.splitlines()] == [
            ["from", "last"],
            ["a", "b"],
            ["a", "a", "long", "one"],
        ]
        assert all(line == line.rstrip() for line in shown.splitlines())
