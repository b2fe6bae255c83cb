import random

import pytest

from ntvl.errors import PeerError
from ntvl.identity.url import SupernodeUrl
from ntvl.proto.key_question import KEY_WAIT_S, KeyQuestion
from ntvl.wire.service import build_key_reply, parse_key_request

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


def ask() -> KeyQuestion:
    return KeyQuestion(SupernodeUrl("sn.example.org", 1971, None), random.Random(1).randbytes)


def test_the_same_question_is_asked_until_it_is_answered() -> None:
    question = ask()
    nonce = parse_key_request(question.build())
    assert parse_key_request(question.build()) == nonce
    assert question.expects(build_key_reply(nonce, KEY))
    assert question.take(build_key_reply(nonce, KEY)) == KEY
    question.settle()
    assert not question.expects(build_key_reply(nonce, KEY))
    assert parse_key_request(question.build()) != nonce


def test_an_answer_to_no_question_is_refused() -> None:
    question = ask()
    with pytest.raises(PeerError, match="transaction"):
        question.take(build_key_reply(bytes(8), KEY))
    question.build()
    with pytest.raises(PeerError, match="transaction"):
        question.take(build_key_reply(bytes(8), KEY))


def test_questions_come_at_a_falling_rate() -> None:
    question = ask()
    waits = []
    for _ in range(len(KEY_WAIT_S) + 1):
        question.note_asked(100.0)
        assert question.at is not None
        waits.append(question.at - 100.0)
    assert waits == [*KEY_WAIT_S, KEY_WAIT_S[-1]]
    question.settle()
    assert question.at is None


def test_a_wrong_key_is_told_once() -> None:
    question = ask()
    notice = question.warn(OTHER, KEY)
    assert notice is not None
    assert "impostor" in notice.text
    assert question.warn(OTHER, KEY) is None
