import pytest

from ntvl.proto.attempt import OFFERS_MAX, Attempt, AttemptState
from ntvl.wire.control import Candidate

OURS = (Candidate("host", "192.168.1.2", 4000, 9),)
NEAR, FAR = Candidate("host", "192.168.1.3", 4000, 9), Candidate("srflx", "198.51.100.3", 61000, 5)
THEIRS = (FAR, NEAR)


def offerer(now: float = 100.0, local: tuple[Candidate, ...] = OURS) -> Attempt:
    return Attempt(7, 1, ours=True, local=local, now=now)


def answerer(now: float = 100.0, remote: tuple[Candidate, ...] = THEIRS) -> Attempt:
    attempt = Attempt(7, 1, ours=False, local=OURS, now=now)
    attempt.handle_offer(remote, now)
    return attempt


def play(attempt: Attempt, until: float = 1000.0) -> tuple[list[float], list[tuple[float, Candidate]]]:
    """Returns the times of offers and of checks, each with its aim, as the attempt asks to be woken."""
    offers, checks = list[float](), list[tuple[float, Candidate]]()
    for _ in range(1000):
        at = attempt.poll_timeout()
        if at is None or at > until:
            return offers, checks
        offer, aims = attempt.handle_timeout(at)
        offers += [at] if offer else []
        checks += [(at, aim) for aim in aims]
    raise AssertionError("the attempt never comes to rest")


def verdicts(attempt: Attempt) -> list[tuple[str, str]]:
    return [(o.technique, o.verdict) for o in attempt.outcomes]


# --- the side that offers ---


def test_an_offer_goes_out_at_once_and_again_at_growing_distance() -> None:
    attempt = offerer()
    offers, checks = play(attempt)
    assert offers == pytest.approx([100.0, 100.7, 102.1])
    assert len(offers) == OFFERS_MAX
    assert checks == []


def test_offers_that_nobody_answers_end_the_attempt_with_a_word() -> None:
    attempt = offerer()
    play(attempt)
    assert attempt.state is AttemptState.ENDED
    (outcome,) = attempt.outcomes
    assert (outcome.technique, outcome.verdict, outcome.packets) == ("offer", "no-answer", 3)
    assert (outcome.started, outcome.ended) == (100.0, pytest.approx(104.9))
    assert attempt.poll_timeout() is None
    assert not attempt.handle_answer(THEIRS, 105.0)


def test_the_answer_arms_the_attempt_for_half_a_round_trip_later() -> None:
    attempt = offerer()
    play(attempt, 100.0)
    assert attempt.handle_answer(THEIRS, 100.08)
    assert attempt.state is AttemptState.ARMED
    assert attempt.poll_timeout() == pytest.approx(100.12)
    assert attempt.handle_timeout(100.10) == (False, [])
    _, checks = play(attempt, 100.2)
    assert checks[0] == (pytest.approx(100.12), NEAR)


def test_a_long_round_trip_delays_the_moment_by_half_a_second_at_most() -> None:
    attempt = offerer()
    play(attempt, 104.0)
    assert attempt.handle_answer(THEIRS, 104.5)
    assert attempt.poll_timeout() == pytest.approx(105.0)


def test_a_second_answer_changes_nothing() -> None:
    attempt = offerer()
    play(attempt, 100.0)
    assert attempt.handle_answer(THEIRS, 100.1)
    before = attempt.poll_timeout()
    assert not attempt.handle_answer((), 100.12)
    assert (attempt.poll_timeout(), attempt.remote) == (before, THEIRS)


def test_after_the_answer_no_offer_is_repeated() -> None:
    attempt = offerer()
    play(attempt, 100.0)
    attempt.handle_answer(THEIRS, 100.1)
    offers, _ = play(attempt)
    assert offers == []


def test_fire_means_nothing_to_the_side_that_offered() -> None:
    attempt = offerer()
    play(attempt, 100.0)
    attempt.handle_fire(100.01)
    assert attempt.poll_timeout() == pytest.approx(100.7)


# --- the side that answers ---


def test_the_answerer_starts_when_told_to_fire() -> None:
    attempt = answerer()
    assert attempt.state is AttemptState.ANSWERED
    assert attempt.handle_timeout(100.05) == (False, [])
    attempt.handle_fire(100.1)
    assert attempt.poll_timeout() == 100.1
    _, checks = play(attempt, 100.2)
    assert checks[0] == (100.1, NEAR)


def test_without_a_word_to_fire_the_answerer_starts_after_a_second() -> None:
    attempt = answerer()
    assert attempt.poll_timeout() == pytest.approx(101.0)
    _, checks = play(attempt, 101.2)
    assert checks[0] == (pytest.approx(101.0), NEAR)


def test_a_late_fire_does_not_start_over() -> None:
    attempt = answerer()
    _, first = play(attempt, 101.5)
    attempt.handle_fire(101.5)
    _, rest = play(attempt)
    assert len(first) + len(rest) == 14


def test_an_answer_means_nothing_to_the_side_that_answered() -> None:
    attempt = answerer()
    assert not attempt.handle_answer((), 100.1)
    assert attempt.remote == THEIRS


# --- both ---


def test_checks_go_to_every_candidate_the_most_promising_first() -> None:
    attempt = answerer()
    _, checks = play(attempt)
    assert [aim for _, aim in checks[:2]] == [NEAR, FAR]
    assert [aim for _, aim in checks].count(NEAR) == [aim for _, aim in checks].count(FAR) == 7


def test_checks_without_a_reply_end_the_attempt_after_the_techniques_time() -> None:
    attempt = answerer()
    attempt.handle_fire(100.0)
    play(attempt)
    assert attempt.state is AttemptState.ENDED
    (outcome,) = attempt.outcomes
    assert (outcome.technique, outcome.verdict, outcome.packets) == ("simultaneous-udp", "no-reply", 14)
    assert (outcome.started, outcome.ended) == (100.0, pytest.approx(105.0))


def test_a_confirmed_path_ends_the_attempt_and_is_credited_to_the_technique_under_way() -> None:
    attempt = answerer()
    attempt.handle_fire(100.0)
    play(attempt, 100.3)
    attempt.handle_confirmed(100.35)
    assert attempt.state is AttemptState.ENDED
    assert attempt.poll_timeout() is None
    (outcome,) = attempt.outcomes
    assert (outcome.verdict, outcome.packets, outcome.started, outcome.ended) == ("direct", 4, 100.0, 100.35)
    attempt.handle_confirmed(100.4)
    attempt.handle_fire(100.4)
    assert attempt.handle_timeout(200.0) == (False, [])
    assert len(attempt.outcomes) == 1


def test_a_path_that_the_peer_opens_before_our_moment_ends_the_attempt_too() -> None:
    attempt = offerer()
    play(attempt, 100.0)
    attempt.handle_confirmed(100.05)
    assert verdicts(attempt) == [("simultaneous-udp", "direct")]
    assert attempt.outcomes[0].packets == 0


@pytest.mark.parametrize(
    ("local", "remote", "obstacle"),
    [
        (OURS, (), "the peer offered no address"),
        (OURS, (Candidate("host", "2001:db8::3", 4000),), "one side has only IPv4 and the other only IPv6"),
        ((), THEIRS, "one side has only IPv4 and the other only IPv6"),
    ],
)
def test_a_technique_that_cannot_apply_is_passed_over_with_its_reason(
    local: tuple[Candidate, ...], remote: tuple[Candidate, ...], obstacle: str
) -> None:
    attempt = offerer(local=local)
    play(attempt, 100.0)
    attempt.handle_answer(remote, 100.1)
    _, checks = play(attempt)
    assert checks == []
    assert attempt.state is AttemptState.ENDED
    assert [(o.verdict, o.detail) for o in attempt.outcomes] == [("not-applicable", obstacle)]


def test_waking_late_sends_what_is_overdue_once() -> None:
    attempt = answerer()
    assert attempt.handle_timeout(101.0)[1] == [NEAR]
    assert len(attempt.handle_timeout(101.5)[1]) == 5
    assert attempt.handle_timeout(101.5) == (False, [])


def test_a_machine_that_slept_through_the_attempt_ends_it() -> None:
    attempt = answerer()
    attempt.handle_timeout(101.0)
    attempt.handle_timeout(5000.0)
    assert attempt.state is AttemptState.ENDED
    assert verdicts(attempt) == [("simultaneous-udp", "no-reply")]
