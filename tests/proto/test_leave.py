import random

from tests.proto.alone import Desk

from ntvl.proto.context import Context
from ntvl.proto.leave import Leave
from ntvl.wire.control import PunchReply, PunchRequest

HOME, PEER = b"c" * 32, b"p" * 32
HOSTS = ("203.0.113.9", "198.51.100.7")


def build() -> tuple[Desk, Leave, list[tuple[float, float]]]:
    desk = Desk()
    context = Context(random.Random(1).randbytes, lambda: 0.0)
    return desk, Leave(context, lambda community: desk if community == HOME else None), []  # type: ignore[arg-type,return-value]


def test_a_question_names_community_and_peer_and_its_answer_comes_back_once() -> None:
    desk, leave, heard = build()
    assert leave.ask(HOME, PEER, HOSTS, lambda wait_s, now: heard.append((wait_s, now)))
    (asked,) = desk.said
    assert asked == PunchRequest(asked.request, HOME, PEER, hosts=HOSTS)
    for _ in range(2):
        leave.handle_reply(PunchReply(asked.request, 4.0), 101.0)
    assert heard == [(4.0, 101.0)]


def test_an_answer_to_no_question_is_ignored() -> None:
    desk, leave, heard = build()
    leave.ask(HOME, PEER, HOSTS, lambda wait_s, now: heard.append((wait_s, now)))
    leave.handle_reply(PunchReply(desk.said[0].request ^ 1, 0.0), 101.0)
    assert heard == []


def test_where_no_supernode_has_us_there_is_nobody_to_ask() -> None:
    desk, leave, _ = build()
    assert not leave.ask(PEER, PEER, HOSTS, lambda wait_s, now: None)
    leave.give_back(PEER, PEER)
    assert desk.said == []


def test_leave_is_given_back_once_to_whom_was_asked_though_others_would_be_now() -> None:
    desks = [Desk(), Desk()]
    chosen = list(desks)
    leave = Leave(Context(random.Random(1).randbytes, lambda: 0.0), lambda community: chosen[0])  # type: ignore[arg-type,return-value]
    leave.ask(HOME, PEER, HOSTS, lambda wait_s, now: None)
    chosen.reverse()
    for _ in range(2):
        leave.give_back(HOME, PEER)
    assert desks[0].said[1:] == [PunchRequest(0, HOME, PEER, done=True)]
    assert desks[1].said == []


def test_questions_that_nobody_answers_are_forgotten_beyond_a_bound() -> None:
    desk, leave, heard = build()
    for _ in range(300):
        leave.ask(HOME, PEER, HOSTS, lambda wait_s, now: heard.append((wait_s, now)))
    for asked in desk.said:
        leave.handle_reply(PunchReply(asked.request, 0.0), 101.0)
    assert len(heard) == 256


def test_a_node_punches_with_one_peer_at_a_time() -> None:
    _, leave, _ = build()
    ann, bob = object(), object()
    assert leave.begin(ann)
    assert leave.begin(ann)
    assert not leave.begin(bob)
    leave.end(bob)
    assert not leave.begin(bob)
    leave.end(ann)
    assert leave.begin(bob)
