"""The page about the wire format is enough: a reader written from it alone makes and understands the golden vectors."""

import ast
import ipaddress
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scripts.golden.plaintext import super_frame
from tests.guards import second_reader as second
from tests.guards.tree import ROOT

from ntvl.dataplane.packer import Packer
from ntvl.wire import vnet

KINDS: Final = {"peer": 1, "supernode": 0}
TEXTS: Final = frozenset(
    ("is", "text", "kind", "cipher", "protocol", "first", "name", "community_name", "addresses", "roles", "groups")
)
"""What is text in a vector; any other string is bytes in hex."""


def load(name: str) -> list[dict[str, Any]]:
    """Returns the vectors of a file, hex made bytes wherever it stands."""
    entries = json.loads((ROOT / "vectors" / name).read_text())
    return [
        {key: from_hex(value, key) if key in ("given", "meaning", "hex") else value for key, value in vector.items()}
        for vector in entries
    ]


def from_hex(value: Any, key: str) -> Any:
    match value:
        case dict():
            return {name: from_hex(item, name) for name, item in value.items()}
        case list():
            return [from_hex(item, key) for item in value]
        case str() if key not in TEXTS:
            return bytes.fromhex(value)
    return value


def named(vectors: list[dict[str, Any]], start: str) -> list[dict[str, Any]]:
    found = [vector for vector in vectors if vector["name"].startswith(start)]
    assert found, f"no vector begins with {start!r}"
    return found


def judge(vector: dict[str, Any], act: Callable[[], Any]) -> Any:
    """Returns what `act` gives, or checks that it refuses what the vector says is refused, for the same reason."""
    if "refused" not in vector:
        return act()
    with pytest.raises(second.RefusedError) as caught:
        act()
    assert str(caught.value) == vector["refused"], vector["name"]
    return None


IDENTITY: Final = load("identity.json")
HANDSHAKE: Final = load("handshake.json")
SESSION: Final = load("session.json")
PLAINTEXT: Final = load("plaintext.json")


def ids(vectors: list[dict[str, Any]]) -> dict[str, Any]:
    return {"argvalues": vectors, "ids": [vector["name"] for vector in vectors]}


def test_the_second_reader_shares_no_code_with_the_first() -> None:
    tree = ast.parse(Path(second.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in names if name.split(".")[0] in ("ntvl", "scripts")]


# --- identity ---


@pytest.mark.parametrize("vector", **ids([v for v in IDENTITY if "secret_utf8" in v.get("given", {})]))
def test_communities(vector: dict[str, Any]) -> None:
    given = vector["given"]
    derived = second.derive_community(given["name"], given["secret_utf8"].decode())
    assert derived == vector["meaning"]
    assert derived["signing_key"] + derived["psk"] == vector["hex"]


def test_keys_and_addresses() -> None:
    for person in ("Alice", "Bob"):
        key, mac, ipv6 = (named(IDENTITY, f"{person}'s {what}")[0] for what in ("key", "MAC", "IPv6"))
        assert second.format_key(key["hex"]) == key["meaning"]["text"]
        assert second.derive_mac(mac["given"]["community"], mac["given"]["node"]) == mac["hex"]
        assert mac["hex"].hex(":") == mac["meaning"]["text"]
        assert second.derive_ipv6(ipv6["given"]["community"], ipv6["given"]["mac"]) == ipv6["hex"]
        assert f"{ipaddress.IPv6Address(ipv6['hex'])}/64" == ipv6["meaning"]["text"]


@pytest.mark.parametrize("vector", **ids([v for v in IDENTITY if v["name"].startswith("certificate")]))
def test_certificates(vector: dict[str, Any]) -> None:
    fields = judge(vector, lambda: second.judge_certificate(vector["hex"], **vector["given"]))
    if fields is not None:
        assert fields == [value for name, value in vector["meaning"].items() if name != "is"]


# --- handshake ---


@pytest.mark.parametrize("to", KINDS)
def test_a_handshake_is_made_byte_by_byte(to: str) -> None:
    kind = KINDS[to]
    first, reply, again, response, keys = named(HANDSHAKE, f"{to}: ")
    given = first["given"]
    psk, responder = given.get("psk"), second.public_of(given["responder_private"])

    def initiator(vector: dict[str, Any]) -> Any:
        asked = vector["given"]
        return second.noise(
            kind, private=asked["initiator_private"], psk=psk, ephemeral=asked["initiator_ephemeral"], remote=responder
        )

    assert second.build_initiation(initiator(first), kind, responder, given) == first["hex"]

    asked = reply["given"]
    cookie = second.bake_cookie(asked["cookie_secret"], asked["source"])
    assert asked["responder_public"] == responder
    assert asked["mac1"] == first["meaning"]["mac1"] == first["hex"][-32:-16]
    made = second.build_cookie_reply(given["index"], responder, asked["nonce"], cookie, asked["mac1"])
    assert made == reply["hex"]
    assert second.open_cookie_reply(made, responder, asked["mac1"]) == cookie == again["given"]["cookie"]

    ours = initiator(again)
    assert second.build_initiation(ours, kind, responder, again["given"]) == again["hex"]

    answer = response["given"]
    theirs = second.noise(kind, private=answer["responder_private"], psk=psk, ephemeral=answer["responder_ephemeral"])
    inner = bytes(theirs.read_message(again["hex"][8:-32]))
    aes = bool(inner[0] & 1 and answer["aes"])
    initiator_public = second.public_of(given["initiator_private"])
    made = second.build_response(theirs, initiator_public, again["hex"][4:8], aes, answer)
    assert made == response["hex"]

    opened = second.open_response(ours, made, initiator_public, again["given"]["index"], aes=again["given"]["aes"])
    assert opened == (aes, answer["index"], answer["payload"])
    assert ours.get_handshake_hash() == theirs.get_handshake_hash() == keys["given"]["handshake_hash"]
    split = ours.noise_protocol.cipher_state_encrypt.k, ours.noise_protocol.cipher_state_decrypt.k
    assert split == (keys["given"]["split_to_responder"], keys["given"]["split_to_initiator"])
    assert second.session_keys(*split) == keys["hex"]
    meaning = keys["meaning"]
    assert meaning["cipher"] == ("aes256gcm" if aes else "chacha20poly1305")
    assert (meaning["index_at_responder"], meaning["index_at_initiator"]) == (answer["index"], again["given"]["index"])
    in_order = ("data_to_responder", "data_to_initiator", "control_to_responder", "control_to_initiator")
    assert b"".join(meaning[name] for name in in_order) == keys["hex"]


@pytest.mark.parametrize("vector", **ids([v for v in HANDSHAKE if "initiation" in v["name"] and v["hex"][0] == 0x81]))
def test_initiations_are_opened(vector: dict[str, Any]) -> None:
    opened = judge(vector, lambda: second.open_initiation(vector["hex"], vector["given"]["responder_private"]))
    if opened is not None:
        _, remote, inner = opened
        meaning = vector["meaning"]
        assert (remote, *inner) == (meaning["remote"], meaning["flags"], meaning["index"], meaning["payload"])


@pytest.mark.parametrize("vector", **ids([v for v in HANDSHAKE if "refused" in v and v["hex"][0] == 0x82]))
def test_responses_are_refused(vector: dict[str, Any]) -> None:
    given = vector["given"]
    private, public = given["initiator_private"], second.public_of(given["initiator_private"])
    ours = second.noise(
        1, private=private, psk=given["psk"], ephemeral=given["initiator_ephemeral"], remote=given["responder_public"]
    )
    second.build_initiation(ours, 1, given["responder_public"], given)
    judge(vector, lambda: second.open_response(ours, vector["hex"], public, given["index"], aes=given["aes"]))


@pytest.mark.parametrize("vector", **ids([v for v in HANDSHAKE if "refused" in v and v["hex"][0] == 0x83]))
def test_cookies_are_refused(vector: dict[str, Any]) -> None:
    given = vector["given"]
    judge(vector, lambda: second.open_cookie_reply(vector["hex"], given["responder_public"], given["mac1"]))


# --- sessions ---


@pytest.mark.parametrize("vector", **ids([v for v in SESSION if v["name"] != "CONTROL: the same datagram twice"]))
def test_sealed_datagrams(vector: dict[str, Any]) -> None:
    given, keys = vector["given"], named(HANDSHAKE, "peer: the keys")[0]["meaning"]
    kind, cipher = vector["hex"][0], given.get("cipher", "chacha20poly1305")
    assert given["key"] == keys["control_to_responder" if kind == 0x84 else "data_to_responder"]
    index = keys["index_at_responder"]
    opened = judge(vector, lambda: second.open_sealed(vector["hex"], cipher, given["key"], index))
    if opened is not None:
        number, plain = opened
        assert number == vector["meaning"]["number"]
        assert plain == given["body" if kind == 0x84 else "plain"]
        assert second.seal(kind, index, number, cipher, given["key"], plain) == vector["hex"]


# --- data plaintext ---


def test_frames_are_packed_alike() -> None:
    whole = [vector for vector in PLAINTEXT if "given" in vector]
    firsts = [vector for vector in whole if "frames" in vector["given"]]
    assert len(firsts) == 6
    for first in firsts:
        series = [first, *(v for v in whole if v["given"].get("first") == first["name"])]
        assert second.pack(first["given"]["frames"]) == [vector["hex"] for vector in series]


@pytest.mark.parametrize("vector", **ids(PLAINTEXT))
def test_plaintexts(vector: dict[str, Any]) -> None:
    plain = vector["hex"]

    def deliver() -> list[bytes]:
        if not plain:
            second.refuse("short")
        if plain[0] in (1, 4):
            return second.frames_of(plain)
        if plain[0] == 2:
            offset, run, layout, data = second.piece_of(plain)
            if "meaning" in vector:
                assert (offset, run) == (vector["meaning"]["offset"], vector["meaning"]["run"])
                assert layout._asdict() == vector["meaning"]["layout"]
            return [second.part_alone(plain[5:], layout, offset, data)]
        if plain[0] == 3:
            run, offset, total, data = second.fragment_of(plain)
            if "meaning" in vector:
                meaning = vector["meaning"]
                assert (run, offset, total) == (meaning["run"], meaning["offset"], meaning["total"])
            return [data] if len(data) == total else []
        return second.refuse("type")

    delivered = judge(vector, deliver)
    if delivered is not None:
        assert delivered == vector["meaning"]["delivered_alone"]


# --- both readers, on anything ---

GSO_TYPES: Final = (vnet.GSO_TCPV4, vnet.GSO_TCPV6, vnet.GSO_UDP)


@given(st.lists(st.integers(24, 1600) | st.integers(1380, 1402), min_size=1, max_size=12))
def test_both_pack_any_frames_alike(sizes: list[int]) -> None:
    frames = [bytes(10) + bytes([place]) * (size - 10) for place, size in enumerate(sizes)]
    assert second.pack(frames) == [plain for group in Packer().pack(frames) for plain in group]


@given(st.sampled_from(GSO_TYPES), st.integers(1, 2000), st.integers(1400, 20000), st.data())
def test_both_cut_any_super_frame_alike_and_make_the_same_of_any_part(
    gso_type: int, gso_size: int, size: int, data: st.DataObject
) -> None:
    assume(size <= gso_size * 4096)
    frame = super_frame(gso_type, gso_size, size)
    assert second.pack([frame]) == [plain for group in Packer().pack([frame]) for plain in group]
    layout, ours = second.layout_of(frame), vnet.parse_super_frame(frame)
    assert tuple(layout) == tuple(ours)
    unit = 1 if layout.is_tcp else gso_size
    offset = data.draw(st.integers(0, (size - 1) // unit)) * unit
    length = min(size - offset, data.draw(st.integers(1, -(-size // unit))) * unit)
    part = vnet.build_part(frame, ours, offset, length)
    assert second.part_alone(frame, layout, offset, bytes(length)) == part + bytes(length)
