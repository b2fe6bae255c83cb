import dataclasses

import pytest

from ntvl.identity.community import Community
from ntvl.identity.keys import NodeKey
from ntvl.proto.settings import CommunitySettings, NodeSettings

COMMUNITY = Community.from_seed("lan", b"a seed of sixteen bytes")


def test_a_membership_leases_from_the_usual_subnet_where_nothing_else_is_said() -> None:
    settings = CommunitySettings(COMMUNITY, 0, "ntvl0")
    assert (settings.lease, settings.address, settings.subnet, settings.mtu) == ("auto", "", "10.77.0.0/16", 1360)


def test_a_node_looks_for_direct_paths_where_nothing_else_is_said() -> None:
    settings = NodeSettings(NodeKey.from_bytes(bytes(range(32))), "ann", (), (), bytes(8))
    assert settings.direct


def test_settings_cannot_be_changed() -> None:
    settings = CommunitySettings(COMMUNITY, 0, "ntvl0")
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.mtu = 9000  # type: ignore[misc]


def test_settings_show_no_secret() -> None:
    key = NodeKey.from_bytes(bytes(range(32)))
    text = repr(NodeSettings(key, "ann", (CommunitySettings(COMMUNITY, 0, "ntvl0"),), (), bytes(8)))
    assert COMMUNITY.signing_key is not None
    for secret in (key.private_bytes, COMMUNITY.psk, COMMUNITY.signing_key):
        assert repr(secret)[2:-1] not in text
        assert secret.hex() not in text


@pytest.mark.parametrize(
    ("direct", "guesses", "punch"), [(True, True, "all"), (True, False, "known"), (False, True, "off")]
)
def test_what_is_tried_has_the_word_that_people_write(direct: bool, guesses: bool, punch: str) -> None:
    key = NodeKey.from_bytes(bytes(range(32)))
    assert NodeSettings(key, "ann", (), (), bytes(8), direct=direct, guesses=guesses).punch == punch
