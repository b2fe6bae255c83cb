from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect
from tests.wire.test_control import values

from ntvl.proto.attempt import NO_SOCKETS
from ntvl.proto.diagnosis import CAUSES, METHODS, Case, build_ladder, describe_nat, diagnose, nat_word
from ntvl.wire.control import Candidate, Nat, Record, Records

STRICT = "address-and-port-dependent"
OPEN = Nat("endpoint-independent", "endpoint-independent", "preserving")
EASY = Nat("endpoint-independent", STRICT, "preserving")
BY_ADDRESS = Nat("endpoint-independent", "address-dependent", "preserving")
RANDOM = Nat(STRICT, STRICT, "random")
BLOCK = Nat(STRICT, STRICT, "block-random", 0, 40000, 41023)
SEQUENTIAL = Nat(STRICT, STRICT, "sequential", 1)

HERE = (Candidate("srflx", "198.51.100.1", 4001), Candidate("host", "192.168.1.2", 4000))
THERE = (Candidate("srflx", "203.0.113.2", 5001), Candidate("host", "192.168.7.2", 5000))
HERE6, THERE6 = Candidate("host", "2001:db8:1::2", 4000), Candidate("host", "2001:db8:2::2", 5000)
HEARD = (Candidate("prflx", "203.0.113.2", 5001),)


def tried(technique: str = "simultaneous-udp", verdict: str = "no-reply", **fields: Any) -> Record:
    return Record(
        **{"attempt": 7, "age_s": 4.0, "took_s": 5.0, "packets": 8, **fields}, technique=technique, verdict=verdict
    )


def end(nat: Nat = EASY, *records: Record, **fields: Any) -> Records:
    return Records(1, nat=nat, records=records, **{"path": "relay", "state": "waiting", **fields})


def case(left: Nat = EASY, right: Nat = EASY, *more: Record, **fields: Any) -> Case:
    """Returns two ends that have tried and failed, relayed."""
    records = (tried(), *more)
    ours, theirs = end(left, *records, candidates=HERE), end(right, *records, candidates=THERE)
    return Case("bob", **{"path": "relay", "ours": ours, "theirs": theirs, **fields})


def but(base: Case, *, ours: dict[str, Any] | None = None, theirs: dict[str, Any] | None = None) -> Case:
    assert base.theirs is not None
    return replace(
        base,
        ours=msgspec.structs.replace(base.ours, **(ours or {})),
        theirs=msgspec.structs.replace(base.theirs, **(theirs or {})),
    )


MISSED = tried("birthday", packets=2000)
CASES: dict[str, tuple[Case, str, str]] = {
    "direct": (
        case(path="direct", remote="203.0.113.2:5001", technique="simultaneous-udp"),
        "",
        "bob is reached directly at 203.0.113.2:5001, by simultaneous-udp: both ends sent",
    ),
    "silent": (case(path="direct", silent_s=70.0), "remote", "nothing has come from it for 70 seconds."),
    "no-handshake": (case(path="none", is_shaking=True), "remote", "bob does not answer handshakes."),
    "out-of-reach": (case(path="none"), "", "no supernode that relays to it"),
    "direct-off": (but(case(), theirs={"state": "off"}), "remote", "switched off at bob"),
    "not-in-use": (case(path="none", is_used=False), "", "Nobody has used bob for five minutes"),
    "trying": (but(case(technique="birthday"), ours={"state": "trying"}), "", "under way, by birthday."),
    "udp-blocked": (but(case(), theirs={"udp": "no"}), "remote", "UDP does not get out at bob"),
    "no-attempt": (but(case(), ours={"records": ()}, theirs={"records": ()}), "", "has ended yet"),
    "no-answer": (
        but(case(), ours={"records": (tried("offer", "no-answer", packets=3),)}, theirs={"records": ()}),
        "remote",
        "bob did not answer the offer",
    ),
    "no-address": (but(case(), ours={"candidates": ()}), "local", "This end has named no address"),
    "ip-versions": (but(case(), theirs={"candidates": (THERE6,)}), "remote", "One end has only IPv4"),
    "no-hairpin": (
        but(case(), theirs={"candidates": (Candidate("srflx", "198.51.100.1", 9), THERE[1])}),
        "both",
        "behind the one public address 198.51.100.1",
    ),
    "no-sockets": (
        case(RANDOM, EASY, tried("birthday", "not-applicable", detail=NO_SOCKETS)),
        "local",
        "all sockets for finding it are taken",
    ),
    "no-guessing": (
        case(EASY, RANDOM, tried("birthday", "not-applicable", detail="one side lets no ports be guessed")),
        "remote",
        "one end lets no ports be guessed",
    ),
    "put-off": (case(EASY, BLOCK, tried("birthday", "put-off", packets=0)), "remote", "has put the guessing of it off"),
    "ports-missed": (case(EASY, RANDOM, MISSED), "remote", "at bob picks the port for each peer, and birthday did not"),
    "both-random": (case(BLOCK, RANDOM), "both", "Both routers pick random ports"),
    "random-and-sequential": (case(SEQUENTIAL, RANDOM), "both", "one of them at random"),
    "both-sequential": (case(SEQUENTIAL, SEQUENTIAL), "both", "the next port for each peer"),
    "one-random": (case(RANDOM, EASY), "local", "The router at this end picks a random port"),
    "one-sequential": (case(EASY, SEQUENTIAL), "remote", "The router at bob takes the next port"),
    "nat-unknown": (case(EASY, Nat()), "remote", "What the router at bob does is not known"),
    "lost": (case(EASY, EASY, tried("birthday", "direct")), "", "A direct path by birthday was there"),
    "outgoing-filtered": (
        but(case(), ours={"records": (tried(observed=HEARD),)}),
        "local",
        "what is sent from this end does not arrive",
    ),
    "firewall": (case(), "both", "a firewall drops them"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_is_found(cause: str) -> None:
    given_case, side, words = CASES[cause]
    found = diagnose(given_case)
    assert (found.cause, found.side) == (cause, side)
    assert words in found.sentence
    assert found.sentence.endswith(".")
    assert "{" not in found.sentence + found.fix
    assert bool(found.fix) is (cause != "direct")


def test_a_lost_path_is_told_by_what_had_made_it_not_by_an_attempt_that_was_not_needed() -> None:
    idle = tried("simultaneous-udp", "not-needed", attempt=8, age_s=1.0, packets=0)
    assert (
        "A direct path by birthday was there" in diagnose(case(EASY, EASY, tried("birthday", "direct"), idle)).sentence
    )
    assert "A direct path by a check was there" in diagnose(case(EASY, EASY, idle)).sentence


@pytest.mark.parametrize("cause", ["direct-off", "udp-blocked"])
def test_a_cause_at_our_own_end_is_told_of_ours(cause: str) -> None:
    fields: dict[str, Any] = {"state": "off"} if cause == "direct-off" else {"udp": "no"}
    ours, both = but(case(), ours=fields), but(case(), ours=fields, theirs=fields)
    assert (diagnose(ours).cause, diagnose(ours).side, diagnose(both).side) == (cause, "local", "both")
    assert "at this end" in diagnose(ours).sentence
    assert "at both ends" in diagnose(both).sentence


@pytest.mark.parametrize(
    ("ours", "theirs", "fix", "lacks"),
    [
        (
            (),
            (),
            "Turn on UPnP, NAT-PMP or PCP at either router, forward a UDP port to either node, or give both IPv6.",
            ("port-mapping", "ipv6"),
        ),
        (
            (),
            (THERE6,),
            "Turn on UPnP, NAT-PMP or PCP at either router, forward a UDP port to either node, or give this end IPv6.",
            ("port-mapping", "ipv6"),
        ),
        (
            (HERE6,),
            (Candidate("mapped", "203.0.113.2", 77),),
            "Forward a UDP port to either node, or give bob IPv6.",
            ("ipv6",),
        ),
        (
            (HERE6, Candidate("mapped", "198.51.100.1", 77)),
            (THERE6,),
            "Forward a UDP port to either node.",
            (),
        ),
    ],
)
def test_the_way_out_of_unknown_ports_is_what_the_ends_lack(
    ours: tuple[Candidate, ...], theirs: tuple[Candidate, ...], fix: str, lacks: tuple[str, ...]
) -> None:
    base = case(RANDOM, RANDOM)
    found = diagnose(but(base, ours={"candidates": HERE + ours}, theirs={"candidates": THERE + theirs}))
    assert (found.cause, found.fix, found.lacks) == ("both-random", fix, lacks)


@pytest.mark.parametrize("other", [OPEN, BY_ADDRESS])
def test_an_end_that_lets_new_ports_in_makes_random_ports_no_cause(other: Nat) -> None:
    assert diagnose(case(RANDOM, other)).cause == "firewall"


def test_an_address_of_a_private_network_is_the_reason_of_a_direct_path() -> None:
    for remote in ("192.168.1.7:4000", "[fd12::7]:4000"):
        for kind, method in (("host", "lan"), ("srflx", "simultaneous-udp"), ("prflx", "simultaneous-udp")):
            found = diagnose(case(path="direct", remote=remote, technique="simultaneous-udp", kind=kind))
            assert found.sentence.endswith(f"at {remote}, by simultaneous-udp: {METHODS[method]}.")


def test_who_has_no_supernode_is_told_so_before_a_peer_is_called_silent() -> None:
    found = diagnose(case(RANDOM, RANDOM, theirs=None, silent_s=53.0, is_cut_off=True))
    assert (found.cause, found.side) == ("out-of-reach", "")
    assert diagnose(case(path="direct", remote="203.0.113.2:1", theirs=None, is_cut_off=True)).cause == "direct"


def test_without_a_supernode_a_turn_server_is_a_way_and_so_is_one_by_which_the_peer_has_just_answered() -> None:
    for path, told in (("turn", False), ("turn", True), ("relay", True)):
        base = case(RANDOM, RANDOM, path=path, is_cut_off=True)
        assert diagnose(base if told else replace(base, theirs=None)).cause != "out-of-reach"


def test_a_technique_that_is_not_known_is_shown_as_it_is_called() -> None:
    found = diagnose(case(path="direct", remote="203.0.113.2:1", technique="crystal-ball"))
    assert found.sentence == "bob is reached directly at 203.0.113.2:1, by crystal-ball."
    missed = diagnose(case(RANDOM, RANDOM, tried("crystal-ball", packets=12345)))
    assert (missed.cause, missed.side) == ("ports-missed", "both")
    assert "crystal-ball did not find it with 12,345 packets" in missed.sentence


def test_a_path_of_another_kind_is_judged_as_a_relay() -> None:
    assert diagnose(replace(case(RANDOM, RANDOM), path="turn")).cause == "both-random"


def test_without_the_peers_side_its_offers_and_our_records_count() -> None:
    alone = replace(case(RANDOM), theirs=None, offered=(RANDOM, THERE))
    assert diagnose(alone).cause == "both-random"
    assert diagnose(replace(alone, offered=(Nat(), THERE))).cause == "nat-unknown"
    assert diagnose(
        replace(alone, ours=end(EASY, tried(observed=HEARD), candidates=HERE), offered=(EASY, THERE))
    ).cause == ("firewall"), "one end alone cannot tell which way packets are lost"


def test_only_the_last_attempt_counts() -> None:
    before = tried("birthday", "direct", attempt=6, age_s=600.0)
    offered = tried("offer", "no-answer", attempt=8, age_s=1.0)
    base = case(RANDOM, RANDOM)
    assert diagnose(but(base, ours={"records": (before, tried())})).cause == "both-random"
    assert diagnose(but(base, ours={"records": (tried(), offered)})).cause == "no-answer"
    assert diagnose(but(base, theirs={"records": (tried(), offered)})).side == "local"


def test_a_ladder_puts_both_ends_records_of_one_step_together_oldest_first() -> None:
    ours = end(EASY, tried(age_s=9.0), tried("birthday", age_s=4.0), tried("offer", "no-answer", attempt=5, age_s=30.0))
    theirs = end(EASY, tried(age_s=9.3), tried(attempt=9, age_s=1.0))
    ladder = build_ladder(ours, theirs)
    assert [(r.attempt, r.technique, r.age_s, r.ours is not None, r.theirs is not None) for r in ladder] == [
        (5, "offer", 30.0, True, False),
        (7, "simultaneous-udp", 9.0, True, True),
        (7, "birthday", 4.0, True, False),
        (9, "simultaneous-udp", 1.0, False, True),
    ]
    assert [rung.theirs for rung in build_ladder(ours, None)] == [None] * 3


@pytest.mark.parametrize(
    ("nat", "word"),
    [(Nat(), ""), (OPEN, "open"), (EASY, "easy"), (SEQUENTIAL, "sequential"), (BLOCK, "block"), (RANDOM, "random")],
)
def test_a_nat_has_a_short_word(nat: Nat, word: str) -> None:
    assert nat_word(nat) == word
    assert describe_nat(nat)["word"] == (word or None)


RECORDS = values(inspect.type_info(Records))


@settings(deadline=None)
@given(RECORDS, RECORDS, st.text(), st.booleans(), st.sampled_from(["direct", "relay", "none", "turn"]))
def test_whatever_a_peer_says_becomes_two_printable_sentences(
    ours: Records, theirs: Records, name: str, used: bool, path: str
) -> None:
    ours = msgspec.structs.replace(ours, nat=RANDOM)
    found = diagnose(Case(name, path, ours, theirs, is_used=used, remote="203.0.113.2:1"))
    assert found.cause in CAUSES
    assert (found.sentence + found.fix).isprintable()
    assert all(len(text) < 700 for text in (found.sentence, found.fix))
