"""Vectors of who is who: communities out of names and secrets, addresses out of keys, certificates."""

from collections.abc import Sequence
from ipaddress import IPv6Address
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from scripts.golden.cast import ALICE, BOB, COMMUNITY_NAME, NOT_AFTER, NOT_BEFORE, SECRET, WALL, certificate, home
from scripts.golden.entry import Entry, entry

from ntvl.identity.certificate import CERTIFICATE_VERSION, issue_certificate, verify_certificate
from ntvl.identity.community import Community
from ntvl.identity.keys import derive_ipv6, derive_mac, format_key
from ntvl.wire.ethernet import format_mac

__all__ = ["identity_vectors"]


def identity_vectors() -> list[Entry]:
    """Returns derivations and certificates."""
    return [*_communities(), *_addresses(), *_certificates()]


def _communities() -> list[Entry]:
    def derived(name: str, secret: str) -> Entry:
        community = home(secret)

        def explain(_: bytes) -> dict[str, Any]:
            return {"id": community.id, "signing_key": community.signing_key, "psk": community.psk}

        material = (community.signing_key or b"") + community.psk
        return entry(name, material, explain, name=COMMUNITY_NAME, secret_utf8=secret.encode())

    return [
        derived(f"a community: 64 bytes of Argon2id out of its name and the secret {SECRET!r}", SECRET),
        derived("a secret with a composed letter", "Z\u00fcrich"),
        derived("the same secret typed with a combining mark: the same community", "Zu\u0308rich"),
    ]


def _addresses() -> list[Entry]:
    community = home().id
    made = []
    for name, node in (("Alice", ALICE.public), ("Bob", BOB.public)):
        mac = derive_mac(community, node)
        ipv6 = derive_ipv6(community, mac)
        packed = IPv6Address(ipv6.partition("/")[0]).packed
        made += [
            entry(f"{name}'s key as people see it", node, lambda data: {"text": format_key(data)}),
            entry(f"{name}'s MAC", mac, lambda data: {"text": format_mac(data)}, community=community, node=node),
            entry(f"{name}'s IPv6 address", packed, _explain_ipv6, community=community, mac=mac),
        ]
    return made


def _explain_ipv6(packed: bytes) -> dict[str, str]:
    return {"text": f"{IPv6Address(packed)}/64"}


def _certificates() -> list[Entry]:
    alice = certificate(ALICE.public, "büro-pc", "10.77.0.5/16")
    mac, ipv6 = derive_mac(home().id, ALICE.public), derive_ipv6(home().id, derive_mac(home().id, ALICE.public))
    other = Community.from_seed(COMMUNITY_NAME, b"another key under the same name")
    fields: list[Any] = [CERTIFICATE_VERSION, home().id, COMMUNITY_NAME, ALICE.public, "büro-pc", mac]
    fields += [["10.77.0.5/16", ipv6], [], [], NOT_BEFORE, NOT_AFTER]
    everything = issue_certificate(
        home(),
        node=BOB.public,
        name="gate",
        addresses=("10.77.0.6/16",),
        roles=("bridge", "gateway"),
        groups=("staff",),
        not_before=0,
        not_after=2**63 - 1,
    )
    return [
        _judged("Alice's certificate", alice),
        _judged("a certificate with roles and groups, for ever", everything, node=BOB.public),
        _judged("its last second", alice, wall_time=NOT_AFTER),
        _judged("a second later", alice, wall_time=NOT_AFTER + 1),
        _judged("a second too early", alice, wall_time=NOT_BEFORE - 1),
        _judged("a bit of the signature turned", alice[:-1] + bytes((alice[-1] ^ 1,))),
        _judged("signed without the domain", _sign(_encode(fields), domain=b"")),
        _judged("of another community of that name", _sign(_encode([1, other.id, *fields[2:]]), other)),
        _judged("the same with the MAC that belongs to it", _sign(_encode(_moved(fields, other)), other)),
        _judged("for another node", alice, node=BOB.public),
        _judged("with the MAC of another", _sign(_encode([*fields[:5], bytes.fromhex("020000000001"), *fields[6:]]))),
        _judged("a body that is not the shortest msgpack", _sign(b"\xdc\x00\x0b" + _encode(fields)[1:])),
        _judged("a field too many", _sign(_encode([*fields, 0]))),
        _judged("a field too few", _sign(_encode(fields[:-1]))),
        _judged("version 2", _sign(_encode([2, *fields[1:], "more"]))),
        _judged("an address without prefix length", _sign(_encode([*fields[:6], ["10.77.0.5"], *fields[7:]]))),
        _judged("an address in another spelling", _sign(_encode([*fields[:6], ["fd00::0:1/64"], *fields[7:]]))),
        _judged("ends before it begins", _sign(_encode([*fields[:9], NOT_AFTER, NOT_BEFORE]))),
        _judged("nothing but a signature", alice[-64:]),
    ]


def _judged(name: str, data: bytes, *, wall_time: int = WALL, node: bytes = ALICE.public) -> Entry:
    community = home().id
    return entry(
        f"certificate: {name}",
        data,
        lambda data: verify_certificate(data, wall_time=wall_time, community=community, node=node),
        wall_time=wall_time,
        community=community,
        node=node,
    )


def _encode(fields: Sequence[Any]) -> bytes:
    return msgspec.msgpack.encode(fields)


def _moved(fields: list[Any], community: Community) -> list[Any]:
    return [1, community.id, *fields[2:5], derive_mac(community.id, ALICE.public), *fields[6:]]


def _sign(body: bytes, community: Community | None = None, domain: bytes = b"ntvl certificate 1") -> bytes:
    key = (community or home()).signing_key or b""
    return body + Ed25519PrivateKey.from_private_bytes(key).sign(domain + body)
