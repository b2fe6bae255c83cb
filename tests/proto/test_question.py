"""Questions: when they are asked again, which answers count, and within which budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.proto.asked import chance

from ntvl.errors import REASONS, PeerError
from ntvl.proto.question import Questions, Topic
from ntvl.wire.address import Address, Origin, Transmit
from ntvl.wire.stun import (
    Change,
    StunClass,
    build_binding_error,
    build_binding_request,
    build_binding_response,
    parse_stun,
)

SERVER = Address("203.0.113.1", 3478)
ELSEWHERE = Address("203.0.113.1", 3479)
US = Address("198.51.100.9", 4000)
TOPIC = Topic("reach", SERVER)


def asked(budget_pkts: int = 60) -> Questions:
    questions = Questions(chance(), budget_pkts)
    questions.ask(TOPIC, SERVER, 0, 10.0, rto_s=0.3)
    return questions


def sent(questions: Questions) -> list[Transmit]:
    return list(iter(questions.poll_transmit, None))


def transaction(questions: Questions) -> bytes:
    [transmit] = sent(questions)
    return parse_stun(transmit.data).transaction


def refusal(questions: Questions, data: bytes, origin: Origin = Origin(SERVER)) -> str:  # noqa: B008
    with pytest.raises(PeerError) as caught:
        questions.handle_datagram(data, origin, 10.1)
    return caught.value.reason


def test_a_question_is_asked_three_times_ever_more_slowly_and_then_given_up() -> None:
    questions = asked()
    times, given_up = [10.0], []
    assert len(sent(questions)) == 1
    while (wakeup := questions.poll_timeout()) is not None:
        given_up += questions.handle_timeout(wakeup.at)
        times.append(wakeup.at)
        assert len(sent(questions)) == (0 if given_up else 1)
    assert times == pytest.approx([10.0, 10.3, 10.9, 12.1])
    assert given_up == [TOPIC]
    assert questions.open == frozenset()


def test_an_answer_closes_its_question_and_tells_the_round_trip_if_it_was_asked_once() -> None:
    questions = asked()
    data = build_binding_response(transaction(questions), US)
    answer = questions.handle_datagram(data, Origin(SERVER), 10.04)
    assert (answer.topic, answer.stun.address) == (TOPIC, US)
    assert answer.rtt_s == pytest.approx(0.04)
    assert questions.poll_timeout() is None
    assert refusal(questions, data) == "transaction"


def test_an_answer_after_a_repetition_has_no_round_trip() -> None:
    questions = asked()
    first = transaction(questions)
    questions.handle_timeout(10.3)
    assert transaction(questions) == first
    assert questions.handle_datagram(build_binding_response(first, US), Origin(SERVER), 10.4).rtt_s is None


def test_what_is_no_answer_leaves_the_question_open() -> None:
    questions = asked()
    ours = transaction(questions)
    good = build_binding_response(ours, US)
    assert refusal(questions, build_binding_response(bytes(12), US)) == "transaction"
    assert refusal(questions, good, Origin(ELSEWHERE)) == "transaction"
    assert refusal(questions, good, Origin(SERVER, 1)) == "transaction"
    assert refusal(questions, build_binding_request(ours)) == "type"
    assert refusal(questions, b"\x00\x11" + good[2:]) == "type"
    assert refusal(questions, good[:2] + bytes(2) + good[4:20]) == "no-address"
    unknown = good[:2] + (len(good) - 16).to_bytes(2) + good[4:] + b"\x7f\xff\x00\x00"
    assert refusal(questions, unknown) == "format"
    assert refusal(questions, b"") == "short"
    assert questions.open == {"reach"}
    questions.handle_datagram(good, Origin(SERVER), 10.1)


def test_an_error_is_an_answer() -> None:
    questions = asked()
    data = build_binding_error(transaction(questions), 420, "no", unknown=(3,))
    assert questions.handle_datagram(data, Origin(SERVER), 10.1).stun.cls == StunClass.ERROR


def test_an_answer_may_come_from_anywhere_if_it_was_asked_to() -> None:
    questions = Questions(chance(), 60)
    questions.ask(TOPIC, SERVER, 1, 10.0, rto_s=0.3, change=Change.PORT, response_port=77, expected="anywhere")
    [transmit] = sent(questions)
    stun = parse_stun(transmit.data)
    assert (transmit.address, transmit.socket, stun.change, stun.response_port) == (SERVER, 1, Change.PORT, 77)
    assert refusal(questions, transmit.data, Origin(ELSEWHERE, 5)) == "type"
    answer = questions.handle_datagram(build_binding_response(stun.transaction, US), Origin(ELSEWHERE, 5), 10.1)
    assert answer.origin == Origin(ELSEWHERE, 5)


def test_a_question_that_shall_come_back_is_known_and_an_answer_to_it_is_not() -> None:
    questions = Questions(chance(), 60)
    questions.ask(TOPIC, US, 1, 10.0, rto_s=0.3, expected="itself")
    [transmit] = sent(questions)
    ours = parse_stun(transmit.data).transaction
    assert refusal(questions, build_binding_response(ours, US), Origin(US)) == "type"
    assert refusal(questions, build_binding_request(ours, change=Change.PORT), Origin(US)) == "type"
    assert questions.handle_datagram(transmit.data, Origin(US, 2), 10.1).stun.cls == StunClass.REQUEST


def test_nothing_is_sent_beyond_the_budget() -> None:
    questions = asked(budget_pkts=2)
    given_up = []
    while (wakeup := questions.poll_timeout()) is not None:
        given_up += questions.handle_timeout(wakeup.at)
    assert (len(sent(questions)), questions.sent_pkts, questions.is_exhausted) == (2, 2, True)
    assert given_up == [TOPIC]


def test_a_topic_is_asked_once_and_may_be_put_off() -> None:
    questions = Questions(chance(), 60)
    for _ in range(2):
        questions.ask(TOPIC, SERVER, 0, 10.0, rto_s=0.3, delay_s=0.5)
    assert sent(questions) == []
    assert questions.poll_timeout() is not None
    questions.handle_timeout(10.5)
    assert len(sent(questions)) == 1


@given(st.binary(max_size=200), st.integers(0, 5))
def test_any_bytes_are_an_answer_or_have_a_reason(data: bytes, socket: int) -> None:
    questions = asked()
    ours = transaction(questions)
    for crafted in (data, data[:8] + ours + data[20:]):
        try:
            questions.handle_datagram(crafted, Origin(SERVER, socket), 10.1)
        except PeerError as error:
            assert error.reason in REASONS
