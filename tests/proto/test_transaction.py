from ntvl.proto.timers import Timers
from ntvl.proto.transaction import GIVE_UP_S, Transactions

ONE, TWO = bytes(12), bytes(11) + b"\1"


def run(transactions: Transactions[str], timers: Timers, until: float) -> tuple[list[float], list[tuple[float, str]]]:
    """Returns when bytes went out again, and what was given up when."""
    sent, given_up = [], []
    while (wakeup := timers.next()) is not None and wakeup.at <= until:
        for key in timers.due(wakeup.at):
            data, context = transactions.handle_timer(key, wakeup.at)
            if data is not None:
                sent.append(wakeup.at)
            if context is not None:
                given_up.append((wakeup.at, context))
    return sent, given_up


def test_over_udp_a_request_is_repeated_at_the_times_of_rfc_8489() -> None:
    timers = Timers()
    transactions: Transactions[str] = Transactions(timers, reliable=False)
    transactions.open(ONE, b"data", "one", 100.0)
    sent, given_up = run(transactions, timers, 1000.0)
    assert sent == [100.5, 101.5, 103.5, 107.5, 115.5, 131.5]
    assert given_up == [(139.5, "one")]
    assert len(transactions) == 0


def test_over_a_stream_it_is_sent_once() -> None:
    timers = Timers()
    transactions: Transactions[str] = Transactions(timers, reliable=True)
    transactions.open(ONE, b"data", "one", 100.0)
    assert run(transactions, timers, 1000.0) == ([], [(100.0 + GIVE_UP_S, "one")])


def test_what_is_answered_is_not_repeated() -> None:
    timers = Timers()
    transactions: Transactions[str] = Transactions(timers, reliable=False)
    transactions.open(ONE, b"data", "one", 100.0)
    transactions.open(TWO, b"data", "two", 100.0)
    assert (transactions.find(ONE), transactions.find(bytes(11) + b"\2")) == ("one", None)
    transactions.close(ONE)
    transactions.close(ONE)
    assert run(transactions, timers, 1000.0)[1] == [(139.5, "two")]


def test_after_a_long_sleep_a_request_is_given_up_at_once() -> None:
    timers = Timers()
    transactions: Transactions[str] = Transactions(timers, reliable=False)
    transactions.open(ONE, b"data", "one", 100.0)
    (key,) = timers.due(5000.0)
    assert transactions.handle_timer(key, 5000.0) == (None, "one")
    assert timers.next() is None


def test_clearing_leaves_no_timer() -> None:
    timers = Timers()
    transactions: Transactions[str] = Transactions(timers, reliable=False)
    transactions.open(ONE, b"data", "one", 100.0)
    transactions.clear()
    assert (len(transactions), timers.next()) == (0, None)
