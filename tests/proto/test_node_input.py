"""A node that is told anything by anybody."""

import json

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.proto.home import ANN, BOB, EVE, Home, alone, pair, together
from tests.proto.scripted import COMMUNITY, OTHER_COMMUNITY, World, member

from ntvl.dataplane.interface import (
    AddPeer,
    ControlDatagram,
    InstallSession,
    Wanted,
)
from ntvl.errors import REASONS
from ntvl.wire.address import Address, Origin, Relay
from ntvl.wire.control import Bye, KeepaliveReply, Roster, build_message
from ntvl.wire.header import CONTROL_BYTES_MAX, Kind, build_header


def test_datagrams_of_no_kind_or_no_size_are_counted() -> None:
    _, _, home = alone()
    home.hear(b"")
    home.hear(bytes((Kind.RELAY,)).ljust(40, b"\0"))
    home.hear(bytes((Kind.KEY_REQUEST,)).ljust(64, b"\0"))
    home.hear(bytes((Kind.DATA,)).ljust(64, b"\0"))
    home.hear(bytes(CONTROL_BYTES_MAX + 1))
    home.hear(bytes((Kind.RESPONSE, 0, 0, 0)).ljust(120, b"\0"))
    home.hear(build_header(Kind.CONTROL, 1, 1))
    assert home.drops == {"short": 2, "type": 3, "long": 1, "unknown-session": 1}


WORLD, LEFT, RIGHT = together()
SESSION = LEFT.told(InstallSession)[0]
SUPERNODE = WORLD.supernodes[0].address
ORIGINS = [
    Origin(EVE),
    Origin(BOB),
    Origin(SUPERNODE),
    Origin(SUPERNODE, 0, Relay(71, 72)),
    Origin(SUPERNODE, 0, Relay(0, 0)),
    Origin(Address("2001:db8::66", 1), 3),
]
HEADS = [
    b"",
    *(bytes((kind, 0, 0, 0)) for kind in Kind),
    *(bytes((kind, 0, 0, 0)) + SESSION.receive_index.to_bytes(4) for kind in Kind),
    bytes((Kind.INITIATION, 0, 0, 1)),
    b"\x00\x01\x00\x08\x21\x12\xa4\x42",
    b"\x01\x01\x00\x08\x21\x12\xa4\x42",
]


@hypothesis_settings(max_examples=400, deadline=None)
@given(
    head=st.sampled_from(HEADS),
    body=st.binary(max_size=300),
    origin=st.sampled_from(ORIGINS),
    wait_s=st.sampled_from([0.0, 0.0, 0.01, 1.0]),
)
def test_no_bytes_from_anybody_raise_or_stop_the_node(head: bytes, body: bytes, origin: Origin, wait_s: float) -> None:
    before = sum(LEFT.drops.values())
    LEFT.hear(head + body, origin)
    is_hint = (head + body)[:1] == bytes((Kind.RESET,))
    assert sum(LEFT.drops.values()) - before in ((0, 1) if is_hint else (1,))
    assert set(LEFT.drops) <= set(REASONS)
    WORLD.sent.clear()
    WORLD.run(wait_s)
    assert LEFT.supernode()["state"] == "registered"


@hypothesis_settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 400), bit=st.integers(0, 7), cut=st.integers(0, 400), by_relay=st.booleans())
def test_no_altered_or_cut_datagram_of_a_member_raises(at: int, bit: int, cut: int, by_relay: bool) -> None:
    world, ann, _ = CAUGHT
    origin = Origin(world.supernodes[0].address, 0, Relay(71, 72)) if by_relay else Origin(BOB)
    for data in DIALOGUE:
        altered = bytearray(data[: max(1, len(data) - cut)])
        altered[at % len(altered)] ^= 1 << bit
        ann.hear(bytes(altered), origin)
    assert set(ann.drops) <= set(REASONS)


def _dialogue() -> tuple[tuple[World, Home, Home], list[bytes]]:
    world, ann, bob = pair()
    bob.want(ann.key)
    world.run(2.0)
    caught = [
        t.data[12:] if t.data[0] == Kind.RELAY else t.data
        for _, source, t in world.sent
        if source == BOB and (t.address == ANN or t.data[0] == Kind.RELAY)
    ]
    return (world, ann, bob), caught


CAUGHT, DIALOGUE = _dialogue()


def test_the_dialogue_that_is_altered_has_every_kind_of_datagram() -> None:
    kinds = {data[0] for data in DIALOGUE}
    assert kinds >= {Kind.INITIATION, Kind.CONTROL, 0x00, 0x01}


messages = st.one_of(
    st.builds(
        KeepaliveReply,
        st.integers(0, 2**32 - 1),
        st.text(max_size=45),
        st.integers(1, 65535),
        st.floats(0, 1e11),
        st.lists(st.tuples(st.just(COMMUNITY.id), st.integers(0, 2**63 - 1)), max_size=3).map(tuple),
        st.lists(st.sampled_from([COMMUNITY.id, OTHER_COMMUNITY.id]), max_size=3).map(tuple),
    ),
    st.builds(
        Roster,
        st.sampled_from([COMMUNITY.id, OTHER_COMMUNITY.id]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.lists(
            st.builds(
                member,
                st.binary(min_size=32, max_size=32),
                st.integers(0, 2**32 - 1),
                st.text(max_size=63),
                st.text(max_size=49),
            ),
            max_size=5,
        ).map(tuple),
        st.lists(st.binary(min_size=32, max_size=32), max_size=5).map(tuple),
    ),
    st.builds(Bye),
)


@hypothesis_settings(max_examples=80, deadline=None)
@given(said=st.lists(messages, max_size=6), wanted=st.booleans())
def test_no_word_of_a_lying_supernode_raises(said: list[KeepaliveReply | Roster | Bye], wanted: bool) -> None:
    world, supernode, home = LIARS
    supernode.say(*said)
    world.run(0.3)
    if wanted:
        for command in home.told(AddPeer)[-3:]:
            home.node.handle_plane_event(Wanted(command.peer), world.now)
    world.run(0.3)
    json.dumps(home.status())
    home.commands.clear()
    world.sent.clear()
    supernode.heard.clear()


LIARS = alone()


def test_a_control_datagram_of_the_plane_is_no_business_of_plane_events() -> None:
    world, _, home = alone()
    home.node.handle_plane_event(ControlDatagram(b"x", *EVE), world.now)
    assert not home.drops


def test_a_goodbye_that_somebody_else_sealed_is_nobodys() -> None:
    _, ann, bob = together()
    keys = bob.told(InstallSession)[0]
    forged = build_header(Kind.CONTROL, keys.send_index, 10**6) + build_message(Bye()) + bytes(16)
    ann.hear(forged, BOB)
    assert ann.drops == {"authentication": 1}
    assert ann.peer(bob.key)["path"] == "direct"
