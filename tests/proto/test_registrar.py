"""A registration is granted only where certificate, name, room and address all hold."""

from tests.proto.visitors import HOME, START, World

from ntvl.identity.certificate import parse_certificate
from ntvl.identity.community import Community
from ntvl.wire.address import Address
from ntvl.wire.control import (
    Leave,
    Left,
    Refused,
    Registered,
    Roster,
)

STRANGER = Address("198.51.100.7", 4242)


def test_no_lease_where_none_is_wanted() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    answer = ann.register(lease="none")
    assert isinstance(answer, Registered)
    assert answer.address == ""


def test_the_roster_shows_leased_and_derived_addresses_alone() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    derived = parse_certificate(ann.certificate()).addresses[0]
    claimed = ("10.77.9.9/16", "2001:db8::1/64", derived)
    answer = ann.register(certificate=ann.certificate(addresses=claimed))
    assert isinstance(answer, Registered)
    [roster] = [m for m in ann.inbox if isinstance(m, Roster)]
    assert roster.joined[0].addresses == (answer.address, derived)


def test_a_node_with_another_secret_is_told_so_in_words() -> None:
    world = World()
    world.member("ann")
    mallory = world.guest("mallory", Community.from_seed("home", b"another secret!!"))
    mallory.connect()
    answer = mallory.refused("community-key")
    assert "'home' under another key: the secret differs, or somebody else uses the name" in answer.detail
    assert answer.community == mallory.community.id
    assert len(world.relays) == 1


def test_a_name_stays_the_first_keys_after_everybody_left_and_after_a_restart() -> None:
    world = World()
    ann = world.member("ann")
    ann.ask(Leave(1, HOME.id), Left)
    world.restart()
    mallory = world.guest("mallory", Community.from_seed("home", b"another secret!!"))
    mallory.connect()
    mallory.refused("community-key")
    world.wall += 31 * 86400
    assert isinstance(mallory.register(), Registered)


def test_an_address_of_somebody_else_is_refused_with_his_name() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    ann.register(lease="static", address="10.77.0.5/16")
    bob = world.guest("bob")
    bob.connect()
    assert "'ann'" in bob.refused("address-taken", lease="static", address="10.77.0.5/16").detail
    bob.refused("address-outside", lease="static", address="10.99.0.5/16", subnet="10.77.0.0/16")
    bob.refused("subnet-differs", subnet="10.99.0.0/16")


def test_a_clock_that_is_wrong_is_told_by_how_much() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    day = 86400
    early = ann.certificate(not_before=int(START) + day, not_after=int(START) + 9 * day)
    assert (
        "begins 24 hours after the supernode's time"
        in ann.refused("certificate-not-yet-valid", certificate=early).detail
    )
    late = ann.certificate(not_before=int(START) - 9 * day, not_after=int(START) - 3 * day)
    assert "ended 3 days before the supernode's time" in ann.refused("certificate-expired", certificate=late).detail


def test_times_beyond_all_reason_are_refused_like_others() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    ann.refused("certificate-not-yet-valid", certificate=ann.certificate(not_before=2**63 - 1, not_after=2**63 - 1))
    ann.refused("certificate-expired", certificate=ann.certificate(not_before=0, not_after=0))


def test_another_version_of_the_protocol_is_refused() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    ann.refused("version", version=99)


def test_a_node_may_be_in_sixteen_communities() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    for number in range(16):
        world.run(60.0)
        ann.connect()
        ann.keepalive()
        community = Community.from_seed(f"c{number}", b"0123456789abcdef" + bytes((number,)))
        assert isinstance(ann.register(certificate=ann.certificate(community=community), lease="none"), Registered)
        for other in range(number):
            ann.register(
                certificate=ann.certificate(
                    community=Community.from_seed(f"c{other}", b"0123456789abcdef" + bytes((other,)))
                ),
                lease="none",
            )
    ann.refused("queue-full")


def test_new_communities_of_one_network_come_at_a_rate() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    answers = [
        ann.register(
            certificate=ann.certificate(community=Community.from_seed(f"c{n}", b"0123456789abcdef" + bytes((n,))))
        )
        for n in range(12)
    ]
    assert [type(answer) for answer in answers] == [Registered] * 10 + [Refused] * 2
    assert isinstance(answers[-1], Refused)
    assert answers[-1].reason == "rate"
    world.member("bob")


def test_somebody_elses_certificate_is_refused() -> None:
    world = World()
    ann = world.member("ann")
    mallory = world.guest("mallory")
    mallory.connect()
    mallory.refused("certificate-key", certificate=ann.certificate())
    assert {relay.host for relay in world.relays.values()} == {ann.address.host}


def test_a_forged_certificate_is_refused() -> None:
    world = World()
    world.member("ann")
    mallory = world.guest("mallory")
    mallory.connect()
    good = mallory.certificate()
    forged = bytearray(good)
    forged[-1] ^= 1
    mallory.refused("signature", certificate=bytes(forged))
    renamed = good.replace(b"mallory", b"marjory")
    mallory.refused("signature", certificate=renamed)
    own = Community.from_seed("home", b"mallory's secret")
    transplanted = mallory.certificate(community=own).replace(own.id, HOME.id)
    mallory.refused("signature", certificate=transplanted)
    for rubbish in (b"x", b"\x00" * 800, good[:-70]):
        answer = mallory.register(certificate=rubbish)
        assert isinstance(answer, Refused)
        assert answer.reason in ("short", "format", "version", "signature")
    assert len(world.relays) == 1


def test_a_registration_overheard_is_no_use_to_another() -> None:
    world = World()
    ann = world.guest("ann")
    ann.connect()
    registration = ann.registration()
    sealed = ann.seal(registration)
    ann.give(sealed)
    assert world.give(sealed, STRANGER) == []
    assert world.drops("replay") == 1
    mallory = world.guest("mallory")
    mallory.connect()
    [answer] = mallory.say(registration)
    assert isinstance(answer, Refused)
    assert answer.reason == "certificate-key"
    assert {relay.host for relay in world.relays.values()} == {ann.address.host}


def test_a_wrong_secret_is_told_for_what_it_is_however_often_it_is_tried() -> None:
    world = World()
    world.member("ann")
    mallory = world.guest("mallory", Community.from_seed("home", b"another secret!!"))
    mallory.connect()
    for _ in range(30):
        mallory.refused("community-key")
