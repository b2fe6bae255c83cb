"""A TURN client on virtual time against a server that follows a script, and against one that means harm."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.proto.turn_server import MAPPED, RELAYED, SERVER, TurnServer

from ntvl.errors import REASONS
from ntvl.proto.turn import IN_FLIGHT_MAX
from ntvl.proto.turn_events import Allocated, Closed, Data, Refused, TurnFailed, TurnState
from ntvl.wire.address import Address
from ntvl.wire.attribute import StunClass, build_layout
from ntvl.wire.turn import Turn, TurnMethod

PEER = Address("192.0.2.7", 7000)
OTHER = Address("192.0.2.8", 8000)
WRONG_PASSWORD = "the server does not know this user name with this password"


def allocated(**options: bool) -> TurnServer:
    server = TurnServer(**options)
    server.start()
    assert server.events == [Allocated(RELAYED, MAPPED, 600.0)]
    server.events.clear()
    return server


# --- allocating ---


@pytest.mark.parametrize("sha256", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_an_allocation_takes_a_question_a_challenge_and_an_answer(stream: bool, sha256: bool) -> None:
    server = allocated(stream=stream, sha256=sha256)
    first, second = server.requests
    assert (first.username, first.nonce, first.transport) == (None, None, 17)
    assert (second.nonce, second.lifetime) == (server.nonce, 600)
    assert (second.username, second.userhash is None) == ((None, False) if sha256 else ("user", True))
    assert (server.client.state, server.client.relayed) == (TurnState.ALLOCATED, RELAYED)


def test_a_server_that_asks_for_no_password_is_taken_at_its_word() -> None:
    server = TurnServer()
    server.answer = lambda turn: server.success(turn, key=None)  # type: ignore[method-assign]
    server.start()
    assert server.events == [Allocated(RELAYED, MAPPED, 600.0)]


def test_a_wrong_password_is_told_in_words_and_tried_once() -> None:
    server = TurnServer()
    server.answer = lambda turn: server.challenge(turn, 401)  # type: ignore[method-assign]
    server.start()
    server.run(1000.0)
    assert server.events == [TurnFailed(WRONG_PASSWORD, True)]
    assert server.count(TurnMethod.ALLOCATE) == 2
    assert server.client.poll_timeout() is None


def test_a_realm_that_changes_for_ever_is_not_followed_for_ever() -> None:
    server = TurnServer()
    realms = iter(range(1000))
    server.answer = lambda turn: server.error(  # type: ignore[method-assign]
        turn, 401, (0x0014, b"realm %d" % next(realms)), (0x0015, b"nonce"), key=None
    )
    server.start()
    server.run(1000.0)
    assert server.count(TurnMethod.ALLOCATE) == 3
    assert isinstance(server.events[0], TurnFailed)


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_does_not_answer_is_given_up_after_39_5_s(stream: bool) -> None:
    server = TurnServer(stream=stream)
    server.deaf = True
    server.start()
    server.run(139.0)
    assert server.events == []
    server.run(140.0)
    assert server.events == [TurnFailed("the server does not answer", False)]
    assert server.count(TurnMethod.ALLOCATE) == (1 if stream else 7)


@pytest.mark.parametrize(
    ("code", "lasting"), [(400, False), (403, True), (437, False), (441, True), (442, True), (486, False), (508, False)]
)
def test_a_refusal_is_told_in_words(code: int, lasting: bool) -> None:
    server = TurnServer()
    server.refuse = lambda turn: code
    server.start()
    (event,) = server.events
    assert isinstance(event, TurnFailed)
    assert event.lasting is lasting
    assert event.reason.startswith("the ")


@pytest.mark.parametrize("lifetime", [0, 2**32 - 1])
def test_a_lifetime_that_cannot_be_is_not_believed(lifetime: int) -> None:
    server = TurnServer()
    server.lifetime = lifetime
    server.start()
    (event,) = server.events
    if lifetime:
        assert event == Allocated(RELAYED, MAPPED, 3600.0)
    else:
        assert event == TurnFailed("the server named no address that can be used", False)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "169.254.1.1", "2001:db8::1"])
def test_an_address_that_nobody_may_be_sent_to_is_none(host: str) -> None:
    server = TurnServer()
    server.relayed = Address(host, 50000)
    server.start()
    assert server.events == [TurnFailed("the server named no address that can be used", False)]


def test_a_private_address_is_good_enough_where_the_server_is_near() -> None:
    server = TurnServer()
    server.relayed = Address("10.1.2.3", 50000)
    server.start()
    assert server.events == [Allocated(server.relayed, MAPPED, 600.0)]


# --- nonces ---


def test_a_stale_nonce_is_replaced_once_and_the_request_repeated() -> None:
    server = allocated()
    server.nonce = b"two"
    server.client.send(PEER, b"hello", server.now)
    server.pump()
    assert server.count(TurnMethod.CREATE_PERMISSION) == 2
    assert server.data == [(PEER, b"hello")]


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_calls_every_nonce_stale_gets_no_loop(stream: bool) -> None:
    server = TurnServer(stream=stream)
    server.refuse = lambda turn: 438
    server.answer = lambda turn: server.challenge(turn, 401 if turn.nonce is None else 438)  # type: ignore[method-assign]
    server.start()
    server.run(10_000.0)
    assert server.count(TurnMethod.ALLOCATE) == 3
    assert server.events == [TurnFailed("the server calls every nonce stale, or every answer to it wrong", True)]


def test_an_endless_438_later_costs_two_requests_a_minute_and_no_more() -> None:
    server = allocated()
    server.answer = lambda turn: server.challenge(turn, 438)  # type: ignore[method-assign]
    for _ in range(100):
        server.client.send(PEER, b"hello", server.now)
        server.pump()
    assert server.count(TurnMethod.CREATE_PERMISSION) == 2
    assert server.events == [Refused(PEER.host, "the server calls every nonce stale, or every answer to it wrong")]
    assert server.client.drops["no-path"] == 99


# --- lasting ---


def test_an_allocation_is_renewed_between_half_and_four_fifths_of_its_life() -> None:
    server = allocated()
    began = server.now
    times = []
    server.refuse = lambda turn: times.append(server.now) if turn.method == TurnMethod.REFRESH else None  # type: ignore[func-returns-value]
    server.run(began + 7200.0)
    assert server.client.state is TurnState.ALLOCATED
    gaps = [later - earlier for earlier, later in zip([began, *times], times, strict=False)]
    assert len(gaps) >= 15
    assert all(300.0 <= gap <= 480.0 for gap in gaps)


def test_a_server_that_forgot_the_allocation_is_believed_once_it_proves_itself() -> None:
    server = allocated()
    server.refuse = lambda turn: 437
    server.run(1000.0)
    assert server.events == [TurnFailed("the server does not know the allocation any more", False)]
    assert server.client.relayed is None


def test_an_error_without_integrity_does_not_end_an_allocation() -> None:
    server = allocated()
    server.answer = lambda turn: server.error(turn, 437, key=None)  # type: ignore[method-assign]
    server.client.send(PEER, b"hello", server.now)
    server.pump()
    assert server.client.state is TurnState.ALLOCATED
    assert server.client.drops["integrity"] == 1


def test_a_server_that_falls_silent_is_given_up() -> None:
    server = allocated()
    server.deaf = True
    server.run(2000.0)
    (event,) = server.events
    assert isinstance(event, TurnFailed)


def test_a_short_life_that_is_not_renewed_ends_on_time() -> None:
    server = TurnServer()
    server.lifetime = 20
    server.start()
    server.deaf = True
    began = server.now
    server.run(began + 19.0)
    assert server.client.state is TurnState.ALLOCATED
    server.run(began + 21.0)
    assert server.events[-1] == TurnFailed("the allocation ended before the server renewed it", False)


def test_silence_towards_the_server_never_lasts_longer_than_a_nat_remembers() -> None:
    server = allocated()
    server.run(server.now + 100.0)
    assert [turn.method for turn in server.indications] == [TurnMethod.BINDING] * 5


# --- data ---


@pytest.mark.parametrize("stream", [False, True])
def test_data_waits_for_its_permission_and_goes_by_channel_after_a_few(stream: bool) -> None:
    server = allocated(stream=stream)
    for number in range(6):
        server.client.send(PEER, b"%d" % number, server.now)
        server.pump()
    assert server.data == [(PEER, b"0"), (PEER, b"1"), (PEER, b"2"), (PEER, b"3"), (0x4000, b"4"), (0x4000, b"5")]
    assert server.count(TurnMethod.CREATE_PERMISSION) == server.count(TurnMethod.CHANNEL_BIND) == 1
    server.deliver(server.indicate(PEER, b"by indication"))
    server.deliver(server.channel_data(0x4000, b"by channel"))
    assert server.events == [Data(PEER, b"by indication"), Data(PEER, b"by channel")]
    assert not server.client.drops


def test_permissions_and_channels_of_peers_with_traffic_are_renewed_in_time() -> None:
    server = allocated()
    asked: dict[int, list[float]] = {TurnMethod.CREATE_PERMISSION: [], TurnMethod.CHANNEL_BIND: []}
    server.refuse = lambda turn: asked.setdefault(turn.method, []).append(server.now)  # type: ignore[func-returns-value]
    began = server.now
    for second in range(0, 3600, 20):
        server.run(began + second)
        server.client.send(PEER, b"x", server.now)
        server.pump()
    assert not server.client.drops
    for method, longest in ((TurnMethod.CREATE_PERMISSION, 300.0), (TurnMethod.CHANNEL_BIND, 600.0)):
        times = asked[method]
        assert len(times) >= 3600 / longest - 1
        assert all(later - earlier < longest - 39.5 for earlier, later in pairwise(times))


def test_an_idle_peer_is_let_go_and_a_new_word_asks_again() -> None:
    server = allocated()
    server.client.send(PEER, b"x", server.now)
    server.pump()
    server.run(server.now + 2000.0)
    assert server.count(TurnMethod.CREATE_PERMISSION) == 2
    server.deliver(server.indicate(PEER, b"late"))
    assert server.client.drops == {"no-permission": 1}
    server.client.send(PEER, b"y", server.now)
    server.pump()
    assert server.data[-1] == (PEER, b"y")


def test_a_peer_that_the_server_refuses_is_named_and_asked_for_again_later() -> None:
    server = allocated()
    server.refuse = lambda turn: 403
    for _ in range(5):
        server.client.send(PEER, b"x", server.now)
        server.pump()
    assert server.events == [Refused(PEER.host, "the server forbids it")]
    assert server.count(TurnMethod.CREATE_PERMISSION) == 1
    server.refuse = lambda turn: None
    server.run(server.now + 61.0)
    server.client.send(PEER, b"y", server.now)
    server.pump()
    assert server.data == [(PEER, b"y")]


def test_a_server_without_channels_still_carries_data() -> None:
    server = allocated()
    server.refuse = lambda turn: 508 if turn.method == TurnMethod.CHANNEL_BIND else None
    for _ in range(50):
        server.client.send(PEER, b"x", server.now)
        server.pump()
    assert server.data == [(PEER, b"x")] * 50
    assert server.count(TurnMethod.CHANNEL_BIND) == 1


def test_what_cannot_be_sent_is_counted() -> None:
    server = TurnServer()
    server.client.send(PEER, b"too early", server.now)
    server.start()
    server.client.send(Address("2001:db8::1", 1), b"another family", server.now)
    server.client.send(PEER, bytes(1433), server.now)
    assert server.client.drops == {"no-path": 2, "oversized": 1}


def test_requests_in_flight_and_what_waits_for_them_are_bounded() -> None:
    server = allocated()
    server.deaf = True
    for number in range(1000):
        for _ in range(3):
            server.client.send(Address(f"10.0.{number // 250}.{number % 250}", 1), bytes(1000), server.now)
    sent = 0
    while server.client.poll_transmit() is not None:
        sent += 1
    assert sent == IN_FLIGHT_MAX
    assert server.client.drops["queue-full"] > 0


# --- closing ---


def test_closing_gives_the_allocation_back() -> None:
    server = allocated()
    server.nonce = b"two"
    server.client.close(server.now)
    server.pump()
    assert [turn.lifetime for turn in server.requests if turn.method == TurnMethod.REFRESH] == [0, 0]
    assert server.events == [Closed()]
    assert (server.client.state, server.client.poll_timeout()) == (TurnState.CLOSED, None)
    server.client.close(server.now)
    server.client.send(PEER, b"x", server.now)
    assert server.client.poll_event() is None


def test_a_server_that_does_not_answer_is_left_all_the_same() -> None:
    server = allocated()
    server.deaf = True
    server.client.close(server.now)
    server.run(server.now + 40.0)
    assert server.events == [Closed()]


def test_an_allocation_that_comes_while_closing_is_given_back() -> None:
    server = TurnServer()
    held: list[Turn] = []
    server.answer = lambda turn: server.challenge(turn, 401) if turn.nonce is None else (held.append(turn), b"")[1]  # type: ignore[method-assign,func-returns-value]
    server.start()
    server.client.close(server.now)
    del server.answer  # type: ignore[method-assign]
    server.deliver(server.success(held[0]))
    assert server.requests[-1].lifetime == 0
    assert server.events == [Closed()]


def test_closing_before_anything_began_needs_no_server() -> None:
    server = TurnServer()
    server.client.close(server.now)
    assert server.client.poll_event() == Closed()


# --- harm ---


@pytest.mark.parametrize("key", [None, b"another"], ids=["none", "wrong"])
def test_an_answer_without_the_right_integrity_is_waited_past_over_udp_and_the_end_over_a_stream(
    key: bytes | None,
) -> None:
    for stream in (False, True):
        server = TurnServer(stream=stream)
        held: list[Turn] = []
        server.answer = lambda turn, held=held, server=server: (  # type: ignore[method-assign]
            server.challenge(turn, 401) if turn.nonce is None else (held.append(turn), server.success(turn, key=key))[1]
        )
        server.start()
        assert server.client.drops["integrity"] == 1
        if stream:
            assert server.events == [TurnFailed("the server's answer is not protected by the password", False)]
        else:
            assert server.events == []
            server.deliver(server.success(held[0]))
            assert server.events == [Allocated(RELAYED, MAPPED, 600.0)]


def test_the_older_integrity_is_not_enough_where_the_newer_was_agreed() -> None:
    server = TurnServer(sha256=True)

    def weaken(turn: Turn) -> bytes:
        if turn.nonce is None:
            return server.challenge(turn, 401)
        server.sha256 = False
        return server.success(turn)

    server.answer = weaken  # type: ignore[method-assign]
    server.start()
    assert server.events == []
    assert server.client.drops["integrity"] == 1


def test_answers_to_nothing_are_counted() -> None:
    server = allocated()
    asked = server.requests[-1]
    server.deliver(server.success(asked))
    server.deliver(server.success(asked, transaction=bytes(12)))
    server.deliver(server.challenge(asked, 438))
    assert server.client.drops == {"transaction": 3}
    assert server.events == []


def test_data_by_channels_and_from_peers_that_we_did_not_ask_for_is_dropped() -> None:
    server = allocated()
    server.client.send(PEER, b"x", server.now)
    server.pump()
    server.deliver(server.channel_data(0x4000, b"unbound"))
    server.deliver(server.channel_data(0x4FFF, b"unbound"))
    server.deliver(server.indicate(OTHER, b"stranger"))
    server.deliver(b"\x40\x00\xff\xffgiant")
    server.deliver(build_layout(StunClass.INDICATION, TurnMethod.DATA, bytes(12), []))
    server.deliver(build_layout(StunClass.REQUEST, TurnMethod.BINDING, bytes(12), []))
    assert server.client.drops == {"unknown-channel": 2, "no-permission": 1, "format": 2, "type": 1}
    assert server.events == []


def test_a_peer_that_sends_without_end_fills_no_memory() -> None:
    server = allocated()
    server.client.send(PEER, b"x", server.now)
    server.pump()
    flood = server.indicate(PEER, bytes(1000))
    for _ in range(3000):
        server.client.handle_datagram(flood, server.now)
    assert server.client.drops["queue-full"] == 3000 - 1024


@given(st.lists(st.tuples(st.sampled_from(["raw", "answer", "channel", "time"]), st.binary(max_size=60)), max_size=30))
def test_any_bytes_at_any_time_are_survived(steps: list[tuple[str, bytes]]) -> None:
    server = TurnServer()
    server.deaf = True
    server.start()
    for kind, data in steps:
        match kind:
            case "raw":
                server.deliver(data)
            case "channel":
                server.deliver(b"\x40\x00" + data)
            case "answer":
                turn = server.requests[-1]
                body = data[: len(data) // 4 * 4]
                type_ = 0x0113 if len(data) % 2 else 0x0103
                head = type_.to_bytes(2) + len(body).to_bytes(2) + bytes.fromhex("2112a442") + turn.transaction
                server.deliver(head + body)
            case _:
                server.run(server.now + len(data))
    assert set(server.client.drops) <= set(REASONS)
    assert server.client.server == SERVER


def test_who_is_permitted_gets_in_without_a_word_of_ours() -> None:
    server = allocated()
    server.client.permit(PEER.host, server.now)
    server.client.permit("2001:db8::1", server.now)
    server.pump()
    assert server.count(TurnMethod.CREATE_PERMISSION) == 1
    server.deliver(server.indicate(PEER._replace(port=9), b"first"))
    server.deliver(server.indicate(OTHER, b"stranger"))
    assert server.events == [Data(PEER._replace(port=9), b"first")]
    server.client.permit(PEER.host, server.now)
    server.pump()
    assert server.count(TurnMethod.CREATE_PERMISSION) == 1


# --- a server that may know us no more ---


def test_an_allocation_that_the_server_still_knows_is_renewed_where_that_is_doubted() -> None:
    server = allocated()
    server.run(200.0)
    server.client.verify(server.now)
    server.pump()
    assert (server.count(TurnMethod.REFRESH), server.events) == (1, [])
    server.run(100.0 + 600.0 + 50.0)
    assert server.client.relayed == RELAYED


def test_one_that_it_does_not_know_is_lost_at_once_though_a_new_nonce_is_asked_for_first() -> None:
    server = allocated()
    server.refuse = lambda turn: 437 if turn.method == TurnMethod.REFRESH and turn.nonce == b"other" else None
    server.nonce = b"other"  # as where the server sees us at another address
    server.client.verify(server.now)
    server.pump()
    assert server.events == [TurnFailed("the server does not know the allocation any more", False)]
    server.client.verify(server.now)
    assert server.client.poll_transmit() is None
