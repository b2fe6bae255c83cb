"""Attempts on either side, and time that passes for them."""

from ntvl.proto.attempt import Attempt, AttemptState
from ntvl.proto.technique import Shot
from ntvl.wire.control import Candidate, Nat

OURS = (Candidate("host", "192.168.1.2", 4000, 9),)
NEAR, FAR = Candidate("host", "192.168.1.3", 4000, 9), Candidate("srflx", "198.51.100.3", 61000, 5)
THEIRS = (FAR, NEAR)
OPENER = Shot(0.0, FAR, ttl=2)
EASY = Nat("endpoint-independent", "address-and-port-dependent", "preserving")
RANDOM = Nat("address-and-port-dependent", "address-and-port-dependent", "random")


def offerer(now: float = 100.0, local: tuple[Candidate, ...] = OURS) -> Attempt:
    return Attempt(7, 1, ours=True, local=local, now=now)


def answerer(now: float = 100.0, remote: tuple[Candidate, ...] = THEIRS) -> Attempt:
    attempt = Attempt(7, 1, ours=False, local=OURS, now=now)
    attempt.handle_offer(remote, now)
    assert opened(attempt) == [OPENER] * (FAR in remote)
    return attempt


def opened(attempt: Attempt) -> list[Shot]:
    """Returns the openers that an attempt sends as soon as it can."""
    at = attempt.poll_timeout()
    assert at is not None
    if attempt.state is AttemptState.ANSWERED and at > attempt.started:
        return []
    offer, shots = attempt.handle_timeout(at)
    assert not offer
    return shots


def play(attempt: Attempt, until: float = 1000.0) -> tuple[list[float], list[tuple[float, Candidate]]]:
    """Returns the times of offers and of checks, each with its aim, as the attempt asks to be woken."""
    offers, checks = list[float](), list[tuple[float, Candidate]]()
    for _ in range(5000):
        at = attempt.poll_timeout()
        if at is None or at > until:
            return offers, checks
        offer, shots = attempt.handle_timeout(at)
        offers += [at] if offer else []
        checks += [(at, shot.aim) for shot in shots]
    raise AssertionError("the attempt never comes to rest")


def verdicts(attempt: Attempt) -> list[tuple[str, str]]:
    return [(o.technique, o.verdict) for o in attempt.outcomes]
