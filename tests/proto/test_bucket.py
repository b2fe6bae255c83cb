from ntvl.proto.bucket import SourceBuckets, TokenBucket


def test_a_burst_and_then_a_rate() -> None:
    bucket = TokenBucket(2.0, 3.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(0.4)
    assert bucket.take(0.5)
    assert not bucket.take(0.5)


def test_a_long_rest_gives_one_burst_and_no_more() -> None:
    bucket = TokenBucket(2.0, 3.0)
    bucket.take(0.0)
    assert [bucket.take(1e6) for _ in range(4)] == [True, True, True, False]


def test_time_that_stands_still_or_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(2.0, 1.0)
    assert bucket.take(10.0)
    assert not bucket.take(5.0)


def test_sources_do_not_share() -> None:
    buckets = SourceBuckets(1.0, 1.0)
    assert buckets.take(b"a", 0.0)
    assert not buckets.take(b"a", 0.0)
    assert buckets.take(b"b", 0.0)


def test_the_source_that_asked_longest_ago_is_forgotten_first() -> None:
    buckets = SourceBuckets(0.001, 1.0, most=2)
    buckets.take(b"a", 0.0)
    buckets.take(b"b", 0.0)
    buckets.take(b"a", 0.0)
    buckets.take(b"c", 0.0)
    assert not buckets.take(b"a", 0.0)
    assert buckets.take(b"b", 0.0)
