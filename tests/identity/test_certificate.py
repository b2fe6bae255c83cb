import dataclasses
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from ntvl.errors import REASONS, PeerError, UsageError
from ntvl.identity.certificate import (
    CERTIFICATE_BYTES_MAX,
    Certificate,
    issue_certificate,
    parse_certificate,
    verify_certificate,
)
from ntvl.identity.community import Community
from ntvl.identity.keys import derive_ipv6, derive_mac

HOME = Community.from_seed("home", b"a seed of the home community")
OTHER = Community.from_seed("home", b"another seed, same name")
NODE = bytes(range(32))
MALLORY = bytes(range(1, 33))
NOW = 1_000_000.0


def issue(community: Community = HOME, **fields: Any) -> bytes:
    given_fields: dict[str, Any] = {
        "node": NODE,
        "name": "laptop",
        "addresses": ("10.77.0.5/16",),
        "roles": ("gateway",),
        "groups": ("family",),
        "not_before": 999_000,
        "not_after": 1_001_000,
    }
    return issue_certificate(community, **(given_fields | fields))


def sign(community: Community, certificate: Certificate) -> bytes:
    """Signs whatever it is given, as a member with the secret and without scruples can."""
    assert community.signing_key is not None
    body = msgspec.msgpack.encode(certificate)
    return body + Ed25519PrivateKey.from_private_bytes(community.signing_key).sign(b"ntvl certificate 1" + body)


def refusal(data: bytes, wall_time: float = NOW, **expected: bytes) -> str:
    with pytest.raises(PeerError) as error:
        verify_certificate(data, wall_time=wall_time, **expected)
    assert error.value.reason in REASONS
    return error.value.reason


def test_a_certificate_says_what_was_signed() -> None:
    ipv6 = derive_ipv6(HOME.id, derive_mac(HOME.id, NODE))
    data = issue(addresses=["10.77.0.5/16", ipv6])
    certificate = verify_certificate(data, wall_time=NOW, community=HOME.id, node=NODE)
    assert certificate == parse_certificate(data)
    assert certificate == Certificate(
        version=1,
        community=HOME.id,
        community_name="home",
        node=NODE,
        name="laptop",
        mac=derive_mac(HOME.id, NODE),
        addresses=("10.77.0.5/16", ipv6),
        roles=("gateway",),
        groups=("family",),
        not_before=999_000,
        not_after=1_001_000,
    )
    assert hash(certificate) == hash(parse_certificate(data))


def test_every_altered_bit_is_refused() -> None:
    data = issue()
    for at in range(len(data)):
        for bit in range(8):
            altered = data[:at] + bytes((data[at] ^ (1 << bit),)) + data[at + 1 :]
            assert refusal(altered) in ("signature", "format", "version")


def test_every_truncation_and_every_addition_is_refused() -> None:
    data = issue()
    for length in range(len(data)):
        assert refusal(data[:length]) in ("short", "format", "version", "signature")
    for more in (b"\0", b"\xc0", bytes(64)):
        assert refusal(data + more) in ("format", "signature")


def test_a_certificate_of_another_community_is_refused_even_with_the_same_name() -> None:
    data = issue(OTHER)
    assert verify_certificate(data, wall_time=NOW).community_name == "home"
    assert refusal(data, community=HOME.id) == "unknown-community"


def test_a_certificate_that_names_our_community_but_another_key_signed_is_refused() -> None:
    forged = msgspec.structs.replace(parse_certificate(issue()), node=MALLORY, mac=derive_mac(HOME.id, MALLORY))
    assert refusal(sign(OTHER, forged), community=HOME.id) == "signature"


def test_a_certificate_of_another_node_is_refused() -> None:
    assert refusal(issue(), community=HOME.id, node=MALLORY) == "certificate-key"


def test_nobody_can_certify_itself_anothers_mac() -> None:
    stolen = msgspec.structs.replace(parse_certificate(issue(node=MALLORY)), mac=derive_mac(HOME.id, NODE))
    assert refusal(sign(HOME, stolen), community=HOME.id, node=MALLORY) == "certificate-mac"


def test_a_swapped_node_key_breaks_the_signature() -> None:
    data = issue()
    at = data.index(NODE)
    assert refusal(data[:at] + MALLORY + data[at + 32 :]) == "signature"


def test_the_order_of_verdicts() -> None:
    """What is cheap and what blames most comes first: a forged certificate is never reported as merely expired."""
    expired = parse_certificate(issue(not_before=1, not_after=2))
    wrong_mac = msgspec.structs.replace(expired, mac=bytes(6))
    assert refusal(sign(OTHER, wrong_mac), community=OTHER.id, node=MALLORY) == "signature"
    assert refusal(sign(HOME, wrong_mac), community=OTHER.id, node=MALLORY) == "certificate-mac"
    assert refusal(sign(HOME, expired), community=OTHER.id, node=MALLORY) == "unknown-community"
    assert refusal(sign(HOME, expired), community=HOME.id, node=MALLORY) == "certificate-key"
    assert refusal(sign(HOME, expired), community=HOME.id, node=NODE) == "certificate-expired"


@pytest.mark.parametrize(
    ("wall_time", "reason"),
    [
        (998_999.9, "certificate-not-yet-valid"),
        (999_000.0, None),
        (1_001_000.9, None),
        (1_001_001.0, "certificate-expired"),
        (NOW - 86_400, "certificate-not-yet-valid"),
        (NOW + 86_400, "certificate-expired"),
    ],
)
def test_validity_is_from_the_first_second_through_the_last(wall_time: float, reason: str | None) -> None:
    data = issue()
    if reason is None:
        assert verify_certificate(data, wall_time=wall_time).node == NODE
    else:
        assert refusal(data, wall_time) == reason


@pytest.mark.parametrize(
    "fields",
    [
        {"node": bytes(31)},
        {"name": ""},
        {"name": "n" * 64},
        {"name": "evil\x1b[2J"},
        {"name": "left\u202eright"},
        {"addresses": ("10.77.0.5/33",)},
        {"addresses": ("nonsense",)},
        {"addresses": ("224.0.0.1/4",)},
        {"addresses": ("0.0.0.0/0",)},
        {"addresses": ("127.0.0.1/8",)},
        {"addresses": ("::1/128",)},
        {"addresses": ("ff02::1/128",)},
        {"addresses": ("fe80::1%eth0/64",)},
        {"addresses": ("255.255.255.255/32",)},
        {"addresses": tuple(f"10.77.0.{n}/16" for n in range(9))},
        {"roles": ("Gate way",)},
        {"groups": tuple("abcdefghi")},
        {"not_before": -1},
        {"not_before": 5, "not_after": 4},
        {"not_after": 2**63},
        {"groups": tuple(c * 63 for c in "abcdefgh"), "roles": tuple(c * 63 for c in "ab")},
    ],
)
def test_a_field_out_of_bounds_is_refused_at_signing_and_at_reading(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        issue(**fields)
    loose = parse_certificate(issue())
    forged = sign(HOME, msgspec.structs.replace(loose, **fields))
    assert refusal(forged) in ("format", "long")


def test_addresses_are_written_in_their_one_spelling() -> None:
    certificate = parse_certificate(issue(addresses=("FD00:0::5/64", "10.77.0.5")))
    assert certificate.addresses == ("fd00::5/64", "10.77.0.5/32")
    sloppy = msgspec.structs.replace(certificate, addresses=("FD00:0::5/64",))
    assert refusal(sign(HOME, sloppy)) == "format"


def test_a_second_encoding_of_the_same_fields_is_refused() -> None:
    assert HOME.signing_key is not None
    body = issue()[:-64]
    key = Ed25519PrivateKey.from_private_bytes(HOME.signing_key)
    assert body[:2] == b"\x9b\x01"
    for other in (b"\x9b\xcc\x01" + body[2:], b"\xdc\x00\x0b" + body[1:], b"\x9c" + body[1:] + b"\xc0"):
        assert refusal(other + key.sign(b"ntvl certificate 1" + other)) == "format"


def test_a_later_version_is_named_as_such() -> None:
    later = msgspec.structs.replace(parse_certificate(issue()), version=2)
    assert refusal(sign(HOME, later)) == "version"
    assert refusal(msgspec.msgpack.encode([2, {"another": "layout"}]) + bytes(64)) == "version"


def test_a_signature_for_another_purpose_is_no_certificate() -> None:
    assert HOME.signing_key is not None
    body = issue()[:-64]
    assert refusal(body + Ed25519PrivateKey.from_private_bytes(HOME.signing_key).sign(body)) == "signature"


def test_without_the_signing_key_nobody_is_certified() -> None:
    with pytest.raises(UsageError, match="signing key"):
        issue(dataclasses.replace(HOME, signing_key=None))


def test_the_largest_certificate_fits() -> None:
    data = issue(
        addresses=tuple(f"fd00:1111:2222:3333:4444:5555:6666:777{n}/128" for n in range(8)), groups=("g" * 63,)
    )
    assert len(data) <= CERTIFICATE_BYTES_MAX
    assert verify_certificate(data, wall_time=NOW).groups == ("g" * 63,)


@given(data=st.binary(max_size=CERTIFICATE_BYTES_MAX + 10))
@example(b"\x9b" + bytes(100))
@example(b"\x91" * 600)
@example(b"\xdd\xff\xff\xff\xff" + bytes(100))
def test_any_bytes_are_refused_with_a_reason(data: bytes) -> None:
    for take in (parse_certificate, lambda data: verify_certificate(data, wall_time=NOW)):
        with pytest.raises(PeerError) as error:
            take(data)
        assert error.value.reason in ("short", "long", "format", "version", "signature")


@given(data=st.data())
def test_a_mangled_certificate_parses_or_is_refused_but_never_verifies(data: st.DataObject) -> None:
    original = issue()
    start = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(start, len(original)))
    mangled = original[:start] + data.draw(st.binary(max_size=80)) + original[end:]
    if mangled == original:
        return
    assert refusal(mangled) in ("short", "long", "format", "version", "signature")


words = st.from_regex(r"[a-z0-9._-]{1,20}", fullmatch=True)


@given(
    node=st.binary(min_size=32, max_size=32),
    name=st.text(min_size=1, max_size=20).filter(str.isprintable),
    addresses=st.lists(st.ip_addresses(v=4, network="10.0.0.0/8").map(lambda ip: f"{ip}/8"), max_size=8),
    roles=st.lists(words, max_size=4),
    groups=st.lists(words, max_size=4),
    start=st.integers(0, 2**40),
    length=st.integers(0, 2**40),
)
def test_whatever_is_issued_verifies(
    node: bytes, name: str, addresses: list[str], roles: list[str], groups: list[str], start: int, length: int
) -> None:
    data = issue(
        node=node,
        name=name,
        addresses=addresses,
        roles=roles,
        groups=groups,
        not_before=start,
        not_after=start + length,
    )
    certificate = verify_certificate(data, wall_time=start + length / 2, community=HOME.id, node=node)
    assert (certificate.name, certificate.addresses) == (name, tuple(addresses))
    assert (certificate.roles, certificate.groups) == (tuple(roles), tuple(groups))


@pytest.mark.parametrize(
    "name", ["a\x1b[2Jb", "tab\t", "line\u2028", "turn\u202eround", "\ufeffmark", "soft\xadhyphen"]
)
def test_a_name_that_could_disturb_a_terminal_is_refused(name: str) -> None:
    with pytest.raises((PeerError, UsageError)):
        parse_certificate(issue(name=name))


@pytest.mark.parametrize("name", ["büro", "東京", "a b", "\U0001fae8"])
def test_a_name_in_any_script_is_fine_however_new_its_characters(name: str) -> None:
    assert parse_certificate(issue(name=name)).name == name
