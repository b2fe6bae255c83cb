"""docs/wire-format.md says what the code does: its tables of datagrams, sizes, attributes and messages are compared."""

import json
import re
import struct
import typing
from typing import Any, Final

import msgspec
import pytest
from msgspec import NODEFAULT, inspect
from tests.guards.tree import ROOT

from ntvl.config import DEFAULT_MTU
from ntvl.identity.certificate import CERTIFICATE_BYTES_MAX, Certificate
from ntvl.proto.handshake import PAYLOAD_BYTES_MAX
from ntvl.wire import control, header, plaintext, vnet
from ntvl.wire.control import UNKNOWN_NAT
from ntvl.wire.ethernet import ETHERNET_BYTES
from ntvl.wire.handshake import HANDSHAKE_BYTES_MAX, INITIATION_OVERHEAD_BYTES, RESPONSE_OVERHEAD_BYTES

PAGE: Final = (ROOT / "docs" / "wire-format.md").read_text()
TABLES: Final = [
    [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
]
ROWS: Final = [row for table in TABLES for row in table[2:]]
MESSAGES: Final = typing.get_args(control.Message)

BOUNDED: Final = {
    (0, 2**32 - 1): "u32",
    (0, 2**63 - 1): "u63",
    (1, 65535): "port",
    (None, None): "integer",
}
NAMED: Final = {"name": "name", "community_name": "name", "host": "host", "observed_host": "host", "hosts": "host"}


def rows_below(title: str) -> list[list[str]]:
    """Returns the rows of the table whose first column has that title."""
    (table,) = [table for table in TABLES if table[0][0] == title]
    return table[2:]


def describe(field: inspect.Field) -> str:
    default = "" if field.default is NODEFAULT else f" = {show(field.default)}"
    return f"`{name_type(field.type, field.name)}` {field.name}{default}"


def show(default: Any) -> str:
    if default == UNKNOWN_NAT:
        return "()"
    if isinstance(default, bool):
        return str(default).lower()
    return '""' if default in ("", b"") else f'"{default}"' if isinstance(default, str) else str(default)


def name_type(type_: inspect.Type, name: str) -> str:
    match type_:
        case inspect.IntType(ge=-65535, le=65535):
            return "integer"
        case inspect.IntType(ge=low, le=high):
            return BOUNDED.get((low, high), f"integer {low}..{high}")
        case inspect.BoolType():
            return "bool"
        case inspect.FloatType():
            return "seconds"
        case inspect.BoolType():
            return "bool"
        case inspect.BytesType(min_length=32, max_length=32):
            return "key"
        case inspect.BytesType(min_length=8, max_length=8):
            return "incarnation"
        case inspect.BytesType(min_length=1, max_length=800):
            return "certificate"
        case inspect.BytesType(min_length=low, max_length=high):
            return f"bin {low or 0}..{high}"
        case inspect.StrType(min_length=None, max_length=63 | 45 as length):
            assert NAMED[name] == {63: "name", 45: "host"}[length]
            return NAMED[name]
        case inspect.StrType(min_length=None, max_length=49):
            return "cidr"
        case inspect.StrType(min_length=low, max_length=high):
            return f"str {high}" if low is None else f"str {low}..{high}"
        case inspect.VarTupleType(item_type=item, max_length=length):
            return f"list {length} of {name_type(item, name)}"
        case inspect.TupleType(item_types=(inspect.BytesType(min_length=32), inspect.IntType(le=high))):
            assert high == 2**63 - 1
            return "held"
        case inspect.StructType(cls=cls):
            return cls.__name__.lower()
    raise AssertionError(f"{name}: {type_}")


def fields_of(cls: type) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return info.fields


def test_every_first_byte_is_in_the_table() -> None:
    listed = {row[0].strip("`"): row[1] for row in rows_below("first byte")}
    assert {f"{kind:02x}": kind.name for kind in header.Kind} == {
        byte: name for byte, name in listed.items() if re.fullmatch(r"[89].", byte)
    }


def test_sizes() -> None:
    sizes = {row[0]: int(row[1]) for row in rows_below("limit")}
    assert sizes == {
        "DATA": header.DATAGRAM_BYTES_MAX,
        "plaintext of DATA": header.PLAINTEXT_BYTES_MAX,
        "virtio header and frame in one FRAME": plaintext.FRAME_BUFFER_MAX,
        "IP packet in one PIECE": header.PLAINTEXT_BYTES_MAX
        - plaintext.PIECE_HEADER_BYTES
        - vnet.VNET_BYTES
        - ETHERNET_BYTES
        - 8,
        "MTU of the virtual network": DEFAULT_MTU,
        "CONTROL, handshakes, STUN, KEY_REQUEST": header.CONTROL_BYTES_MAX,
        "handshake datagram": HANDSHAKE_BYTES_MAX,
        "control message": control.MESSAGE_BYTES_MAX,
    }
    in_words = {
        "141 + p": INITIATION_OVERHEAD_BYTES + 5,
        "97 + p": RESPONSE_OVERHEAD_BYTES + 5,
        "at most 1047 bytes": PAYLOAD_BYTES_MAX,
        f"65 to {CERTIFICATE_BYTES_MAX} bytes": 65,
        "65,567 bytes together": vnet.SUPER_BYTES_MAX,
        "FRAGMENTs of 1389 bytes": header.PLAINTEXT_BYTES_MAX - plaintext.FRAGMENT_HEADER.size,
    }
    words = " ".join(PAGE.split())
    for text, number in in_words.items():
        assert text in words, text
        assert int(re.findall(r"\d+", text.replace(",", ""))[0]) == number, text


@pytest.mark.parametrize("message", MESSAGES, ids=lambda cls: cls.__name__)
def test_every_control_message_is_in_its_table(message: type[msgspec.Struct]) -> None:
    tag, fields = message.__struct_config__.tag, ", ".join(map(describe, fields_of(message)))
    (row,) = [row for row in ROWS if len(row) == 5 and row[1] == message.__name__]
    assert row[0] == str(tag)
    expected = {"": "none"}.get(fields, fields)
    if row[3].startswith("as "):
        (other,) = [cls for cls in MESSAGES if cls.__name__ == row[3].removeprefix("as ")]
        assert fields == ", ".join(map(describe, fields_of(other)))
    else:
        assert row[3] == expected


@pytest.mark.parametrize("held", [control.Member, control.Candidate, control.Record], ids=lambda cls: cls.__name__)
def test_what_messages_hold_is_in_the_table_of_types(held: type[msgspec.Struct]) -> None:
    (row,) = [row for row in ROWS if row[0] == f"`{held.__name__.lower()}`"]
    assert row[1] == "array"
    assert row[2].partition(";")[0] == ", ".join(map(describe, fields_of(held)))


def test_every_stun_attribute_that_is_sent_is_named() -> None:
    vectors = json.loads((ROOT / "vectors" / "stun.json").read_text())
    for data in (bytes.fromhex(vector["hex"]) for vector in vectors if "refused" not in vector):
        at = 20
        while at < len(data):
            kind, length = struct.unpack_from("!HH", data, at)
            assert f"(`{kind:04x}`" in PAGE, hex(kind)
            at += 4 + (length + 3) // 4 * 4


def test_the_fields_of_a_certificate_are_in_order() -> None:
    rows = rows_below("#")
    assert [row[1] for row in rows] == list(Certificate.__struct_fields__)
    assert [row[0] for row in rows] == [str(place) for place in range(1, 12)]


def test_links_on_the_page_lead_somewhere() -> None:
    anchors = {
        "#" + re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)", PAGE, re.MULTILINE)
    }
    for link in re.findall(r"\]\(([^)]*)\)", PAGE):
        assert link in anchors if link.startswith("#") else (ROOT / "docs" / link).exists(), link
