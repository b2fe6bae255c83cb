"""Control messages: each comes back as it went in, ages well in both directions, and any bytes are survived.

Examples of messages are drawn from their own field types, so a message that is added is tested from then on.
"""

import typing

import msgspec
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from ntvl.errors import PeerError
from ntvl.wire import control
from ntvl.wire.control import (
    MESSAGE_BYTES_MAX,
    Candidate,
    Message,
    Offer,
    Refused,
    Unsupported,
    build_message,
    parse_message,
)

MESSAGES: tuple[type[msgspec.Struct], ...] = typing.get_args(Message)


def values(type_: inspect.Type) -> st.SearchStrategy[object]:
    """Draws values that `type_` allows, short where it allows long ones, so that most messages fit a datagram."""
    match type_:
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=low, le=high):
            return st.integers(-(2**63) if low is None else low, 2**63 - 1 if high is None else high)
        case inspect.FloatType(ge=low, le=high):
            return st.floats(low, high)
        case inspect.StrType(min_length=low, max_length=high):
            return st.text(min_size=low or 0, max_size=min(high or 20, (low or 0) + 20))
        case inspect.BytesType(min_length=low, max_length=high):
            return st.binary(min_size=low or 0, max_size=min(high or 100, (low or 0) + 100))
        case inspect.VarTupleType(item_type=item, max_length=high):
            return st.lists(values(item), max_size=min(high or 4, 4)).map(tuple)
        case inspect.TupleType(item_types=items):
            return st.tuples(*map(values, items))
        case inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: values(field.type) for field in fields})
    raise AssertionError(f"no values for {type_}")


messages = st.one_of([values(inspect.type_info(cls)) for cls in MESSAGES])


def tag_of(cls: type[msgspec.Struct]) -> int:
    tag = cls.__struct_config__.tag
    assert isinstance(tag, int)
    return tag


def reason_of(data: bytes) -> str:
    with pytest.raises(PeerError) as caught:
        parse_message(data)
    return caught.value.reason


@given(messages)
def test_a_message_comes_back_as_it_went_in(message: Message) -> None:
    try:
        data = build_message(message)
    except ValueError:
        assume(False)
    assert parse_message(data) == message
    assert parse_message(memoryview(data)) == message


@given(messages, st.integers(0, 2**32 - 1))
def test_fields_that_a_newer_program_appends_are_ignored(message: Message, more: int) -> None:
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(message))
    data = msgspec.msgpack.encode([*fields, more, {"and": "more"}])
    assume(len(data) <= MESSAGE_BYTES_MAX)
    assert parse_message(data) == message


@pytest.mark.parametrize("cls", MESSAGES)
def test_fields_that_an_older_program_does_not_send_take_their_defaults(cls: type[msgspec.Struct]) -> None:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)

    @settings(max_examples=5, database=None)
    @given(st.tuples(*[values(field.type) for field in info.fields if field.required]))
    def check(arguments: tuple[object, ...]) -> None:
        data = msgspec.msgpack.encode([tag_of(cls), *arguments])
        assert parse_message(data) == cls(*arguments)

    check()


@given(st.binary(max_size=1300))
@example(b"")
@example(b"\x90")
@example(b"\x91\x00")
@example(b"\x91" * 1000)
@example(b"\xdd\xff\xff\xff\xff")
def test_any_bytes_give_a_message_a_tag_or_a_named_reason(data: bytes) -> None:
    try:
        message = parse_message(data)
    except PeerError as error:
        assert error.reason == ("long" if len(data) > MESSAGE_BYTES_MAX else "format")
    else:
        assert isinstance(message, (int, *MESSAGES))


@given(messages, st.integers(0, 5000), st.binary(min_size=1, max_size=4))
def test_an_altered_message_gives_a_message_a_tag_or_a_named_reason(message: Message, at: int, put: bytes) -> None:
    data = bytearray(msgspec.msgpack.encode(message))
    at %= len(data)
    data[at : at + len(put)] = put
    try:
        parse_message(bytes(data))
    except PeerError as error:
        assert error.reason in ("long", "format")


@given(st.integers(0, 0xFFFF), st.lists(st.integers(0, 9), max_size=5))
def test_an_unknown_tag_is_told_so_that_it_can_be_answered(tag: int, fields: list[int]) -> None:
    assume(tag not in {tag_of(cls) for cls in MESSAGES})
    answer = parse_message(msgspec.msgpack.encode([tag, *fields]))
    assert answer == tag
    assert parse_message(build_message(Unsupported(tag))) == Unsupported(tag)


@pytest.mark.parametrize("tag", [-1, 0x10000, 2**63, "register", None, 1.0, [1]])
def test_a_tag_that_is_no_small_number_is_no_tag(tag: object) -> None:
    assert reason_of(msgspec.msgpack.encode([tag])) == "format"


def test_a_known_tag_with_broken_fields_is_not_taken_for_unknown() -> None:
    for cls in MESSAGES:
        if inspect.type_info(cls).fields:  # type: ignore[union-attr]
            assert reason_of(msgspec.msgpack.encode([tag_of(cls), {}])) == "format"


def test_tags_are_unique_and_in_their_ranges() -> None:
    tags = [tag_of(cls) for cls in MESSAGES]
    assert len(set(tags)) == len(tags)
    assert all(1 <= tag <= 19 or 20 <= tag <= 39 or 40 <= tag <= 127 for tag in tags)


def test_every_tagged_struct_of_the_module_is_a_message() -> None:
    structs = [cls for cls in vars(control).values() if isinstance(cls, type) and issubclass(cls, msgspec.Struct)]
    assert {cls for cls in structs if cls.__struct_config__.tag} == set(MESSAGES)
    assert {cls.__name__ for cls in MESSAGES} <= set(control.__all__)


def test_a_message_too_long_for_a_datagram_is_not_built() -> None:
    offer = Offer(1, "ufrag", "p" * 22, tuple(Candidate("host", "2001:db8::" + str(n), 1971) for n in range(24)))
    build_message(offer)
    with pytest.raises(ValueError, match="Offer"):
        build_message(msgspec.structs.replace(offer, candidates=offer.candidates * 3))


def test_a_message_longer_than_a_datagram_carries_is_refused_unread() -> None:
    assert reason_of(b"\x91\x14" + bytes(MESSAGE_BYTES_MAX)) == "long"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -1.0])
def test_a_time_that_no_clock_shows_is_refused(value: float) -> None:
    assert reason_of(build_message(Refused(1, bytes(32), "rate", server_time=value))) == "format"


def test_a_list_longer_than_its_bound_is_refused() -> None:
    offer = Offer(1, "ufrag", "p" * 22, (Candidate("host", "192.0.2.1", 1),) * 25)
    assert reason_of(build_message(offer)) == "format"
