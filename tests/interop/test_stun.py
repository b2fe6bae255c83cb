"""STUN (RFC 8489) and ICE's checks (RFC 8445) as a program that nobody here wrote speaks them: aioice."""

import sys

import pytest
from aioice import stun

from ntvl.lab.member import start_supernode
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS
from ntvl.wire.address import Address
from ntvl.wire.stun import build_binding_request, build_binding_response, parse_stun, verify_integrity

PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
TRANSACTION = bytes(range(12))
GATHER = """
import asyncio, json, sys
import aioice
async def main():
    connection = aioice.Connection(ice_controlling=True, stun_server=(sys.argv[1], int(sys.argv[2])))
    await connection.gather_candidates()
    print(json.dumps({"found": [[c.type, c.host, c.port] for c in connection.local_candidates]}))
    await connection.close()
asyncio.run(main())
"""


@pytest.mark.needs_root
@pytest.mark.needs_program("ip", "nft")
def test_a_strangers_ice_learns_its_public_address_from_the_supernode() -> None:
    with Stage(build_sites({"a": KINDS["apdm-random"]})) as stage:
        start_supernode(stage)
        program = stage.start("a", [sys.executable, "-c", GATHER, stage.address("supernode"), "1971"])
        found = program.wait_event(lambda fields: "found" in fields, 20.0, "gather candidates").fields["found"]
        assert {host for kind, host, _ in found if kind == "host"} == {stage.address("a")}
        assert {host for kind, host, _ in found if kind == "srflx"} == {stage.address("a-router")}


def test_our_checks_are_taken_by_a_stranger() -> None:
    data = build_binding_request(
        TRANSACTION, username="left:right", password=PASSWORD, priority=1845501695, controlling=7, use_candidate=True
    )
    message = stun.parse_message(data)
    assert message.check_message_integrity(PASSWORD.encode())
    assert message.message_class is stun.Class.REQUEST
    assert message.transaction_id == TRANSACTION
    assert message.attributes["USERNAME"] == "left:right"
    assert message.attributes["PRIORITY"] == 1845501695
    assert message.attributes["ICE-CONTROLLING"] == 7
    assert "USE-CANDIDATE" in message.attributes
    assert "FINGERPRINT" in message.attributes
    assert not message.check_message_integrity(b"another password")


@pytest.mark.parametrize("host", ["203.0.113.7", "2001:db8::7"])
def test_our_answers_are_taken_by_a_stranger(host: str) -> None:
    data = build_binding_response(TRANSACTION, Address(host, 40123), password=PASSWORD)
    message = stun.parse_message(data)
    assert message.check_message_integrity(PASSWORD.encode())
    assert message.message_class is stun.Class.RESPONSE
    assert message.attributes["XOR-MAPPED-ADDRESS"] == (host, 40123)


@pytest.mark.parametrize("host", ["203.0.113.7", "2001:db8::7"])
def test_a_strangers_messages_are_taken_by_us(host: str) -> None:
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, transaction_id=TRANSACTION)
    request.attributes["USERNAME"] = "right:left"
    request.attributes["PRIORITY"] = 99
    request.attributes["ICE-CONTROLLED"] = 5
    request.add_message_integrity(PASSWORD.encode())
    data = bytes(request)
    verify_integrity(data, PASSWORD)
    parsed = parse_stun(data)
    assert (parsed.username, parsed.priority, parsed.ice_controlled) == ("right:left", 99, 5)
    answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=TRANSACTION)
    answer.attributes["XOR-MAPPED-ADDRESS"] = (host, 4242)
    answer.add_message_integrity(PASSWORD.encode())
    verify_integrity(bytes(answer), PASSWORD)
    assert parse_stun(bytes(answer)).address == Address(host, 4242)
