import random

import pytest
from tests.proto.peering import SUPERNODE, Net, Side, joined, lose_direct, lose_nothing

from ntvl.dataplane.interface import Target
from ntvl.errors import PeerError
from ntvl.proto.events import WhyReply
from ntvl.proto.inquiry import ANSWERS_BURST, QUESTIONS_MAX, RECORDS_MAX
from ntvl.proto.technique import SEEN_MAX, Outcome
from ntvl.wire.address import Address, Origin, Relay
from ntvl.wire.control import (
    MESSAGE_BYTES_MAX,
    Candidate,
    Nat,
    Records,
    RecordsRequest,
    Unsupported,
    build_message,
)

BY_RELAY = Origin(SUPERNODE, 0, Relay(71, 72))


def ask(net: Net, side: Side, number: int = 5) -> list[WhyReply]:
    """Asks, waits a second, and returns the replies to this question."""
    assert side.peer.pathfinder.inquiry.ask(number)
    net.run(1.0)
    return [reply for reply in side.said(WhyReply) if isinstance(reply, WhyReply) and reply.id == number]


def relayed() -> Net:
    """Returns two sides with a session whose checks do not arrive, 25 s after the first packet."""
    net = Net(3)
    net.lost = lose_direct
    net.left.peer.handle_wanted(net.now)
    for _ in range(25):
        net.exchange()
        net.run(1.0)
    return net


def test_the_peer_tells_how_it_reaches_us_and_what_came_of_each_technique() -> None:
    net = joined()
    net.run(4.0)
    (reply,) = ask(net, net.left)
    records = reply.records
    assert records is not None
    assert (records.id, records.path, records.technique, records.state) == (5, "direct", "simultaneous-udp", "idle")
    (record,) = records.records
    assert (record.technique, record.verdict) == ("simultaneous-udp", "direct")
    assert 4.0 < record.age_s < 6.0
    assert [(c.host, c.port) for c in record.answered] == [net.left.address]
    assert {(c.host, c.port) for c in record.aims} == {net.left.address}
    assert [(c.kind, c.host, c.port) for c in record.observed] == [("prflx", *net.left.address)]
    mine = net.left.peer.pathfinder.inquiry.report(0, net.now).records
    assert [r.attempt for r in mine] == [record.attempt], "both ends know the attempt by one number"


def test_what_fails_is_told_with_the_wait_for_the_next() -> None:
    net = relayed()
    (reply,) = ask(net, net.right)
    records = reply.records
    assert records is not None
    assert (records.path, records.technique, records.state) == ("relay", "relay", "waiting")
    assert 0.0 < records.retry_s <= 35.0
    assert {record.verdict for record in records.records} == {"no-reply", "not-applicable"}
    assert all(len(record.aims) <= SEEN_MAX and not record.observed for record in records.records)
    assert {record.detail for record in records.records if record.verdict == "not-applicable"} == {
        "one side does not know its NAT yet",
        "UDP is not known to be dropped",
    }


def test_the_states_of_an_end() -> None:
    net = Net(3)
    inquiry = net.left.peer.pathfinder.inquiry
    assert inquiry.report(0, net.now).state == "idle"
    assert not inquiry.ask(1), "there is no session to ask by"
    net.lost = lose_direct
    net.left.peer.handle_wanted(net.now)
    net.run(1.0)
    assert inquiry.report(0, net.now).state == "trying"
    net.run(9.0)
    assert inquiry.report(0, net.now).state in ("waiting", "trying")
    net.run(400.0)
    assert inquiry.report(0, net.now).state == "idle", "nobody uses the peer"
    net.left.peer.pathfinder.inquiry._node.direct = False
    assert inquiry.report(0, net.now).state == "off"


@pytest.mark.parametrize(("known", "word"), [(None, ""), (True, "yes"), (False, "no")])
def test_whether_udp_gets_out_is_told_where_it_is_known(known: bool | None, word: str) -> None:
    net = joined()
    net.right.peer.pathfinder.inquiry._node.udp = known
    (reply,) = ask(net, net.left)
    assert reply.records is not None
    assert reply.records.udp == word


def test_as_many_records_and_candidates_are_told_as_a_message_holds_the_newest_and_public_first() -> None:
    net = joined()
    pathfinder = net.left.peer.pathfinder
    long = tuple(Candidate("host", f"2001:db8:1111:2222:3333:4444:5555:{n:x}", 40000) for n in range(0x1000, 0x1020))
    pathfinder.negotiation.outcomes[:] = [
        Outcome(f"technique-{n}" * 9, 1.0, 2.0, 5, "no-reply", "w" * 300, n << 40 | n, long[:4], long[:1], long[:4])
        for n in range(40)
    ]
    pathfinder.inquiry._node.candidates = lambda: (*long, Candidate("srflx", "203.0.113.9", 9))
    told = pathfinder.inquiry.report(1, 100.0)
    assert len(build_message(told)) <= MESSAGE_BYTES_MAX
    assert told.candidates[0].kind == "srflx"
    assert 0 < len(told.records) < RECORDS_MAX
    assert told.records[-1].attempt == 39


def test_an_older_peer_says_unsupported_and_every_question_is_answered_by_that() -> None:
    net = joined()
    net.right.peer.pathfinder.inquiry.handle_message = (  # type: ignore[method-assign]
        lambda message, origin, now: net.right.peer._send(Unsupported(27)) and None
    )
    inquiry = net.left.peer.pathfinder.inquiry
    assert inquiry.ask(4)
    (reply,) = ask(net, net.left)
    assert (reply.records, reply.silence) == (None, "unsupported")
    assert [r.id for r in net.left.said(WhyReply)] == [4, 5]  # type: ignore[union-attr]
    inquiry.handle_message(Unsupported(99), BY_RELAY, net.now)
    assert len(net.left.said(WhyReply)) == 2


def test_questions_are_answered_by_the_way_that_they_came_and_not_without_end() -> None:
    net = joined()
    inquiry = net.right.peer.pathfinder.inquiry
    sent: list[Target | None] = []
    inquiry._witness.send = lambda message, target: bool(sent.append(target)) or True  # type: ignore[method-assign]
    with pytest.raises(PeerError) as caught:
        for _ in range(20):
            inquiry.handle_message(RecordsRequest(1), BY_RELAY, net.now)
    assert caught.value.reason == "rate"
    assert sent == [Target(*SUPERNODE, 0, (72, 71))] * int(ANSWERS_BURST)
    inquiry.handle_message(RecordsRequest(1), BY_RELAY, net.now + 1.0)
    assert len(sent) == ANSWERS_BURST + 1


def test_records_that_nobody_asked_for_are_counted_and_change_nothing() -> None:
    net = joined()
    hostile = Records(6, "p" * 32, "\x1b[2J", "off", 1e11, "no", Nat("x" * 32), (Candidate("\n", "::", 1),) * 8)
    net.right.peer._send(hostile)
    net.run(0.5)
    assert net.left.context.drops["transaction"] == 1
    assert net.left.said(WhyReply) == []
    assert net.left.path == "direct"


def test_a_nat_is_told_unasked_to_a_peer_in_use_and_taken_for_nothing_but_the_status() -> None:
    net = joined()
    net.exchange()
    net.right.peer.pathfinder.inquiry._node.nat = Nat("address-dependent", "", "sequential")
    net.right.peer.pathfinder.inquiry.handle_nat(net.now)
    net.run(0.5)
    assert net.left.peer.pathfinder.negotiation.remote_nat.mapping == "address-dependent"
    assert net.left.said(WhyReply) == []
    sent = net.sent()
    net.right.peer.pathfinder.inquiry.handle_nat(net.now + 1000.0)
    net.flush()
    assert net.sent() == sent, "nobody uses the peer"


def test_the_oldest_of_too_many_questions_is_forgotten() -> None:
    net = joined()
    net.lost = lambda data, relayed, sender, to: True
    inquiry = net.left.peer.pathfinder.inquiry
    for number in range(1, QUESTIONS_MAX + 2):
        assert inquiry.ask(number)
    for number, known in ((1, False), (2, True), (QUESTIONS_MAX + 1, True)):
        if known:
            inquiry.handle_message(Records(number), BY_RELAY, net.now)
        else:
            with pytest.raises(PeerError):
                inquiry.handle_message(Records(number), BY_RELAY, net.now)


def test_an_answer_that_is_lost_costs_nothing_but_the_answer() -> None:
    net = joined()
    net.lost = lambda data, relayed, sender, to: sender is net.right
    assert ask(net, net.left) == []
    net.lost = lose_nothing
    assert len(ask(net, net.left, 6)) == 1


def test_a_peer_whose_check_comes_from_a_new_address_made_that_path_itself() -> None:
    net = joined()
    net.run(10.0)
    net.right.seen_as = Address("203.0.113.77", random.Random(1).randrange(1024, 65536))
    for _ in range(20):
        net.exchange()
        net.run(0.5)
    selected = net.left.peer.pathfinder.paths.selected
    assert selected is not None
    assert selected.technique == "peer-reflexive"
