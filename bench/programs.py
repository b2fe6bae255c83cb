"""The programs that are measured, each with how to start it on a stage and what to do before it can carry packets.

The others run with a configuration that is fair and fast: layer 2, UDP, an authenticated cipher, large socket
buffers, no compression, and an MTU on the device that fits one datagram into 1,500 bytes, as ntvl has it.
"""

import datetime
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path

from bench.stage import OVERLAY, UNDERLAY, Stage

OTHER_MTU = 1400
_PYTHON = sys.executable


class Program(ABC):
    """Is something that carries Ethernet between hosts a and b."""

    name: str

    @abstractmethod
    def start(self, stage: Stage) -> None:
        """Starts it; afterwards b answers a across the overlay."""


class Static(Program):
    """Is ntvl's engine alone, directly or through a supernode's engine."""

    def __init__(self, *, relay: bool = False) -> None:
        self.name = "ntvl engine, relayed" if relay else "ntvl engine"
        self._relay = relay

    def start(self, stage: Stage) -> None:
        relay = [UNDERLAY["s"]] if self._relay else []
        if relay:
            stage.start("s", _PYTHON, "-m", "bench.static", "relay", UNDERLAY["a"], UNDERLAY["b"], log="relay.log")
        for host, peer in (("a", "b"), ("b", "a")):
            stage.start(
                host, _PYTHON, "-m", "bench.static", "node", host, UNDERLAY[peer], *relay, log=f"static-{host}.log"
            )
            stage.up(host, "ntvl0")


class Fastd(Program):
    """Is fastd in tap mode with one of its ciphers."""

    def __init__(self, method: str) -> None:
        self.name = f"fastd {method}"
        self._method = method

    def start(self, stage: Stage) -> None:
        keys = {}
        for host in ("a", "b"):
            out = subprocess.run(["fastd", "--generate-key"], capture_output=True, text=True, check=True).stdout
            keys[host] = [line.split()[-1] for line in out.splitlines() if line]
        for host, peer in (("a", "b"), ("b", "a")):
            config = stage.directory / f"fastd-{host}.conf"
            config.write_text(
                f'interface "vpn0";\nmode tap;\nmtu {OTHER_MTU};\nmethod "{self._method}";\nbind any:7010;\n'
                f'secret "{keys[host][0]}";\nlog level info;\n'
                f'peer "{peer}" {{ key "{keys[peer][1]}"; remote {UNDERLAY[peer]}:7010; }}\n'
            )
            stage.start(host, "fastd", "-c", str(config), log=f"fastd-{host}.log")
            stage.up(host, "vpn0", OTHER_MTU)


class Tinc(Program):
    """Is tinc 1.0 in switch mode."""

    def __init__(self, cipher: str, digest: str) -> None:
        self.name = f"tinc {cipher} {digest}"
        self._cipher = cipher
        self._digest = digest

    def start(self, stage: Stage) -> None:
        root = stage.directory / "tinc"
        for host, peer in (("a", "b"), ("b", "a")):
            (root / host / "hosts").mkdir(parents=True, exist_ok=True)
            connect = f"ConnectTo = {peer}\n" if host == "a" else ""
            (root / host / "tinc.conf").write_text(
                f"Name = {host}\nMode = switch\nDeviceType = tap\nInterface = vpn0\n{connect}"
                "UDPRcvBuf = 8388608\nUDPSndBuf = 8388608\nAddressFamily = ipv4\nProcessPriority = normal\n"
            )
            (root / host / "hosts" / host).write_text(
                f"Address = {UNDERLAY[host]}\nPort = 7020\nCipher = {self._cipher}\nDigest = {self._digest}\n"
                "Compression = 0\nPMTU = 1500\n"
            )
            subprocess.run(
                ["tincd", "-c", str(root / host), "-K", "2048"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
            )
        for host, peer in (("a", "b"), ("b", "a")):
            (root / host / "hosts" / peer).write_text((root / peer / "hosts" / peer).read_text())
            script = root / host / "tinc-up"
            script.write_text(
                f"#!/bin/sh\nip addr replace {OVERLAY[host]}/24 dev $INTERFACE\n"
                f"ip link set $INTERFACE mtu {OTHER_MTU} up\n"
            )
            script.chmod(0o755)
        for host in ("b", "a"):
            stage.start(
                host, "tincd", "-D", "-d1", "-c", str(root / host), f"--pidfile={root / host / 'pid'}",
                log=f"tinc-{host}.log",
            )  # fmt: skip


class OpenVpn(Program):
    """Is OpenVPN, tap, UDP, AES-256-GCM, in user space."""

    name = "openvpn AES-256-GCM"

    def start(self, stage: Stage) -> None:
        prints = {host: _certificate(stage.directory, host) for host in ("a", "b")}
        for host, peer in (("b", "a"), ("a", "b")):
            config = stage.directory / f"openvpn-{host}.conf"
            config.write_text(
                "dev vpn0\ndev-type tap\nproto udp\nport 7030\ndisable-dco\nfast-io\n"
                f"remote {UNDERLAY[peer]} 7030\ncert {host}.crt\nkey {host}.key\n"
                f"peer-fingerprint {prints[peer]}\n{'tls-server' if host == 'b' else 'tls-client'}\n"
                f"{'dh none' if host == 'b' else ''}\n"
                "data-ciphers AES-256-GCM\ncipher AES-256-GCM\nsndbuf 8388608\nrcvbuf 8388608\n"
                f"tun-mtu {OTHER_MTU}\nmssfix 0\ntxqueuelen 1000\nverb 3\n"
            )
            stage.start(host, "openvpn", "--config", config.name, log=f"openvpn-{host}.log", cwd=stage.directory)
            stage.up(host, "vpn0")


def _certificate(directory: Path, host: str) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (directory / f"{host}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / f"{host}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate.fingerprint(hashes.SHA256()).hex(":")
