import pytest
from tests.proto.attempting import (
    EASY,
    FAR,
    NEAR,
    OPENER,
    OURS,
    RANDOM,
    THEIRS,
    answerer,
    offerer,
    opened,
    play,
    verdicts,
)

from ntvl.proto.attempt import HEAVY_FIRE_WAIT_S, LEAVE_WAIT_S, OFFERS_MAX, Attempt, AttemptState
from ntvl.proto.technique import SEEN_MAX
from ntvl.wire.address import Address
from ntvl.wire.control import Aim, Candidate, Nat

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
    assert attempt.poll_timeout() == 100.08
    assert opened(attempt) == [OPENER]
    assert attempt.poll_timeout() == pytest.approx(100.12)
    assert attempt.handle_timeout(100.10) == (False, [])
    _, checks = play(attempt, 100.2)
    assert checks[0] == (pytest.approx(100.12), NEAR)


def test_a_long_round_trip_delays_the_moment_by_half_a_second_at_most() -> None:
    attempt = offerer()
    play(attempt, 104.0)
    assert attempt.handle_answer(THEIRS, 104.5)
    assert opened(attempt) == [OPENER]
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
    outcome = attempt.outcomes[0]
    assert (outcome.technique, outcome.verdict, outcome.packets) == ("simultaneous-udp", "no-reply", 15)
    assert (outcome.started, outcome.ended) == (100.0, pytest.approx(105.0))


def test_a_confirmed_path_ends_the_attempt_and_is_credited_to_the_technique_under_way() -> None:
    attempt = answerer()
    attempt.handle_fire(100.0)
    play(attempt, 100.3)
    attempt.handle_confirmed(100.35)
    assert attempt.state is AttemptState.ENDED
    assert attempt.poll_timeout() is None
    (outcome,) = attempt.outcomes
    assert (outcome.verdict, outcome.packets, outcome.started, outcome.ended) == ("direct", 5, 100.0, 100.35)
    attempt.handle_confirmed(100.4)
    attempt.handle_fire(100.4)
    assert attempt.handle_timeout(200.0) == (False, [])
    assert len(attempt.outcomes) == 1


def test_a_path_that_is_confirmed_before_our_moment_ends_the_attempt_and_is_nobodys_success_here() -> None:
    attempt = offerer()
    play(attempt, 100.0)
    assert attempt.maker == "simultaneous-udp", "with that the peer has begun"
    attempt.handle_confirmed(100.05, FAR)
    assert attempt.state is AttemptState.ENDED
    (outcome,) = attempt.outcomes
    assert (outcome.technique, outcome.verdict, outcome.packets) == ("simultaneous-udp", "not-needed", 0)
    assert (outcome.started, outcome.ended, outcome.answered) == (100.05, 100.05, (FAR,))


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
    assert (attempt.outcomes[0].verdict, attempt.outcomes[0].detail) == ("not-applicable", obstacle)
    assert {outcome.verdict for outcome in attempt.outcomes} == {"not-applicable"}


def test_waking_late_sends_what_is_overdue_once() -> None:
    attempt = answerer()
    assert [shot.aim for shot in attempt.handle_timeout(101.0)[1]] == [NEAR]
    assert len(attempt.handle_timeout(101.5)[1]) == 5
    assert attempt.handle_timeout(101.5) == (False, [])


def test_a_machine_that_slept_through_the_attempt_ends_it() -> None:
    attempt = answerer()
    attempt.handle_timeout(101.0)
    attempt.handle_timeout(5000.0)
    assert attempt.state is AttemptState.ENDED
    assert verdicts(attempt)[0] == ("simultaneous-udp", "no-reply")


def test_a_technique_has_the_sockets_that_it_asks_for_by_their_own_numbers() -> None:
    asked: list[int] = []

    def open_sockets(count: int) -> list[int]:
        asked.append(count)
        return list(range(500, 500 + count))

    attempt = Attempt(7, 1, ours=False, local=OURS, now=100.0, nat=RANDOM, open_sockets=open_sockets)
    attempt.handle_offer(THEIRS, 100.0, EASY)
    attempt.handle_fire(100.0)
    attempt.handle_fire(100.0, heavy=True)
    shots = [shot for tick in range(400) for shot in attempt.handle_timeout(100.0 + tick / 20)[1]]
    assert asked == [128]
    assert [shot.socket for shot in shots if shot.is_guess] == list(range(500, 628))
    assert {shot.aim for shot in shots if shot.is_guess} == {FAR}
    assert {shot.socket for shot in shots if not shot.is_guess} == {0}


def test_without_sockets_a_technique_that_needs_them_is_passed_over() -> None:
    attempt = Attempt(7, 1, ours=False, local=OURS, now=100.0, nat=RANDOM)
    attempt.handle_offer(THEIRS, 100.0, EASY)
    attempt.handle_fire(100.0, heavy=True)
    play(attempt)
    assert verdicts(attempt)[-1] == ("birthday", "not-applicable")
    assert attempt.outcomes[-1].detail == "another peer's technique has all sockets"


# --- what is kept for people ---


def test_an_outcome_keeps_the_number_the_aims_and_where_the_peers_checks_came_from() -> None:
    attempt = answerer()
    for port in (*range(1, SEEN_MAX + 3), 1):
        attempt.handle_observed(Address("203.0.113.9", port))
    attempt.handle_timeout(101.0)
    assert attempt.technique == "simultaneous-udp"
    attempt.handle_confirmed(101.5, FAR)
    (outcome,) = attempt.outcomes
    assert (outcome.attempt, outcome.verdict, outcome.answered) == (7, "direct", (FAR,))
    assert set(outcome.aims) == {NEAR, FAR}
    assert [c.port for c in outcome.observed] == list(range(1, SEEN_MAX + 1))
    unanswered = offerer()
    play(unanswered)
    assert unanswered.outcomes[-1].attempt == 7


def test_no_more_aims_are_kept_than_people_read() -> None:
    attempt = answerer(remote=tuple(Candidate("host", f"192.168.1.{n}", 4000) for n in range(3, 20)))
    play(attempt)
    assert len(attempt.outcomes[0].aims) == SEEN_MAX
    assert attempt.outcomes[0].observed == ()


# --- leave for a heavy technique ---


class Heavy:
    """Is an attempt against random ports that has come so far that birthday is next."""

    def __init__(self, *, ours: bool, anybody: bool = True, early: bool = False, nat: Nat = EASY) -> None:
        self.asked = 0
        self.anybody = anybody
        self.attempt = Attempt(7, 1, ours=ours, local=OURS, now=100.0, nat=nat, ask_leave=self._ask)
        if ours:
            play(self.attempt, 100.0)
            self.attempt.handle_answer(THEIRS, 100.2, RANDOM)
        else:
            self.attempt.handle_offer(THEIRS, 100.0, RANDOM)
            self.attempt.handle_fire(100.3)
        if early:
            self.attempt.handle_fire(100.4, heavy=True)
        self.at = 100.3 + 1.0
        play(self.attempt, self.at + 0.01)

    def _ask(self, hosts: tuple[str, ...]) -> bool:
        self.asked += 1
        self.hosts = hosts
        return self.anybody


def guesses(checks: list[tuple[float, Candidate]]) -> list[float]:
    return [at for at, aim in checks if aim not in THEIRS]


def test_the_offerer_asks_for_leave_before_a_heavy_technique_and_begins_half_a_round_trip_after_it() -> None:
    heavy = Heavy(ours=True)
    assert (heavy.attempt.state, heavy.asked) == (AttemptState.ASKING, 1)
    assert heavy.hosts == (THEIRS[0].host,), "the public addresses that are known"
    assert heavy.attempt.handle_leave(0.0, 102.0)
    _, checks = play(heavy.attempt)
    assert guesses(checks)[0] == pytest.approx(102.0 + 0.1 + 0.3)
    assert verdicts(heavy.attempt)[-1] == ("birthday", "no-reply")
    assert not heavy.attempt.handle_leave(0.0, 120.0)


def test_an_attempt_that_is_put_off_ends_and_says_until_when() -> None:
    heavy = Heavy(ours=True)
    assert not heavy.attempt.handle_leave(7.5, 102.0)
    assert heavy.attempt.state is AttemptState.ENDED
    assert (heavy.attempt.put_off_s, verdicts(heavy.attempt)[-1]) == (7.5, ("birthday", "put-off"))


@pytest.mark.parametrize(("anybody", "after_s"), [(True, LEAVE_WAIT_S), (False, 0.0)])
def test_without_leave_the_offerer_does_not_punch(anybody: bool, after_s: float) -> None:
    heavy = Heavy(ours=True, anybody=anybody)
    _, checks = play(heavy.attempt)
    assert guesses(checks) == []
    last = heavy.attempt.outcomes[-1]
    assert (last.technique, last.verdict, last.detail) == ("birthday", "not-applicable", "no supernode gave leave")
    assert last.ended == pytest.approx(heavy.at + after_s, abs=0.02)
    assert heavy.attempt.put_off_s == 0.0
    assert not heavy.attempt.handle_leave(0.0, 110.0)


def test_the_answerer_waits_for_the_offerers_word_and_asks_nobody() -> None:
    heavy = Heavy(ours=False)
    assert (heavy.attempt.state, heavy.asked) == (AttemptState.ASKING, 0)
    assert not heavy.attempt.handle_leave(0.0, 102.0)
    heavy.attempt.handle_fire(102.0)
    _, checks = play(heavy.attempt, 102.5)
    assert guesses(checks) == []
    heavy.attempt.handle_fire(102.5, heavy=True)
    heavy.attempt.handle_fire(102.6, heavy=True)
    _, checks = play(heavy.attempt)
    assert guesses(checks)[0] == pytest.approx(102.5 + 0.3)
    assert len(guesses(checks)) == len(set(guesses(checks))) == 2000


def test_a_word_that_comes_early_is_remembered_and_one_that_comes_late_is_in_vain() -> None:
    early = Heavy(ours=False, early=True)
    assert early.attempt.state is AttemptState.RUNNING
    late = Heavy(ours=False)
    play(late.attempt)
    late.attempt.handle_fire(120.0, heavy=True)
    _, checks = play(late.attempt)
    assert guesses(checks) == []
    last = late.attempt.outcomes[-1]
    assert (last.verdict, last.detail) == ("put-off", "the peer got no leave")
    assert last.ended == pytest.approx(late.at + HEAVY_FIRE_WAIT_S, abs=0.02)
    assert late.attempt.put_off_s > 0.0


def test_a_word_for_a_heavy_technique_that_does_not_apply_here_changes_nothing() -> None:
    attempt = answerer()
    attempt.handle_fire(100.0, heavy=True)
    assert attempt.state is AttemptState.ANSWERED
    attempt.handle_fire(100.1)
    _, checks = play(attempt)
    assert guesses(checks) == []
    assert verdicts(attempt)[-1] == ("birthday", "not-applicable")
    asking = Heavy(ours=True)
    asking.attempt.handle_fire(102.0, heavy=True)
    assert asking.attempt.state is AttemptState.ASKING


def test_a_path_that_is_confirmed_while_leave_is_asked_for_is_the_work_of_what_was_sent_before() -> None:
    heavy = Heavy(ours=True)
    (before,) = [outcome for outcome in heavy.attempt.outcomes if outcome.verdict == "no-reply"]
    assert (heavy.attempt.technique, heavy.attempt.maker) == ("birthday", "simultaneous-udp")
    heavy.attempt.handle_observed(Address("203.0.113.9", 1))
    heavy.attempt.handle_confirmed(101.9, FAR)
    assert heavy.attempt.state is AttemptState.ENDED
    assert [o for o in verdicts(heavy.attempt) if o[1] in ("direct", "no-reply")] == [("simultaneous-udp", "direct")]
    after = heavy.attempt.outcomes[-1]
    assert (after.packets, after.started, after.ended) == (before.packets, before.started, 101.9)
    assert (after.aims, after.answered) == (before.aims, (FAR,))
    assert after.observed == (Candidate("prflx", "203.0.113.9", 1),)


def test_a_path_that_is_confirmed_before_the_first_guess_is_the_work_of_what_was_sent_before() -> None:
    heavy = Heavy(ours=False, early=True)
    assert (heavy.attempt.technique, heavy.attempt.maker) == ("birthday", "simultaneous-udp")
    heavy.attempt.handle_confirmed(heavy.at + 0.1, FAR)
    assert [o for o in verdicts(heavy.attempt) if o[1] in ("direct", "no-reply")] == [("simultaneous-udp", "direct")]
    later = Heavy(ours=False, early=True)
    play(later.attempt, later.at + 0.5)
    assert later.attempt.maker == "birthday"
    later.attempt.handle_confirmed(later.at + 0.5, FAR)
    ran = [o for o in verdicts(later.attempt) if o[1] in ("direct", "no-reply")]
    assert ran == [("simultaneous-udp", "no-reply"), ("birthday", "direct")]


def test_an_answer_that_comes_just_after_the_end_is_the_work_of_what_was_sent_last() -> None:
    heavy = Heavy(ours=False, early=True)
    play(heavy.attempt)
    assert heavy.attempt.state is AttemptState.ENDED
    assert heavy.attempt.maker == "birthday"


# --- questions ---


def test_what_the_supernode_sees_becomes_one_word_to_the_peer_and_its_word_becomes_checks() -> None:
    counting = Nat("address-and-port-dependent", "address-and-port-dependent", "sequential", 2)
    attempt = Attempt(
        7,
        1,
        ours=False,
        local=OURS,
        now=100.0,
        nat=counting,
        open_sockets=lambda count: list(range(500, 500 + count)),
        server=Address("192.0.2.1", 1971),
    )
    attempt.handle_offer(THEIRS, 100.0, counting)
    attempt.handle_aim(Aim(7, 50_000, 2, 32), 100.1)
    attempt.handle_fire(100.2)
    play(attempt, 101.1)
    assert attempt.handle_seen(500, 1, 101.1) is None, "nothing has been asked yet"
    shots = [shot for tick in range(20) for shot in attempt.handle_timeout(101.2 + tick / 100)[1]]
    assert {(shot.socket, shot.is_question) for shot in shots} == {(500, True)}
    assert attempt.handle_seen(499, 40_000, 101.4) is None
    assert attempt.handle_seen(500, 40_000, 101.4) == Aim(7, 40_000, 2, 32)
    assert attempt.handle_seen(500, 40_000, 101.4) is None, "it is said once"
    _, checks = play(attempt, 101.45)
    assert {aim.port for _, aim in checks} >= {50_002, 50_004}
    before = len(checks)
    attempt.handle_aim(Aim(7, 20_000, 2, 32), 101.5)
    _, checks = play(attempt)
    assert before
    assert not [aim for _, aim in checks if 20_000 < aim.port < 20_100], "and taken once"
