from ntvl.proto.keepalives import ANSWER_WAIT_S, INTERVAL_S, Keepalives


def test_an_answer_tells_the_round_trip_and_puts_the_next_question_off() -> None:
    keepalives = Keepalives()
    keepalives.note_asked(1, 100.0)
    assert (keepalives.is_waiting, keepalives.at) == (True, 100.0 + ANSWER_WAIT_S[0])
    assert keepalives.note_answer(2, 100.1) is None
    assert keepalives.note_answer(1, 100.5) == 0.5
    assert (keepalives.is_waiting, keepalives.at) == (False, 100.5 + INTERVAL_S)


def test_asking_again_puts_off_no_judgement() -> None:
    keepalives = Keepalives()
    keepalives.note_asked(1, 100.0)
    keepalives.note_asked(2, 100.9)
    assert keepalives.at == 101.0
    assert keepalives.note_answer(2, 100.95) is not None


def test_after_the_last_wait_there_is_no_more_asking() -> None:
    keepalives = Keepalives()
    now = 0.0
    for wait_s in ANSWER_WAIT_S:
        keepalives.note_asked(int(now) + 1, now)
        assert keepalives.at == now + wait_s or keepalives.is_waiting
        now += wait_s
        again = keepalives.give_up()
    assert not again
    keepalives.forget()
    keepalives.note_asked(9, now)
    assert keepalives.give_up()


def test_the_interval_is_held_to_what_makes_sense() -> None:
    keepalives = Keepalives()
    for wanted_s, taken_s in ((0.0, 5.0), (30.0, 30.0), (float("inf"), 120.0)):
        keepalives.set_interval(wanted_s)
        keepalives.note_asked(1, 0.0)
        keepalives.note_answer(1, 0.0)
        assert keepalives.at == taken_s


def test_many_questions_without_an_answer_are_not_all_kept() -> None:
    keepalives = Keepalives()
    for request in range(100):
        keepalives.note_asked(request + 1, 0.0)
    assert keepalives.note_answer(1, 1.0) is None
    assert keepalives.note_answer(100, 1.0) == 1.0
