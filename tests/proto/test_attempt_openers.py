"""What an attempt sends before its moment."""

from tests.proto.attempting import EASY, NEAR, OPENER, OURS, RANDOM, THEIRS, answerer, opened, play

from ntvl.proto.attempt import Attempt, AttemptState


def test_openers_go_out_with_the_answer_and_cost_the_moment_nothing() -> None:
    attempt = Attempt(7, 1, ours=False, local=OURS, now=100.0)
    attempt.handle_offer(THEIRS, 100.0)
    assert opened(attempt) == [OPENER]
    assert attempt.state is AttemptState.ANSWERED
    attempt.handle_fire(100.1)
    assert [shot.aim for shot in attempt.handle_timeout(100.1)[1]] == [NEAR]


def test_openers_that_were_not_sent_by_the_agreed_moment_are_left_out() -> None:
    attempt = Attempt(7, 1, ours=False, local=OURS, now=100.0)
    attempt.handle_offer(THEIRS, 100.0)
    attempt.handle_fire(100.1)
    assert [shot.aim for shot in attempt.handle_timeout(100.1)[1]] == [NEAR]
    play(attempt)
    assert (attempt.outcomes[0].packets, attempt.outcomes[0].detail) == (14, "")


def test_a_path_that_the_peers_check_makes_after_our_opener_is_our_work_and_one_that_was_there_is_not() -> None:
    for is_new, verdict in ((True, "direct"), (False, "not-needed")):
        attempt = answerer()
        attempt.handle_confirmed(100.05, is_new=is_new)
        assert [(o.verdict, o.packets) for o in attempt.outcomes] == [(verdict, 1)]


def test_an_outcome_says_how_it_was_opened() -> None:
    attempt = answerer()
    attempt.handle_fire(100.1)
    play(attempt)
    assert attempt.outcomes[0].detail == "opened with a time to live of 2"
    assert {outcome.detail for outcome in attempt.outcomes[1:]}.isdisjoint({attempt.outcomes[0].detail})


def test_the_second_attempts_mappings_are_opened_and_that_is_said_too() -> None:
    sockets = list(range(500, 628))
    attempt = Attempt(7, 2, ours=False, local=OURS, now=100.0, nat=RANDOM, open_sockets=lambda count: sockets)
    attempt.handle_offer(THEIRS, 100.0, EASY)
    attempt.handle_fire(100.0)
    attempt.handle_fire(100.0, heavy=True)
    shots = [shot for tick in range(400) for shot in attempt.handle_timeout(100.0 + tick / 20)[1]]
    assert {shot.ttl for shot in shots if shot.is_guess} == {0, 3}
    assert attempt.outcomes[-1].technique == "birthday"
    assert attempt.outcomes[-1].detail == "opened with a time to live of 3"


def test_an_attempt_that_is_given_up_is_on_record_with_what_it_sent_and_one_that_sent_nothing_is_not() -> None:
    attempt = answerer()
    attempt.give_up(100.05)
    assert [(o.technique, o.verdict, o.packets) for o in attempt.outcomes] == [("simultaneous-udp", "given-up", 1)]
    assert attempt.state is AttemptState.ENDED
    attempt.give_up(100.1)
    assert len(attempt.outcomes) == 1
    silent = Attempt(7, 1, ours=True, local=OURS, now=100.0)
    silent.give_up(100.1)
    assert silent.outcomes == []
