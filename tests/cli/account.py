"""A status as a node gives it, for tests of what is made of it."""

from typing import Any, Final

__all__ = ["STATUS"]

_KEY: Final = "Abcdefgh" + "x" * 35
_EASY: Final = {
    "word": "easy",
    "mapping": "endpoint-independent",
    "filtering": "address-and-port-dependent",
    "allocation": "preserving",
}

STATUS: Final[dict[str, Any]] = {
    "node": {"name": "desk", "id": _KEY, "version": "0.1.0", "punch": "all", "uptime_s": 3725.4},
    "engine": {"name": "python", "offloads": ["csum", "tso4"]},
    "port_mapping": {
        "enabled": True,
        "mapped": ["203.0.113.9:4000"],
        "outcomes": [
            {"gateway": "192.168.1.1", "protocol": "PCP", "state": "mapped", "text": "mapped to 203.0.113.9:4000"},
            {"gateway": "192.168.1.1", "protocol": "UPnP", "state": "stopped", "text": "not needed beside PCP"},
        ],
    },
    "turn": {"server": "turn:192.0.2.1:3478", "relayed": "192.0.2.1:50000", "reason": None},
    "communities": [
        {
            "name": "home",
            "id": "C" * 43,
            "device": "ntvl0",
            "mac": "02:00:00:00:00:01",
            "addresses": ["10.77.0.5/16", "fd00:1::5/64"],
            "mtu": 1360,
            "peers": [
                {
                    "name": "zoe",
                    "id": "Z" * 43,
                    "addresses": ["10.77.0.9/16"],
                    "mac": "02:00:00:00:00:09",
                    "path": "none",
                    "remote": None,
                    "via": None,
                    "technique": None,
                    "nat": None,
                    "rtt_ms": None,
                    "rx_bytes": 0,
                    "tx_bytes": 0,
                    "handshake_age_s": None,
                },
                {
                    "name": "",
                    "id": "R" * 43,
                    "addresses": [],
                    "mac": "02:00:00:00:00:08",
                    "path": "relay",
                    "remote": None,
                    "via": f"ntvl://{_KEY}@hub.example:1971",
                    "technique": "relay",
                    "nat": {"local": _EASY, "remote": dict.fromkeys(_EASY)},
                    "rtt_ms": 45.678,
                    "rx_bytes": 2048,
                    "tx_bytes": 1 << 30,
                    "handshake_age_s": 61.0,
                },
                {
                    "name": "bob\x1b[31m",
                    "id": "B" * 43,
                    "addresses": ["10.77.0.6/16", "fd00:1::6/64"],
                    "mac": "02:00:00:00:00:06",
                    "path": "direct",
                    "remote": "203.0.113.5:4242",
                    "via": None,
                    "technique": "simultaneous-udp",
                    "nat": {"local": _EASY, "remote": _EASY},
                    "rtt_ms": 0.91,
                    "rx_bytes": 1,
                    "tx_bytes": 2,
                    "handshake_age_s": 5.0,
                },
            ],
        }
    ],
    "supernodes": [
        {
            "url": f"ntvl://{_KEY}@hub.example:1971",
            "state": "registered",
            "rtt_ms": 12.3,
            "observed": "198.51.100.7:4000",
            "over": "udp",
        },
        {"url": "ntvl://other.example:1971", "state": "unreachable", "rtt_ms": None, "observed": None, "over": None},
    ],
    "drops": {"replay": 2, "mac-claimed": 1234},
    "faults": {},
}
