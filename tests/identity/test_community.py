import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntvl.errors import UsageError
from ntvl.identity.certificate import issue_certificate, verify_certificate
from ntvl.identity.community import Community, derive_community


@pytest.fixture(scope="module")
def home() -> Community:
    return derive_community("home", "correct horse battery staple")


def test_name_and_secret_give_the_same_community_everywhere(home: Community) -> None:
    # Machines of different versions must agree for ever; also held to argon2-cffi's answer for the same input.
    assert derive_community("home", "correct horse battery staple") == home
    assert home.id.hex() == "8340b31a99db6399e66f32e7a8aa164107fdf8c11f8bf578c5bed7819d8637b0"
    assert hashlib.sha256(home.psk).hexdigest() == "e2c98babaaeea35244d15514db8e868c54d1a6a00ef00bf5217ea48bfd2a2dea"


def test_another_name_or_secret_is_another_community(home: Community) -> None:
    for name, secret in (("work", "correct horse battery staple"), ("home", "correct horse battery stable")):
        other = derive_community(name, secret)
        assert other.id != home.id
        assert other.psk != home.psk
        assert other.signing_key != home.signing_key


def test_who_knows_the_secret_can_certify_itself(home: Community) -> None:
    data = issue_certificate(home, node=bytes(32), name="n", addresses=(), not_before=0, not_after=9)
    assert verify_certificate(data, wall_time=5.0, community=home.id).community_name == "home"


def test_keyboards_that_compose_differently_give_the_same_secret() -> None:
    assert derive_community("home", "caf\u00e9") == derive_community("home", "cafe\u0301")


def test_secrets_do_not_show(home: Community) -> None:
    shown = repr(home) + str(home)
    assert home.signing_key is not None
    for secret in (home.psk, home.signing_key):
        assert repr(secret) not in shown
        assert secret.hex() not in shown
    assert "home" in shown


@pytest.mark.parametrize(
    "name", ["", "a" * 64, "Home", "my home", "home\n", "höme", "a/b", "\uff28\uff2f\uff2d\uff25", "home\0"]
)
def test_a_name_out_of_bounds_is_refused_in_words(name: str) -> None:
    for build in (lambda: derive_community(name, "secret"), lambda: Community.from_seed(name, bytes(32))):
        with pytest.raises(UsageError, match="a-z, 0-9"):
            build()


@pytest.mark.parametrize("name", ["a", "a" * 63, "my-home_2.example", "...", "-"])
def test_a_name_within_bounds_is_taken(name: str) -> None:
    assert Community.from_seed(name, bytes(32)).name == name


@pytest.mark.parametrize(("secret", "word"), [("", "empty"), ("\udc80", "UTF-8")])
def test_a_secret_that_is_none_is_refused(secret: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        derive_community("home", secret)


@given(seed=st.binary(max_size=200), other=st.binary(max_size=200))
def test_seeds_and_names_tell_communities_apart(seed: bytes, other: bytes) -> None:
    community = Community.from_seed("home", seed)
    assert len(community.id) == len(community.psk) == 32
    assert (Community.from_seed("home", other) == community) == (seed == other)
    assert Community.from_seed("work", seed).id != community.id
