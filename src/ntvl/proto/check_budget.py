"""A whole node's budget of checks to addresses that nobody has confirmed.

What one peer can make a node send is bounded where its offers are taken (`negotiation`); but keys cost nothing in a
passphrase community, and many peers can name one victim. So there are two bounds over all peers:

    one host   so many checks at once and few in the long run, until it answers: a victim never does
    all hosts  as many as one birthday in the long run: a network of many victims, and our own line

The second alone would leave a single victim with all of it from every node of a community; the first alone is got
round by naming ever new hosts. A check over budget is dropped and counted, not put off: the moment that both sides
agreed on would be over, and a technique repeats its checks anyway.

Not counted is what goes where something authentic has just come from: answers, triggered checks, checks of a path
that was confirmed before. Who makes us send there has sent there as much himself (RFC 9000 section 8.1 allows three
times as much).

A host is an IPv4 address, also one inside of an IPv6 address, or an IPv6 network of 64 bits, which is what one customer
has at least. Many honest peers may be behind one address (RFC 6888), so the first answer on a path clears its host:
what peers there ask is wanted.

Source: RFC 8445 section 14.2 has all transactions of all agents at least 5 ms apart, section 19.5.1 names bounds on
their number. Deviation: 5 ms are kept in the long run only, for attempts with all peers begin at one moment. Chromium
bounds a page's checks alike, over all destinations, those that have answered excepted (256 KiB/s, dropped).
"""

from collections import Counter
from ipaddress import IPv6Address
from typing import Final

from ntvl.proto.bucket import TokenBucket
from ntvl.wire.address import find_addresses

__all__ = ["HOST_BURST", "HOST_PER_S", "NODE_BURST", "NODE_PER_S", "CheckBudget"]

NODE_PER_S: Final = 200.0
"""RFC 8445 section 14.2: one in 5 ms. A birthday's pace."""
NODE_BURST: Final = 6000.0
"""Sixty peers with 24 candidates each take 5,760 in four rounds, a thousand peers with three take 6,000 in two; a path
is there after one or two.
"""
HOST_PER_S: Final = 20.0
"""A tenth of the node's; where a host answers, nobody comes to it."""
HOST_BURST: Final = 5000.0
"""With the rate, the three attempts that one honest peer makes within a minute, a birthday of 2,000 in each."""
_HOSTS_MAX: Final = 8192
"""Hosts in debt are fewer: each is so for 50 ms a check at least, in which the node makes `NODE_BURST` and ten."""


class CheckBudget:
    """Lets checks go to hosts that have not answered, within two token buckets.

    Attributes:
        drops: what was refused, by reason: "check-host" or "check-rate".
    """

    def __init__(self) -> None:
        self.drops: Counter[str] = Counter()
        self._all = TokenBucket(NODE_PER_S, NODE_BURST)
        self._hosts: dict[bytes, TokenBucket] = {}

    def take(self, host: str, now: float) -> bool:
        """Returns whether a check may go to `host`, an IP address, and counts it either way."""
        if self._all.level(now) < 1.0:
            self.drops["check-rate"] += 1
            return False
        if not self._bucket(_key(host), now).take(now):
            self.drops["check-host"] += 1
            return False
        return self._all.take(now)

    def handle_answer(self, host: str) -> None:
        """Takes the news that a host answered a check for the first time on some path: its debt is forgotten."""
        self._hosts.pop(_key(host), None)

    def _bucket(self, key: bytes, now: float) -> TokenBucket:
        bucket = self._hosts.get(key)
        if bucket is None:
            if len(self._hosts) >= _HOSTS_MAX:  # Only who owes nothing is forgotten, so forgetting gives nobody more.
                self._hosts = {k: b for k, b in self._hosts.items() if b.level(now) < HOST_BURST}
            bucket = self._hosts[key] = TokenBucket(HOST_PER_S, HOST_BURST)
        return bucket


def _key(host: str) -> bytes:
    if ":" not in host:
        return host.encode()
    inside = next((ip for ip in find_addresses(host) if ip.version == 4), None)
    return IPv6Address(host).packed[:8] if inside is None else str(inside).encode()
