from ntvl.proto.relay_peers import CHANNELS_MAX, PERMISSIONS_MAX, RelayPeers
from ntvl.wire.address import Address
from ntvl.wire.turn import CHANNEL_MIN


def peer(number: int) -> Address:
    return Address(f"198.51.100.{number % 250}", 1000 + number)


def test_of_too_many_permissions_the_longest_unused_goes() -> None:
    peers = RelayPeers()
    for number in range(PERMISSIONS_MAX):
        peers.add_permission(f"192.0.2.{number}", float(number))
    peers.permissions["192.0.2.0"].used = 1000.0
    peers.add_permission("192.0.2.200", 1001.0)
    assert len(peers.permissions) == PERMISSIONS_MAX
    assert "192.0.2.0" in peers.permissions
    assert "192.0.2.1" not in peers.permissions


def test_a_permission_is_renewed_before_it_ends_and_counts_from_when_it_was_asked() -> None:
    permission = RelayPeers().add_permission("192.0.2.1", 100.0)
    assert permission.wants_asking(100.0)
    permission.asked = True
    assert not permission.wants_asking(100.0)
    permission.grant(100.0)
    assert (permission.is_granted(399.9), permission.is_granted(400.0)) == (True, False)
    assert (permission.wants_asking(339.9), permission.wants_asking(340.0)) == (False, True)


def test_what_was_refused_is_not_asked_again_at_once() -> None:
    permission = RelayPeers().add_permission("192.0.2.1", 100.0)
    permission.waiting.append((peer(1), b"x"))
    permission.refuse(100.0)
    assert (permission.wants_asking(159.0), permission.wants_asking(160.0)) == (False, True)
    assert not permission.waiting


def test_a_peer_has_one_channel_and_a_number_one_peer() -> None:
    peers = RelayPeers()
    channels = [peers.add_channel(peer(number), 0.0) for number in range(CHANNELS_MAX)]
    assert [channel.number for channel in channels if channel] == list(range(CHANNEL_MIN, CHANNEL_MIN + CHANNELS_MAX))
    assert peers.add_channel(peer(0), 1.0) is channels[0] is peers.channel(CHANNEL_MIN) is peers.channel_of(peer(0))


def test_a_number_rests_for_five_minutes_after_its_channel_ended() -> None:
    """RFC 8656 section 12: until then it must not be bound to another peer."""
    peers = RelayPeers()
    for number in range(CHANNELS_MAX):
        channel = peers.add_channel(peer(number), 0.0)
        assert channel is not None
        channel.bind(0.0 if number == 3 else 500.0)
    assert peers.add_channel(peer(100), 899.0) is None
    found = peers.add_channel(peer(100), 900.0)
    assert found is not None
    assert peers.channel_of(peer(3)) is None
    assert peers.channel(CHANNEL_MIN + 3) is None
    assert found.number == CHANNEL_MIN + CHANNELS_MAX
