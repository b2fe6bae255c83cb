"""TLS as a coat: what passes where firewalls pass nothing else.

It protects nothing and proves nothing that the sessions inside do not. Nodes therefore do not verify the certificate,
and a supernode makes its own at each start unless it is given one.
"""

import datetime
import os
import ssl
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ntvl.errors import UsageError

__all__ = ["client_context", "server_context"]

LIFE_DAYS: Final = 397
"""What browsers accept at most (CA/Browser Forum, Baseline Requirements section 6.3.2), so it looks like any other."""


def client_context() -> ssl.SSLContext:
    """Returns what a node uses: TLS 1.2 or later, the certificate not verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def server_context(certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """Returns what a supernode uses.

    Args:
        certificate: a PEM file with the certificate and those above it; None for a new self-signed one.
        key: a PEM file with its key; may be the same file.
    Raises:
        UsageError: a file cannot be read, or the two do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    if certificate is None:
        _load_self_signed(context)
        return context
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        why = "the two do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else "it is no PEM"
        raise UsageError(f"cannot use the certificate {certificate} with its key {key}: {why}.") from error
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot read the certificate {certificate} or its key {key}: {why}.") from error
    return context


def _no_password() -> str:
    """Stands for the question that OpenSSL would ask a terminal."""
    return ""


def _load_self_signed(context: ssl.SSLContext) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=LIFE_DAYS - 1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # OpenSSL's Python side reads files alone; this one has no name and ends with its descriptor.
    descriptor = os.memfd_create("certificate")
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
