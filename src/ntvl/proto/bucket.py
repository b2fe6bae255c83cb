"""Token buckets: how often something may happen, in all or by source, in bounded memory."""

from collections import OrderedDict

__all__ = ["SourceBuckets", "TokenBucket"]


class TokenBucket:
    """Lets `burst` things happen at once and `rate_per_s` in the long run; starts full."""

    __slots__ = ("_at", "_burst", "_rate_per_s", "_tokens")

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Returns whether one more may happen now, and counts it if so."""
        if self.level(now) < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def level(self, now: float) -> float:
        """Returns how many may happen now."""
        if self._at is not None and now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate_per_s)
        self._at = now
        return self._tokens


class SourceBuckets:
    """Keeps a bucket for each source, the `most` that asked last.

    A source that is forgotten starts anew, so a flood under many names is not held by this: put a bucket for all of
    them beside it.
    """

    def __init__(self, rate_per_s: float, burst: float, *, most: int = 4096) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._most = most
        self._buckets: OrderedDict[bytes, TokenBucket] = OrderedDict()

    def take(self, source: bytes, now: float) -> bool:
        """Returns whether `source` may now, and counts it if so."""
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= self._most:
                self._buckets.popitem(last=False)
            bucket = self._buckets[source] = TokenBucket(self._rate_per_s, self._burst)
        else:
            self._buckets.move_to_end(source)
        return bucket.take(now)
