"""Membership certificates: the community's key says that a node key is a member, under what name, MAC and addresses.

    certificate     body | Ed25519 signature, 64 bytes
    body            msgpack array of the fields of `Certificate`, in order, in the only encoding that `msgspec` writes
    signed          "ntvl certificate 1" | body

There is one valid encoding of a certificate: a body that does not come out of the encoder again byte for byte is
refused, so a certificate's hash may stand for the certificate. The MAC is written down and must be the one that follows
from the keys.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta

from ntvl.errors import PeerError, UsageError
from ntvl.identity.community import NAME_PATTERN, Community
from ntvl.identity.keys import derive_mac

__all__ = [
    "CERTIFICATE_BYTES_MAX",
    "CERTIFICATE_VERSION",
    "Certificate",
    "issue_certificate",
    "parse_certificate",
    "verify_certificate",
]

CERTIFICATE_VERSION: Final = 1
CERTIFICATE_BYTES_MAX: Final = 800
"""Fits a handshake initiation and a `Register`, each in one datagram."""
_SIGNATURE_BYTES: Final = 64
_DOMAIN: Final = b"ntvl certificate 1"

_Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
_Word = Annotated[str, Meta(pattern=NAME_PATTERN)]
_Cidr = Annotated[str, Meta(max_length=49)]
_Seconds = Annotated[int, Meta(ge=0, le=0x7FFFFFFFFFFFFFFF)]


_UNFIT: Final = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u061c\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ud800-\udfff\ufeff\ufff9-\ufffb]"
)
"""What a name may not contain: control and format characters, and spaces that look like another; a fixed list, so that
every version of every reader refuses the same names."""


class Certificate(msgspec.Struct, frozen=True, array_like=True):
    """Is what a certificate says; believe it only from `verify_certificate`.

    Attributes:
        version: 1.
        community: the community's id, 32 bytes, whose key signed.
        community_name: the community's name.
        node: the node's public key, 32 bytes.
        name: 1..63 printable characters; unique only by courtesy.
        mac: 6 bytes, `derive_mac(community, node)`.
        addresses: at most 8, CIDR text like "10.77.0.5/16", canonical, unicast.
        roles: at most 8 words ("gateway", "bridge", "relay").
        groups: at most 8 words, for policy.
        not_before: seconds since the Unix epoch, first valid second.
        not_after: seconds since the Unix epoch, last valid second.
    """

    version: Annotated[int, Meta(ge=0, le=255)]
    community: _Key
    community_name: _Word
    node: _Key
    name: Annotated[str, Meta(min_length=1, max_length=63)]
    mac: Annotated[bytes, Meta(min_length=6, max_length=6)]
    addresses: Annotated[tuple[_Cidr, ...], Meta(max_length=8)]
    roles: Annotated[tuple[_Word, ...], Meta(max_length=8)]
    groups: Annotated[tuple[_Word, ...], Meta(max_length=8)]
    not_before: _Seconds
    not_after: _Seconds


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Certificate)
_RAW_DECODER: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])


def issue_certificate(
    community: Community,
    *,
    node: bytes,
    name: str,
    addresses: Iterable[str],
    roles: Iterable[str] = (),
    groups: Iterable[str] = (),
    not_before: int,
    not_after: int,
) -> bytes:
    """Returns a certificate signed by the community's key, at most 800 bytes; some 60 µs.

    Args:
        community: one that holds its signing key.
        node: the member's public key, 32 bytes.
        name: 1..63 printable characters.
        addresses: CIDR text; host bits stay, spelling is made canonical.
        roles, groups: words as a community's name may be.
        not_before, not_after: seconds since the Unix epoch; set `not_before` back by more than clocks differ.
    Raises:
        UsageError: this node cannot certify, or a field is out of bounds.
    """
    if community.signing_key is None:
        raise UsageError(
            f"This node holds no signing key of the community {community.name!r}; ask its administrator to certify."
        )
    try:
        canonical = tuple(str(ipaddress.ip_interface(address)) for address in addresses)
    except ValueError as error:
        raise UsageError(f"An address cannot go into a certificate: {error}; write it like 10.77.0.5/16.") from error
    body = _ENCODER.encode(
        Certificate(
            version=CERTIFICATE_VERSION,
            community=community.id,
            community_name=community.name,
            node=node,
            name=name,
            mac=derive_mac(community.id, node),
            addresses=canonical,
            roles=tuple(roles),
            groups=tuple(groups),
            not_before=not_before,
            not_after=not_after,
        )
    )
    data = body + Ed25519PrivateKey.from_private_bytes(community.signing_key).sign(_DOMAIN + body)
    try:
        parse_certificate(data)
    except PeerError as error:
        raise UsageError(f"A certificate for {name[:63]!r} cannot be written: {error}.") from error
    return data


def parse_certificate(data: bytes) -> Certificate:
    """Returns what a certificate claims, of whatever signature.

    Args:
        data: any bytes.
    Raises:
        PeerError: reason "short", "long", "version" or "format".
    """
    if len(data) > CERTIFICATE_BYTES_MAX:
        raise PeerError("long", "certificate")
    if len(data) <= _SIGNATURE_BYTES:
        raise PeerError("short", "certificate")
    body = bytes(data[:-_SIGNATURE_BYTES])
    try:
        certificate: Certificate = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if _parse_version(body) not in (None, CERTIFICATE_VERSION):
            raise PeerError("version", "certificate") from error
        raise PeerError("format", f"certificate: {error}") from error
    if certificate.version != CERTIFICATE_VERSION:
        raise PeerError("version", "certificate")
    if _ENCODER.encode(certificate) != body:
        raise PeerError("format", "certificate in another encoding")
    _check_fields(certificate)
    return certificate


def verify_certificate(
    data: bytes, *, wall_time: float, community: bytes | None = None, node: bytes | None = None
) -> Certificate:
    """Returns a certificate that its community's key signed, for the expected node, valid now.

    Costs some 150 µs, nearly all of it the signature; a caller that sees the same bytes again may keep the result, and
    then needs to compare only `not_before` and `not_after` with the time.

    Args:
        data: any bytes.
        wall_time: seconds since the Unix epoch; no grace: issuers set `not_before` back.
        community: the id of the only community to accept, or None for any (then look at `.community`).
        node: the only node key to accept, or None for any.
    Raises:
        PeerError: in this order, reason "short", "long", "version" or "format"; "signature"; "certificate-mac";
            "unknown-community"; "certificate-key"; "certificate-not-yet-valid" or "certificate-expired".
    """
    certificate = parse_certificate(data)
    try:
        Ed25519PublicKey.from_public_bytes(certificate.community).verify(
            bytes(data[-_SIGNATURE_BYTES:]), _DOMAIN + data[:-_SIGNATURE_BYTES]
        )
    except (InvalidSignature, ValueError) as error:
        raise PeerError("signature") from error
    if certificate.mac != derive_mac(certificate.community, certificate.node):
        raise PeerError("certificate-mac")
    if community is not None and certificate.community != community:
        raise PeerError("unknown-community", certificate.community_name)
    if node is not None and certificate.node != node:
        raise PeerError("certificate-key", certificate.name)
    if wall_time < certificate.not_before:
        raise PeerError("certificate-not-yet-valid", certificate.name)
    if wall_time >= certificate.not_after + 1:
        raise PeerError("certificate-expired", certificate.name)
    return certificate


def _check_fields(certificate: Certificate) -> None:
    if _UNFIT.search(certificate.name):
        raise PeerError("format", "certificate name")
    if certificate.not_after < certificate.not_before:
        raise PeerError("format", "certificate validity")
    for text in certificate.addresses:
        try:
            interface = ipaddress.ip_interface(text)
        except ValueError as error:
            raise PeerError("format", f"certificate address {text!r}") from error
        ip = interface.ip
        if (
            str(interface) != text
            or "%" in text
            or getattr(ip, "ipv4_mapped", None) is not None
            or ip.is_multicast
            or ip.is_unspecified
            or ip.is_loopback
            or str(ip) == "255.255.255.255"
        ):
            raise PeerError("format", f"certificate address {text!r}")


def _parse_version(body: bytes) -> int | None:
    try:
        parts = _RAW_DECODER.decode(body)
        return msgspec.msgpack.decode(parts[0], type=int) if parts else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
