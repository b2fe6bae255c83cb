import pytest

from ntvl.errors import PeerError
from ntvl.proto.challenge import Challenge
from ntvl.wire.attribute import StunClass
from ntvl.wire.credential import Credentials, PasswordAlgorithm, derive_key, derive_userhash
from ntvl.wire.turn import Turn

USER = Credentials("user", "pass")
BOTH = bytes.fromhex("0002000000010000")


def refusal(realm: str | None = "realm", nonce: bytes | None = b"nonce", algorithms: bytes | None = None) -> Turn:
    return Turn(
        cls=StunClass.ERROR,
        method=3,
        transaction=bytes(12),
        error_code=401,
        realm=realm,
        nonce=nonce,
        algorithms=algorithms,
    )


def test_an_old_server_gets_md5_and_the_user_name() -> None:
    challenge = Challenge(USER)
    assert challenge.authorization is None
    challenge.handle(refusal())
    authorization = challenge.authorization
    assert authorization is not None
    assert (authorization.username, authorization.userhash, authorization.algorithms) == ("user", b"", None)
    assert authorization.key == derive_key(USER, "realm")


def test_a_server_that_announces_algorithms_gets_the_first_that_we_know_and_its_list_back() -> None:
    challenge = Challenge(USER)
    challenge.handle(refusal(nonce=b"obMatJos2AAADx", algorithms=BOTH))
    authorization = challenge.authorization
    assert authorization is not None
    assert (authorization.algorithm, authorization.algorithms) == (PasswordAlgorithm.SHA256, BOTH)
    assert authorization.userhash == derive_userhash("user", "realm")


def test_a_new_nonce_without_realm_keeps_the_realm() -> None:
    challenge = Challenge(USER)
    challenge.handle(refusal())
    challenge.handle(refusal(realm=None, nonce=b"newer"))
    assert challenge.authorization is not None
    assert (challenge.authorization.realm, challenge.authorization.nonce) == ("realm", b"newer")


@pytest.mark.parametrize(
    ("reason", "turn"),
    [
        ("format", refusal(realm=None)),
        ("format", refusal(nonce=None)),
        ("integrity", refusal(nonce=b"obMatJos2AAABx")),
        ("format", refusal(nonce=b"obMatJos2AAABx", algorithms=bytes.fromhex("00090000"))),
        ("format", refusal(nonce=b"obMatJos2AAABx", algorithms=b"\0")),
    ],
)
def test_a_challenge_that_makes_no_sense_or_was_weakened_on_the_way_is_dropped(reason: str, turn: Turn) -> None:
    challenge = Challenge(USER)
    with pytest.raises(PeerError) as caught:
        challenge.handle(turn)
    assert caught.value.reason == reason
    assert challenge.authorization is None
