"""A file of random bytes over TCP between two machines, by two small programs, with its hash at both ends."""

import json
import sys
import time

from ntvl.lab.stage import Stage

__all__ = ["GIB", "send_file"]

GIB = 1 << 30

# A block of random bytes, with its number in front of each turn so that no two turns are alike.
SENDER = """
import hashlib, os, socket, sys
host, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
block, digest = bytearray(os.urandom(8 << 20)), hashlib.blake2b()
with socket.create_connection((host, port), timeout=20) as connection:
    connection.settimeout(60)
    for number in range(size // len(block)):
        block[:8] = number.to_bytes(8, "big")
        connection.sendall(block)
        digest.update(block)
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)
print(digest.hexdigest())
"""
RECEIVER = """
import hashlib, json, socket, sys
digest, size, buffer = hashlib.blake2b(), 0, memoryview(bytearray(1 << 20))
with socket.create_server((sys.argv[1], 0)) as server:
    print(json.dumps({"port": server.getsockname()[1]}))
    connection, _ = server.accept()
    with connection:
        connection.settimeout(60)
        while count := connection.recv_into(buffer):
            digest.update(buffer[:count])
            size += count
        connection.send(b"!")
print(json.dumps({"digest": digest.hexdigest(), "size": size}))
"""


def send_file(stage: Stage, source: str, target: str, address: str, size: int) -> tuple[str, str, float]:
    """Returns the digest of what was sent, that of what came, and the seconds it took.

    Args:
        address: of the target, as the source reaches it.
        size: bytes, a multiple of 8 MiB.
    """
    receiver = stage.start(target, [sys.executable, "-c", RECEIVER, address])
    port = receiver.wait_event(lambda fields: "port" in fields, 10.0).fields["port"]
    began = time.monotonic()
    sent = stage.run(source, [sys.executable, "-c", SENDER, address, str(port), str(size)], timeout_s=90).stdout.strip()
    seconds = time.monotonic() - began
    came = receiver.wait_event(lambda fields: "digest" in fields, 10.0).fields
    assert came["size"] == size, json.dumps(came)
    return sent, came["digest"], seconds
