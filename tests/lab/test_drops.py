"""What streams drop is in the status of a running node, beside what its control plane and engine drop."""

import sys
from collections import Counter

import pytest
from tests.lab.overlay import Overlay, eventually

from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites

pytestmark = [
    pytest.mark.lab,
    pytest.mark.needs_root,
    pytest.mark.needs_program("ip", "nft"),
    pytest.mark.timeout(90),
]

PORT = 1971
SOURCE = 4444
"""From here alone a TCP connection between the two hosts gets through, so that theirs do not."""
RULES = """
add table inet t
add chain inet t i {{ type filter hook input priority 0; }}
add rule inet t i iifname != "lo" meta l4proto udp drop
add rule inet t i ip saddr {other} tcp {end} != {source} drop
"""

# Answers whoever connects as another program would.
STRANGER = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print('{"event": "ready"}', flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\\r\\n")
    connection.close()
"""
# Connects from a fixed port, says what a later version might, and waits until it is hung up on.
LATER = """
import socket, sys
host, port, source = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with socket.create_connection((host, port), 5, ("0.0.0.0", source)) as connection:
    connection.sendall(b"ntvl-stream/2\\n")
    while connection.recv(100):
        pass
"""


def test_status_counts_what_streams_to_supernodes_and_peers_drop() -> None:
    with Stage(build_sites({}, publics=("supernode", "stranger", "a", "b"))) as stage:
        overlay = Overlay(stage)
        host = stage.address("stranger")
        stranger = stage.start("stranger", [sys.executable, "-c", STRANGER, host, str(PORT)], name="the stranger")
        stranger.wait_event(lambda fields: fields.get("event") == "ready", 10.0)
        for machine, other, end in (("a", "b", "sport"), ("b", "a", "dport")):
            rules = RULES.format(other=stage.address(other), end=end, source=SOURCE)
            stage.run(machine, ["nft", "-f", "-"], stdin=rules)

        def drops() -> Counter[str]:
            return Counter(overlay.members["a"].status()["drops"])

        def listening() -> list[str]:
            lines = stage.run("a", ["ss", "-4ltnH"]).stdout.splitlines()
            return [line.split()[3].rpartition(":")[2] for line in lines]

        overlay.start("a", arguments=("--supernode", f"{host}:{PORT}"))
        overlay.members["a"].wait_address()
        eventually(lambda: drops()["type"], 15.0, "the stranger at a supernode's address to be counted")
        assert not listening(), "it was no stream to a peer"
        assert drops()["version"] == 0
        overlay.start("b")
        overlay.wait("a", "b")
        echo = overlay.echo("a", "b", 0.1)
        eventually(listening, 30.0, "a port for streams to a peer")
        stage.run("b", [sys.executable, "-c", LATER, stage.address("a"), listening()[0], str(SOURCE)])
        eventually(lambda: drops()["version"], 5.0, "the other version to be counted")
        assert drops()["version"] == 1
        assert echo.stop().first_reply_s is not None, "all the while they talk"
