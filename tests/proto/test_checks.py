import hmac
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.dataplane.interface import Target
from ntvl.errors import REASONS, PeerError
from ntvl.proto.checks import HANDLE_BYTES, Checks
from ntvl.proto.path import Path
from ntvl.wire.address import Address, Origin
from ntvl.wire.stun import (
    StunClass,
    build_binding_error,
    build_binding_request,
    build_binding_response,
    parse_stun,
    verify_integrity,
)

ANN, BOB = Address("198.51.100.1", 4001), Address("198.51.100.2", 4002)
ANNS_PASSWORD, BOBS_PASSWORD = "a" * 24, "b" * 24


def pair() -> tuple[Checks, Checks]:
    """Returns Ann's side, which controls, and Bob's."""
    chance = random.Random(1).randbytes
    ann = Checks(7, controlling=True, ufrag="anns", password=ANNS_PASSWORD, tie_breaker=1, random=chance)
    bob = Checks(9, controlling=False, ufrag="bobs", password=BOBS_PASSWORD, tie_breaker=2, random=chance)
    ann.remote_ufrag, ann.remote_password = bob.ufrag, bob.password
    bob.remote_ufrag, bob.remote_password = ann.ufrag, ann.password
    return ann, bob


def path_to(address: Address, socket: int = 0) -> Path:
    return Path(Target(address.host, address.port, socket), "host", None)


def answered(bob: Checks, request: bytes, seen: Address = ANN) -> bytes:
    answer, understood = bob.handle_request(parse_stun(request), request, Origin(seen))
    assert understood
    return answer


def refusal(checks: Checks, data: bytes, origin: Origin, now: float) -> str:
    with pytest.raises(PeerError) as error:
        checks.handle_response(parse_stun(data), data, origin, now)
    return error.value.reason


def test_an_answered_check_confirms_its_path_with_round_trip_and_reflexive_address() -> None:
    ann, bob = pair()
    path = path_to(BOB)
    request = ann.build_request(path, 100.0, nominate=False)
    answer = answered(bob, request, Address("203.0.113.9", 61000))
    found, rtt_s, mapped = ann.handle_response(parse_stun(answer), answer, Origin(BOB), 100.025)
    assert found is path
    assert rtt_s == pytest.approx(0.025)
    assert mapped == Address("203.0.113.9", 61000)


def test_credentials_are_unknown_until_the_peer_gave_them() -> None:
    checks = Checks(
        1, controlling=True, ufrag="anns", password="a" * 22, tie_breaker=1, random=random.Random(1).randbytes
    )
    assert not checks.is_ready
    assert pair()[0].is_ready


def test_a_check_carries_what_ice_asks_for() -> None:
    ann, bob = pair()
    data = ann.build_request(path_to(BOB), 100.0, nominate=True)
    message = parse_stun(data)
    assert message.cls is StunClass.REQUEST
    assert message.username == "bobs:anns"
    assert message.use_candidate
    assert (message.ice_controlling, message.ice_controlled) == (1, None)
    assert message.priority is not None
    assert message.priority >> 24 == 110
    assert message.has_integrity
    assert message.has_fingerprint
    verify_integrity(data, BOBS_PASSWORD)
    theirs = parse_stun(bob.build_request(path_to(ANN), 100.0, nominate=True))
    assert (theirs.ice_controlling, theirs.ice_controlled, theirs.use_candidate) == (None, 2, False)


def test_the_transaction_starts_with_the_peers_handle_and_is_never_used_twice() -> None:
    ann, _ = pair()
    sent = {parse_stun(ann.build_request(path_to(BOB), 100.0, nominate=False)).transaction for _ in range(500)}
    assert len(sent) == 500
    assert {int.from_bytes(t[:HANDLE_BYTES], "big") for t in sent} == {7}


def test_a_request_with_other_credentials_is_not_answered() -> None:
    ann, bob = pair()
    for name, value in (("remote_ufrag", "eves"), ("remote_password", "e" * 24), ("ufrag", "eves")):
        eve, _ = pair()
        setattr(eve, name, value)
        data = eve.build_request(path_to(BOB), 100.0, nominate=False)
        with pytest.raises(PeerError, match="integrity"):
            answered(bob, data)
    data = ann.build_request(path_to(BOB), 100.0, nominate=False)
    assert parse_stun(answered(bob, data)).cls is StunClass.SUCCESS


def test_a_request_with_an_attribute_that_must_be_understood_gets_error_420() -> None:
    ann, bob = pair()
    data = sealed(ann.build_request(path_to(BOB), 100.0, nominate=False), BOBS_PASSWORD)
    message = parse_stun(data)
    assert message.unknown == (0x7ABC,)
    answer, understood = bob.handle_request(message, data, Origin(ANN))
    assert not understood
    error = parse_stun(answer)
    assert (error.cls, error.error_code, error.unknown_attributes) == (StunClass.ERROR, 420, (0x7ABC,))
    verify_integrity(answer, BOBS_PASSWORD)


def test_an_answer_with_an_attribute_that_must_be_understood_confirms_nothing() -> None:
    ann, bob = pair()
    answer = answered(bob, ann.build_request(path_to(BOB), 100.0, nominate=False))
    assert refusal(ann, sealed(answer, BOBS_PASSWORD), Origin(BOB), 100.1) == "format"


def sealed(data: bytes, password: str) -> bytes:
    """Returns a message with one more attribute, 0x7abc, and MESSAGE-INTEGRITY made again."""
    body = data[20:-32] + b"\x7a\xbc\x00\x00"  # behind the rest, before MESSAGE-INTEGRITY (24) and FINGERPRINT (8)
    head = data[:2] + (len(body) + 24).to_bytes(2) + data[4:20]
    return head + body + b"\x00\x08\x00\x14" + hmac.digest(password.encode(), head + body, "sha1")


def test_a_request_before_the_peers_credentials_are_known_is_not_answered() -> None:
    ann, bob = pair()
    bob.remote_ufrag = bob.remote_password = ""
    with pytest.raises(PeerError, match="integrity"):
        answered(bob, ann.build_request(path_to(BOB), 100.0, nominate=False))


def test_an_altered_request_is_not_answered() -> None:
    ann, bob = pair()
    data = ann.build_request(path_to(BOB), 100.0, nominate=False)
    for at in range(20, len(data) - 8):  # all but FINGERPRINT, which may be missing and is not sealed
        bad = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        with pytest.raises(PeerError):
            answered(bob, bad)


def test_an_answer_from_elsewhere_counts_for_nothing_and_the_right_one_still_does() -> None:
    ann, bob = pair()
    request = ann.build_request(path_to(BOB), 100.0, nominate=False)
    answer = answered(bob, request)
    for origin in (Origin(ANN), Origin(BOB._replace(port=4003)), Origin(BOB, 1)):
        assert refusal(ann, answer, origin, 100.1) == "transaction"
    ann.handle_response(parse_stun(answer), answer, Origin(BOB), 100.1)


def test_an_answer_counts_once() -> None:
    ann, bob = pair()
    answer = answered(bob, ann.build_request(path_to(BOB), 100.0, nominate=False))
    ann.handle_response(parse_stun(answer), answer, Origin(BOB), 100.1)
    assert refusal(ann, answer, Origin(BOB), 100.1) == "transaction"


def test_an_answer_that_comes_too_late_counts_for_nothing() -> None:
    ann, bob = pair()
    answer = answered(bob, ann.build_request(path_to(BOB), 100.0, nominate=False))
    assert refusal(ann, answer, Origin(BOB), 105.1) == "transaction"


def test_a_late_answer_to_the_first_of_two_checks_still_counts() -> None:
    ann, bob = pair()
    path = path_to(BOB)
    first = answered(bob, ann.build_request(path, 100.0, nominate=False))
    ann.build_request(path, 100.4, nominate=False)
    assert ann.handle_response(parse_stun(first), first, Origin(BOB), 100.9)[1] == pytest.approx(0.9)


def test_a_forged_answer_counts_for_nothing_and_the_right_one_still_does() -> None:
    ann, bob = pair()
    request = ann.build_request(path_to(BOB), 100.0, nominate=False)
    transaction = parse_stun(request).transaction
    for password in (None, "e" * 24, ANNS_PASSWORD):
        forged = build_binding_response(transaction, ANN, password=password)
        assert refusal(ann, forged, Origin(BOB), 100.1) == "integrity"
    answer = answered(bob, request)
    ann.handle_response(parse_stun(answer), answer, Origin(BOB), 100.1)


def test_an_answer_without_an_address_confirms_nothing() -> None:
    ann, _ = pair()
    transaction = parse_stun(ann.build_request(path_to(BOB), 100.0, nominate=False)).transaction
    empty = build_binding_error(transaction, 400, "no", password=BOBS_PASSWORD)
    assert refusal(ann, empty, Origin(BOB), 100.1) == "no-address"


def test_an_answer_to_no_question_counts_for_nothing() -> None:
    ann, _ = pair()
    stray = build_binding_response(bytes(12), ANN, password=BOBS_PASSWORD)
    assert refusal(ann, stray, Origin(BOB), 100.1) == "transaction"


def test_questions_that_wait_are_bounded_and_the_newest_are_kept() -> None:
    ann, bob = pair()
    requests = [ann.build_request(path_to(BOB), 100.0, nominate=False) for _ in range(513)]
    oldest, second = answered(bob, requests[0]), answered(bob, requests[1])
    assert refusal(ann, oldest, Origin(BOB), 100.1) == "transaction"
    ann.handle_response(parse_stun(second), second, Origin(BOB), 100.1)


# --- roles ---


def bare(tie_breakers: tuple[int, int], *, controlling: bool) -> tuple[Checks, Checks]:
    """Returns two sides that claim one role."""
    chance = random.Random(1).randbytes
    ann, bob = (
        Checks(7, controlling=controlling, ufrag=ufrag, password=password, tie_breaker=tie_breaker, random=chance)
        for ufrag, password, tie_breaker in zip(
            ("anns", "bobs"), (ANNS_PASSWORD, BOBS_PASSWORD), tie_breakers, strict=True
        )
    )
    ann.remote_ufrag, ann.remote_password = bob.ufrag, bob.password
    bob.remote_ufrag, bob.remote_password = ann.ufrag, ann.password
    return ann, bob


@pytest.mark.parametrize("controlling", [True, False])
@pytest.mark.parametrize("tie_breakers", [(1, 2), (2, 1), (5, 5), (0, 2**64 - 1)])
def test_of_two_that_claim_one_role_the_larger_tie_breaker_controls(
    controlling: bool, tie_breakers: tuple[int, int]
) -> None:
    ann, bob = bare(tie_breakers, controlling=controlling)
    path = path_to(BOB)
    request = ann.build_request(path, 100.0, nominate=False)
    answer, counts = bob.handle_request(parse_stun(request), request, Origin(ANN))
    if not counts:
        message = parse_stun(answer)
        assert (message.cls, message.error_code) == (StunClass.ERROR, 487)
        assert message.has_fingerprint
        assert ann.handle_conflict(message, answer, Origin(BOB), 100.1) is path
        request = ann.build_request(path, 100.1, nominate=False)
        answer, counts = bob.handle_request(parse_stun(request), request, Origin(ANN))
    assert counts
    ann.handle_response(parse_stun(answer), answer, Origin(BOB), 100.2)
    assert bob.controlling is (tie_breakers[1] >= tie_breakers[0])
    assert ann.controlling is not bob.controlling


def test_a_role_given_up_for_an_error_comes_with_a_new_tie_breaker() -> None:
    ann, bob = bare((1, 2), controlling=True)
    request = ann.build_request(path_to(BOB), 100.0, nominate=False)
    error, _ = bob.handle_request(parse_stun(request), request, Origin(ANN))
    ann.handle_conflict(parse_stun(error), error, Origin(BOB), 100.1)
    message = parse_stun(ann.build_request(path_to(BOB), 100.1, nominate=True))
    assert (message.ice_controlling, message.use_candidate) == (None, False)
    assert message.ice_controlled not in (None, 1)


def test_two_errors_about_one_role_change_it_once() -> None:
    ann, bob = bare((1, 2), controlling=True)
    requests = [ann.build_request(path_to(BOB), 100.0, nominate=False) for _ in range(2)]
    errors = [bob.handle_request(parse_stun(request), request, Origin(ANN))[0] for request in requests]
    for error in errors:
        ann.handle_conflict(parse_stun(error), error, Origin(BOB), 100.1)
    assert not ann.controlling


def test_a_claim_without_the_right_credentials_changes_no_role() -> None:
    ann, bob = bare((2**64 - 1, 2), controlling=True)
    ann.remote_password = "e" * 24
    with pytest.raises(PeerError, match="integrity"):
        answered(bob, ann.build_request(path_to(BOB), 100.0, nominate=False))
    assert bob.controlling


def test_a_claim_in_a_check_that_is_not_understood_changes_no_role() -> None:
    ann, bob = bare((2**64 - 1, 2), controlling=True)
    data = sealed(ann.build_request(path_to(BOB), 100.0, nominate=False), BOBS_PASSWORD)
    answer, counts = bob.handle_request(parse_stun(data), data, Origin(ANN))
    assert (parse_stun(answer).error_code, counts, bob.controlling) == (420, False, True)


def test_a_check_without_a_role_or_with_the_other_one_makes_no_conflict() -> None:
    for role in ({}, {"controlled": 2**64 - 1}):
        _, bob = bare((1, 2), controlling=True)
        data = build_binding_request(bytes(12), username="bobs:anns", password=BOBS_PASSWORD, priority=1, **role)
        assert parse_stun(answered(bob, data)).cls is StunClass.SUCCESS
        assert bob.controlling


def test_a_forged_role_conflict_changes_nothing() -> None:
    ann, _ = pair()
    transaction = parse_stun(ann.build_request(path_to(BOB), 100.0, nominate=False)).transaction
    right = build_binding_error(transaction, 487, "Role Conflict", password=BOBS_PASSWORD)
    forged = [
        (build_binding_error(transaction, 487, "Role Conflict"), Origin(BOB), 100.1, "integrity"),
        (build_binding_error(transaction, 487, "Role Conflict", password="e" * 24), Origin(BOB), 100.1, "integrity"),
        (build_binding_error(bytes(12), 487, "", password=BOBS_PASSWORD), Origin(BOB), 100.1, "transaction"),
        (sealed(right, BOBS_PASSWORD), Origin(BOB), 100.1, "format"),
        (right, Origin(ANN), 100.1, "transaction"),
        (right, Origin(BOB), 105.1, "transaction"),
    ]
    for data, origin, now, reason in forged:
        with pytest.raises(PeerError) as error:
            ann.handle_conflict(parse_stun(data), data, origin, now)
        assert error.value.reason == reason
        assert ann.controlling
    ann.handle_conflict(parse_stun(right), right, Origin(BOB), 100.1)
    with pytest.raises(PeerError, match="transaction"):
        ann.handle_conflict(parse_stun(right), right, Origin(BOB), 100.1)
    assert not ann.controlling


def refuse_role(ann: Checks, password: str) -> None:
    transaction = parse_stun(ann.build_request(path_to(BOB), 100.0, nominate=False)).transaction
    error = build_binding_error(transaction, 487, "Role Conflict", password=password)
    ann.handle_conflict(parse_stun(error), error, Origin(BOB), 100.1)


def test_a_peer_that_refuses_every_role_is_not_followed_for_ever_but_may_start_anew() -> None:
    ann, _ = pair()
    for _ in range(4):
        refuse_role(ann, BOBS_PASSWORD)
    for _ in range(1000):
        with pytest.raises(PeerError, match="rate"):
            refuse_role(ann, BOBS_PASSWORD)
    ann.remote_password = "n" * 24
    refuse_role(ann, ann.remote_password)


def test_the_priority_of_what_a_check_may_reveal_differs_by_family() -> None:
    ann, _ = pair()
    found = [
        parse_stun(ann.build_request(path_to(Address(host, 1)), 100.0, nominate=False)).priority or 0
        for host in ("2001:db8::1", "198.51.100.1")
    ]
    assert found[0] > found[1]
    assert {priority >> 24 for priority in found} == {110}


def test_a_check_longer_than_any_control_datagram_is_not_even_read() -> None:
    ann, _ = pair()
    data = ann.build_request(path_to(BOB), 100.0, nominate=False)
    with pytest.raises(PeerError, match="long"):
        parse_stun(data + bytes(2000))


@given(st.binary(max_size=1280), st.binary(min_size=12, max_size=12))
def test_any_bytes_behind_a_stun_header_are_refused_by_name(body: bytes, transaction: bytes) -> None:
    ann, bob = pair()
    body += bytes(-len(body) % 4)
    for kind in (b"\x00\x01", b"\x01\x01", b"\x01\x11"):
        data = kind + len(body).to_bytes(2) + b"\x21\x12\xa4\x42" + transaction + body
        for handle in (
            lambda message, data=data: bob.handle_request(message, data, Origin(ANN)),
            lambda message, data=data: ann.handle_response(message, data, Origin(BOB), 100.0),
            lambda message, data=data: ann.handle_conflict(message, data, Origin(BOB), 100.0),
        ):
            with pytest.raises(PeerError) as error:
                handle(parse_stun(data))
            assert error.value.reason in REASONS
