"""An engine without a control plane: keys and paths come from the command line, so that the engine is measured alone.

    python -m bench.static node a|b PEER_HOST [RELAY_HOST]
    python -m bench.static relay A_HOST B_HOST

Prints its counters at the end, on SIGTERM. The keys are in this file: for measurements in namespaces only.
"""

import json
import select
import signal
import sys

from ntvl.dataplane.choice import Engine, start_engine
from ntvl.dataplane.interface import (
    Activity,
    AddPeer,
    Command,
    Counters,
    DeviceClosed,
    DeviceOpened,
    Event,
    InstallSession,
    OpenDevice,
    RelayMember,
    SetPath,
    Target,
)
from ntvl.wire.address import Address

PORT = 7001
DEVICE = "ntvl0"
MACS = {"a": bytes.fromhex("020000000a01"), "b": bytes.fromhex("020000000b01")}
IDS = {"a": 1, "b": 2}
KEYS = {"a": b"\x0a" * 32, "b": b"\x0b" * 32}


def run_node(me: str, peer_host: str, relay_host: str | None, *, cipher: str = "aes256gcm", mtu: int = 1360) -> None:
    peer = "b" if me == "a" else "a"
    engine = start_engine(listen=[Address("0.0.0.0", PORT)])
    target = Target(peer_host, PORT)
    if relay_host:
        target = Target(relay_host, PORT, 0, (IDS[peer], IDS[me]))
    commands: list[Command] = [
        OpenDevice(1, DEVICE, MACS[me], mtu),
        AddPeer(1, 1, (MACS[peer],), (), True),
        InstallSession(1, cipher, IDS[peer], IDS[me], KEYS[me], KEYS[peer], True),
        SetPath(1, (target,)),
    ]
    engine.apply(commands)
    _serve(engine)


def run_relay(a_host: str, b_host: str) -> None:
    engine = start_engine(listen=[Address("0.0.0.0", PORT)], taps=False, relay=True)
    engine.apply([RelayMember(IDS["a"], 1, a_host, PORT), RelayMember(IDS["b"], 1, b_host, PORT)])
    _serve(engine)


def _serve(engine: Engine) -> None:
    last: dict[str, Event] = {}
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    while not stopped:
        try:
            select.select([engine], [], [], 1.0)
        except InterruptedError:
            break
        for event in engine.drain():
            if isinstance(event, DeviceOpened):
                print(json.dumps({"opened": event.name, "offloads": event.offloads}), flush=True)
            elif isinstance(event, DeviceClosed):
                raise SystemExit(event.reason)
            elif isinstance(event, Counters | Activity):
                last[type(event).__name__] = event
    print(last, flush=True)
    engine.close()


def main(arguments: list[str]) -> None:
    if arguments[0] == "relay":
        run_relay(*arguments[1:])
    else:
        me, peer_host, *rest = arguments[1:]
        run_node(me, peer_host, rest[0] if rest else None)


if __name__ == "__main__":
    main(sys.argv[1:])
