"""A generator and a counter of small UDP packets, for whatever carries them.

    python -m bench.packets send HOST PORT PAYLOAD_BYTES PACKETS_PER_S SECONDS      (0 packets a second: as fast as it
    goes) python -m bench.packets count PORT

Both use sendmmsg and recvmmsg through ctypes, so that on a small machine most of the processor is left for what is
measured. Every packet is a datagram of its own to the kernel. The counter counts until a second passes without a
packet.
"""

import ctypes
import json
import socket
import sys
import time

BATCH = 64
RECEIVE_BYTES = 2048
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


class _Batch:
    def __init__(self, size: int) -> None:
        self.buffers = [ctypes.create_string_buffer(size) for _ in range(BATCH)]
        self.vectors = (_Vector * BATCH)(*(_Vector(ctypes.addressof(buffer), size) for buffer in self.buffers))
        self.messages = (_Message * BATCH)()
        for index, message in enumerate(self.messages):
            message.header.vectors = ctypes.pointer(self.vectors[index])
            message.header.vector_count = 1


def send(host: str, port: int, payload_bytes: int, rate: int, seconds: float) -> int:
    """Sends and returns how many packets the kernel took; evenly, in bursts of at most a millisecond's worth."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    sock.connect((host, port))
    batch = _Batch(payload_bytes)
    sent = 0
    start = time.perf_counter()
    end = start + seconds
    while (now := time.perf_counter()) < end:
        due = min(BATCH, int((now - start) * rate) - sent) if rate else BATCH
        if rate and due < min(BATCH, max(1, rate // 2000)):
            time.sleep(0.0002)
            continue
        taken = _LIBC.sendmmsg(sock.fileno(), batch.messages, due, 0)
        sent += max(taken, 0)
    return sent


def count(port: int) -> int:
    """Returns how many packets came before a second of silence."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
    sock.bind(("", port))
    print("ready", flush=True)
    batch = _Batch(RECEIVE_BYTES)
    received = 0
    sock.settimeout(10.0)
    sock.recv(RECEIVE_BYTES)
    received += 1
    sock.settimeout(1.0)
    # After the first packet of each wait, what is there is fetched many at a time (MSG_DONTWAIT).
    while True:
        got = _LIBC.recvmmsg(sock.fileno(), batch.messages, BATCH, socket.MSG_DONTWAIT, None)
        if got > 0:
            received += got
            continue
        try:
            sock.recv(RECEIVE_BYTES)
        except TimeoutError:
            return received
        received += 1


def main(arguments: list[str]) -> None:
    if arguments[0] == "send":
        host, port, size, rate, seconds = arguments[1:]
        print(json.dumps({"sent": send(host, int(port), int(size), int(rate), float(seconds))}))
    else:
        print(json.dumps({"received": count(int(arguments[1]))}))


if __name__ == "__main__":
    main(sys.argv[1:])
