"""A vector: a name, what was given, bytes, and what they mean or why they are refused; in JSON's own types."""

from collections.abc import Callable
from typing import Any

import msgspec

from ntvl.errors import PeerError
from ntvl.wire import header, stun

__all__ = ["Entry", "entry", "plain"]

Entry = dict[str, Any]


def entry(name: str, data: bytes, parse: Callable[[bytes], Any], /, **given: Any) -> Entry:
    """Returns one vector: what it is made of where that is `given`, `data`, and what `parse` says of it."""
    made = {"name": name} | ({"given": plain(given)} if given else {}) | {"hex": data.hex()}
    try:
        return made | {"meaning": plain(parse(data))}
    except PeerError as error:
        return made | {"refused": error.reason}


def plain(value: Any) -> Any:
    """Returns `value` in JSON's own types: bytes as hex, enumerations as names, fields at their defaults left out."""
    match value:
        case bytes():
            return value.hex()
        case stun.StunClass() | header.Kind():
            return value.name
        case msgspec.Struct():
            fields = {
                field.name: (getattr(value, field.name), field.default) for field in msgspec.structs.fields(value)
            }
            return {"is": type(value).__name__} | {
                name: plain(v) for name, (v, default) in fields.items() if v != default
            }
        case dict():
            return {name: plain(item) for name, item in value.items()}
        case tuple() if hasattr(value, "_asdict"):
            return {name: plain(field) for name, field in value._asdict().items()}
        case tuple() | list():
            return [plain(item) for item in value]
        case _:
            return value
