import ssl
import subprocess
from pathlib import Path

import pytest

from ntvl.errors import UsageError
from ntvl.runtime.tls import client_context, server_context


def shake(server: ssl.SSLContext) -> ssl.SSLObject:
    """Returns a client's end after a handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(to_client, to_server, server_hostname="sn.example.org")
    other = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (client, other):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return client


def test_a_new_certificate_will_do_for_nodes() -> None:
    client = shake(server_context())
    assert client.version() == "TLSv1.3"
    assert client.selected_alpn_protocol() == "http/1.1"


def test_a_certificate_of_ones_own_is_shown(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(certificate), "-subj", "/CN=sn.example.org"),
        ],
        check=True,
        capture_output=True,
    )
    shown = shake(server_context(certificate, key)).getpeercert(binary_form=True)
    assert shown == ssl.PEM_cert_to_DER_cert(certificate.read_text())
    with pytest.raises(UsageError, match="no PEM"):
        server_context(key, key)
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-out", str(other)], check=True)
    with pytest.raises(UsageError, match="do not belong together"):
        server_context(certificate, other)


def test_files_that_are_not_there_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        server_context(tmp_path / "c.pem", tmp_path / "k.pem")
