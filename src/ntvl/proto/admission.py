"""Which handshake initiations may cost a Diffie-Hellman: MACs, the memory of initiations seen, load, cookies and rates.

What a datagram costs is decided in steps, cheapest first: its layout; mac1, which needs the receiver's public key;
whether it was seen before, which is one more hash; and under load mac2, a hash under a cookie, and a cookie reaches
only who receives at the address it claims. A source with a cookie is then held to a rate of its own. Every table here
is bounded.

Load is more initiations with a valid mac1 within a second than a limit, whoever sends them, so a flood keeps the load
up and costs its sender more than us.

Source: WireGuard paper (Donenfeld, NDSS 2017) sections 5.3 and 5.4.4 to 5.4.7. Deviations: the cookie is sealed with
ChaCha20-Poly1305 under a random 12-byte nonce instead of XChaCha20-Poly1305 (a repeated nonce, after some 2^48 cookies,
would show two cookies to one who read both replies anyway); a cookie of the secret before the current one still counts;
instead of by a timestamp, replays are known by memory.
"""

import hashlib
import hmac
import ipaddress
from collections import OrderedDict, deque
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ntvl.errors import PeerError
from ntvl.proto.machine import Random
from ntvl.wire.address import Origin
from ntvl.wire.handshake import (
    COOKIE_NONCE_BYTES,
    MAC_BYTES,
    CookieDatagram,
    InitiationDatagram,
    build_cookie,
    parse_initiation,
)

__all__ = [
    "COOKIE_LIFETIME_S",
    "NO_MAC",
    "Admission",
    "build_mac1",
    "build_mac2",
    "check_mac1",
    "cookie_source",
    "open_cookie",
]

COOKIE_LIFETIME_S: Final = 120.0
"""How long the secret behind cookies lives; an initiator may use a cookie this long (WireGuard paper section 5.4.7)."""
NO_MAC: Final = bytes(MAC_BYTES)
"""mac2 where there is no cookie."""

_MAC1_PERSON: Final = b"ntvlmac1"
_COOKIE_PERSON: Final = b"ntvlcook"
_SEEN_S: Final = 180.0
_SEEN_MAX: Final = 4096
_SOURCE_RATE_PER_S: Final = 20.0
_SOURCE_BURST: Final = 5.0
"""WireGuard's bounds for one source under load."""
_SOURCES_MAX: Final = 4096


def build_mac1(receiver: bytes, covered: bytes) -> bytes:
    """Returns the MAC that shows knowledge of the receiver's static public key.

    Args:
        receiver: the static public key of who is to read the datagram, 32 bytes.
        covered: the datagram up to where mac1 goes.
    """
    return _mac(_mac1_key(receiver), covered)


def check_mac1(receiver: bytes, data: bytes) -> None:
    """Passes a datagram that ends in mac1 and mac2 if its mac1 is right.

    Raises:
        PeerError: reason "mac1".
    """
    if not hmac.compare_digest(data[-2 * MAC_BYTES : -MAC_BYTES], build_mac1(receiver, data[: -2 * MAC_BYTES])):
        raise PeerError("mac1")


def build_mac2(cookie: bytes | None, covered: bytes) -> bytes:
    """Returns the MAC that shows a cookie, zero without one; `covered` is the datagram up to where mac2 goes."""
    return NO_MAC if cookie is None else _mac(cookie, covered)


def open_cookie(responder: bytes, reply: CookieDatagram, mac1: bytes) -> bytes:
    """Returns the cookie, 16 bytes, that a responder under load sent.

    Args:
        responder: the static public key that we called, 32 bytes.
        reply: what came back.
        mac1: that of our initiation: nobody who did not see it can make a reply that opens.
    Raises:
        PeerError: reason "cookie".
    """
    try:
        return ChaCha20Poly1305(_cookie_key(responder)).decrypt(reply.nonce, reply.sealed, mac1)
    except InvalidTag as error:
        raise PeerError("cookie") from error


class Admission:
    """Stands before the Diffie-Hellman of one node key.

    Args:
        public: our static public key, 32 bytes.
        random: gives cookie secrets and nonces.
        load_limit_per_s: how many initiations with a valid mac1 in one second are not yet load.
    """

    def __init__(self, public: bytes, random: Random, *, load_limit_per_s: int) -> None:
        self._public = public
        self._random = random
        self._cookie_aead = ChaCha20Poly1305(_cookie_key(public))
        self._arrivals: deque[float] = deque(maxlen=max(1, load_limit_per_s))
        self._seen: OrderedDict[bytes, float] = OrderedDict()
        self._jar = _CookieJar(random)
        self._rates = _SourceRates()

    def admit(self, data: bytes, source: bytes, now: float) -> InitiationDatagram | bytes:
        """Returns the initiation if it may be computed on, or a COOKIE datagram to send back; cost: some hashes.

        Args:
            data: any bytes.
            source: names the sender's address.
            now: seconds, monotonic.
        Raises:
            PeerError: reason "type", "short", "long", "header", "mac1", "replayed-handshake" or "rate".
        """
        initiation = parse_initiation(data)
        check_mac1(self._public, data)
        self._forget(now)
        if _fingerprint(initiation) in self._seen:
            raise PeerError("replayed-handshake")
        if self._is_under_load(now):
            if not self._jar.holds(source, initiation.mac2, data[:-MAC_BYTES], now):
                return self._build_cookie(initiation, source, now)
            self._rates.take(source, now)
        return initiation

    def remember(self, initiation: InitiationDatagram, now: float) -> None:
        """Refuses the same Noise message for 180 s from now on.

        Call it only for one that opened, so that rubbish cannot push true initiations out of the memory of 4,096.
        """
        self._seen[_fingerprint(initiation)] = now + _SEEN_S
        if len(self._seen) > _SEEN_MAX:
            self._seen.popitem(last=False)

    def _is_under_load(self, now: float) -> bool:
        arrivals = self._arrivals
        full = len(arrivals) == arrivals.maxlen and now - arrivals[0] < 1.0
        arrivals.append(now)
        return full

    def _build_cookie(self, initiation: InitiationDatagram, source: bytes, now: float) -> bytes:
        nonce = self._random(COOKIE_NONCE_BYTES)
        sealed = self._cookie_aead.encrypt(nonce, self._jar.bake(source, now), initiation.mac1)
        return build_cookie(initiation.sender, nonce, sealed)

    def _forget(self, now: float) -> None:
        seen = self._seen
        while seen:
            fingerprint = next(iter(seen))
            if seen[fingerprint] > now:
                return
            del seen[fingerprint]


class _CookieJar:
    """Makes cookies out of a secret that changes every 120 s; those of the secret before still count."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._secrets: tuple[bytes, ...] = ()
        self._renew_at = 0.0

    def bake(self, source: bytes, now: float) -> bytes:
        self._renew(now)
        return _mac(self._secrets[0], source)

    def holds(self, source: bytes, mac2: bytes, covered: bytes, now: float) -> bool:
        if mac2 == NO_MAC:
            return False
        self._renew(now)
        return any(hmac.compare_digest(mac2, _mac(_mac(secret, source), covered)) for secret in self._secrets)

    def _renew(self, now: float) -> None:
        if self._secrets and now < self._renew_at:
            return
        # After a long silence the last secret is older than a cookie may be.
        recent = self._secrets[:1] if now < self._renew_at + COOKIE_LIFETIME_S else ()
        self._secrets = (self._random(32), *recent)
        self._renew_at = now + COOKIE_LIFETIME_S


class _SourceRates:
    """Holds each source that proved its address to a rate: a token bucket each, in a bounded table."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def take(self, source: bytes, now: float) -> None:
        buckets = self._buckets
        tokens, since = buckets.get(source, (_SOURCE_BURST, now))
        tokens = min(_SOURCE_BURST, tokens + (now - since) * _SOURCE_RATE_PER_S)
        if tokens < 1.0:
            raise PeerError("rate", "handshakes of one source")
        if source not in buckets and len(buckets) >= _SOURCES_MAX:
            # The table is in order of use, and only a bucket that is full again may be forgotten.
            _, used = next(iter(buckets.values()))
            if (now - used) * _SOURCE_RATE_PER_S < _SOURCE_BURST:
                raise PeerError("rate", "handshakes of too many sources")
            buckets.popitem(last=False)
        buckets[source] = (tokens - 1.0, now)
        buckets.move_to_end(source)


def _fingerprint(initiation: InitiationDatagram) -> bytes:
    return hashlib.blake2s(initiation.noise, digest_size=16).digest()


def _mac(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2s(data, key=key, digest_size=MAC_BYTES).digest()


def _mac1_key(receiver: bytes) -> bytes:
    return hashlib.blake2s(receiver, person=_MAC1_PERSON).digest()


def _cookie_key(responder: bytes) -> bytes:
    return hashlib.blake2s(responder, person=_COOKIE_PERSON).digest()


def cookie_source(origin: Origin) -> bytes:
    """Returns what a cookie is bound to: the host, for IPv6 its /64, and behind a relay the sender's id there."""
    ip = ipaddress.ip_address(origin.address.host).packed
    relay = b"" if origin.relay is None else origin.relay.source.to_bytes(4, "big")
    return ip[:8] + relay if len(ip) == 16 else ip + relay
