"""TURN (RFC 8656) as the server that most people run speaks it: coturn."""

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.runtime.namespace import in_namespace, ip

from ntvl.identity.turn_uri import parse_turn_uri
from ntvl.runtime.turn import RelayChange, TurnRelay
from ntvl.wire.address import Address
from ntvl.wire.credential import Credentials

SERVER = "203.0.113.1"
PEER = "203.0.113.2"
NAME = "turn.example.org"
GOOD = Credentials("alice", "correct horse")
URIS = [f"turn:{NAME}:3478", f"turn:{NAME}:3478?transport=tcp", f"turns:{NAME}:5349"]
OVER = pytest.mark.parametrize("uri", URIS, ids=["udp", "tcp", "tls"])

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("turnserver", "ip")]


def make_certificate(path: Path, name: str) -> None:
    """Writes a self-made certificate for a name, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (path / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def start_coturn(path: Path, log: Path, *more: str) -> subprocess.Popen[bytes]:
    """Starts a server in the calling thread's namespace."""
    for host in (SERVER, PEER):
        ip(f"address replace {host}/24 dev lo")
    make_certificate(path, NAME)
    path.chmod(0o755)
    program = shutil.which("turnserver", path="/usr/bin:/usr/local/bin")
    assert program is not None
    with log.open("wb") as output:
        return subprocess.Popen(
            [
                *(program, "-n", "-v", "--no-cli", "--lt-cred-mech", "--realm", "example.org"),
                *("--user", f"{GOOD.username}:{GOOD.password}", "--listening-ip", SERVER, "--relay-ip", SERVER),
                *("--cert", str(path / "cert.pem"), "--pkey", str(path / "key.pem"), "--log-file", "stdout"),
                *("--pidfile", str(path / "pid"), "--userdb", str(path / "db"), *more),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@asynccontextmanager
async def coturn(path: Path, *more: str) -> AsyncIterator[Path]:
    """Gives the log of a running server."""
    log = path / "log"
    process = start_coturn(path, log, *more)
    try:
        for port in (3478, 5349):
            await until(partial(listens, port), f"coturn listens on {port}", log)
        yield log
    finally:
        process.terminate()
        try:
            process.wait(3.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(SERVER, port)
    except OSError:
        return False
    writer.close()
    return True


def end_of(log: Path) -> str:
    return log.read_text()[-3000:]


async def until(wanted: Callable[[], Awaitable[bool]], what: str, log: Path, timeout_s: float = 8.0) -> None:
    """Returns once `wanted` is true."""
    for _ in range(int(timeout_s / 0.05)):
        if await wanted():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not in {timeout_s:g} s: {what}\n{end_of(log)}")


class Client:
    """Is a relay of ours, and what it told."""

    def __init__(self, uri: str, path: Path, credentials: Credentials = GOOD, *, trusts: bool = True) -> None:
        tls = ssl.create_default_context(cafile=str(path / "cert.pem") if trusts else None)
        self.path = path
        self.received: asyncio.Queue[tuple[Address, bytes]] = asyncio.Queue()
        self.changes: asyncio.Queue[RelayChange] = asyncio.Queue()
        self.relay = TurnRelay(
            parse_turn_uri(uri),
            credentials,
            on_data=lambda peer, data: self.received.put_nowait((peer, data)),
            on_change=self.changes.put_nowait,
            tls=tls,
            lookup=lambda host, port: [Address(SERVER, port)],
        )

    async def change(self, timeout_s: float = 8.0) -> RelayChange:
        await self.relay.start()
        try:
            async with asyncio.timeout(timeout_s):
                return await self.changes.get()
        except TimeoutError:
            raise AssertionError(end_of(self.path / "log")) from None

    async def allocate(self) -> Address:
        change = await self.change()
        assert change.relayed is not None, change.reason
        assert change.relayed.host == SERVER
        return change.relayed


class PlainPeer(AbstractContextManager["PlainPeer"]):
    """Is an UDP socket that knows of no TURN."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((PEER, 0))
        self.socket.setblocking(False)
        self.address = Address(PEER, self.socket.getsockname()[1])

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    async def receive(self, timeout_s: float = 5.0) -> tuple[bytes, Address]:
        async with asyncio.timeout(timeout_s):
            data, source = await asyncio.get_running_loop().sock_recvfrom(self.socket, 2048)
        return data, Address(*source)

    async def send(self, data: bytes, to: Address) -> None:
        await asyncio.get_running_loop().sock_sendto(self.socket, data, tuple(to))


async def exchange(client: Client, peer: PlainPeer, relayed: Address, words: bytes) -> None:
    """Has a datagram go there and back by the relay."""
    client.relay.send(peer.address, words)
    assert await peer.receive() == (words, relayed)
    await peer.send(words[::-1], relayed)
    async with asyncio.timeout(5.0):
        assert await client.received.get() == (peer.address, words[::-1])


@OVER
def test_data_goes_both_ways_and_the_allocation_is_given_back(tmp_path: Path, uri: str) -> None:
    async def scenario() -> None:
        async with coturn(tmp_path) as log:
            client = Client(uri, tmp_path)
            with PlainPeer() as peer:
                relayed = await client.allocate()
                for number in range(3):
                    await exchange(client, peer, relayed, b"by indication %d" % number)
                assert "CHANNEL_BIND" not in log.read_text()
                for number in range(20):
                    await exchange(client, peer, relayed, b"by channel" + b"." * number)
                assert "CHANNEL_BIND processed, success" in log.read_text()
                await exchange(client, peer, relayed, bytes(1432))
                assert client.relay.drops == {}
                await client.relay.close()
                assert client.relay.relayed is None
                peer.socket.connect(tuple(relayed))
                await until(lambda: is_refused(peer.socket), "the relayed address is closed", log)
                assert client.changes.empty()

    in_namespace(scenario, 40.0)


async def is_refused(sock: socket.socket) -> bool:
    """Returns whether the kernel says that nobody is at the other end."""
    try:
        sock.send(b"anybody?")
        await asyncio.sleep(0.02)
        sock.recv(10)
    except ConnectionRefusedError:
        return True
    except BlockingIOError:
        pass
    return False


def test_allocations_are_renewed_and_new_nonces_are_taken(tmp_path: Path) -> None:
    async def keep(client: Client) -> None:
        with PlainPeer() as peer:
            relayed = await client.allocate()
            for number in range(6):  # more than two lifetimes
                await exchange(client, peer, relayed, b"still there %d" % number)
                await asyncio.sleep(1.0)
            assert client.relay.relayed == relayed
            assert client.changes.empty()
            await client.relay.close()

    async def scenario() -> None:
        async with coturn(tmp_path, "--max-allocate-lifetime", "2", "--stale-nonce=1") as log:
            await asyncio.gather(*(keep(Client(uri, tmp_path)) for uri in URIS))
            assert "stale nonce" in log.read_text().lower()

    in_namespace(scenario, 40.0)


def test_only_who_was_permitted_gets_through(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coturn(tmp_path):
            client = Client(URIS[0], tmp_path)
            relayed = await client.allocate()
            with PlainPeer() as peer:
                await peer.send(b"before", relayed)
                await asyncio.sleep(0.3)  # the server has read it before the permission comes
                client.relay.permit(PEER)
                async with asyncio.timeout(5.0):
                    while client.received.empty():
                        await peer.send(b"after", relayed)
                        await asyncio.sleep(0.05)
                assert client.received.get_nowait() == (peer.address, b"after")
            await client.relay.close()

    in_namespace(scenario, 40.0)


def test_a_quota_is_told_in_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coturn(tmp_path, "--user-quota=1"):
            first, second = (Client(URIS[0], tmp_path) for _ in range(2))
            await first.allocate()
            reason = "the user has all the allocations that the server allows"
            assert await second.change() == RelayChange(None, reason=reason)
            await second.relay.close()
            await first.relay.close()

    in_namespace(scenario, 40.0)


@OVER
@pytest.mark.parametrize("wrong", [Credentials("alice", "wrong"), Credentials("mallory", "correct horse")])
def test_wrong_credentials_are_told_in_words(tmp_path: Path, uri: str, wrong: Credentials) -> None:
    async def scenario() -> None:
        async with coturn(tmp_path):
            client = Client(uri, tmp_path, wrong)
            change = await client.change()
            assert change == RelayChange(None, reason="the server does not know this user name with this password")
            await client.relay.close()

    in_namespace(scenario, 40.0)


def test_a_certificate_that_is_not_trusted_or_for_another_name_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coturn(tmp_path):
            stranger = Client(URIS[2], tmp_path, trusts=False)
            assert "its certificate is not good: self-signed certificate" in (await stranger.change()).reason
            await stranger.relay.close()
            misnamed = Client("turns:other.example.org:5349", tmp_path)
            assert "other.example.org" in (await misnamed.change()).reason
            await misnamed.relay.close()

    in_namespace(scenario, 40.0)


def test_a_server_that_comes_back_is_found_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coturn(tmp_path):
            client = Client(URIS[1], tmp_path)
            await client.allocate()
        assert "the connection with the server is lost" in (await client.change()).reason
        async with coturn(tmp_path):
            while (change := await client.change()).relayed is None:
                pass
            with PlainPeer() as peer:
                await exchange(client, peer, change.relayed, b"again")
            await client.relay.close()

    in_namespace(scenario, 40.0)
