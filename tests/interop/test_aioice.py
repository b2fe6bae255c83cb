"""ICE to its end with an agent that nobody here wrote: aioice, in both roles, over both families."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.agent import Agent

from ntvl.lab.program import Program
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.wire.control import Candidate

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

THEIRS = """
import asyncio, json, os, sys
import aioice
from aioice import ice
wish = json.loads(sys.argv[1])
ice.CONSENT_INTERVAL = 0.5

def tell(**fields):
    print(json.dumps(fields), flush=True)

async def main():
    family = wish["family"]
    connection = aioice.Connection(ice_controlling=wish["controlling"], use_ipv4=family == 4, use_ipv6=family == 6)
    await connection.gather_candidates()
    tell(
        ufrag=connection.local_username,
        password=connection.local_password,
        candidates=[[c.type, c.host, c.port, c.priority] for c in connection.local_candidates],
    )
    connection.remote_username, connection.remote_password = wish["ufrag"], wish["password"]
    for kind, host, port, priority in wish["candidates"]:
        candidate = aioice.Candidate("1", 1, "udp", priority, host, port, kind)
        await connection.add_remote_candidate(candidate)
    await connection.add_remote_candidate(None)
    while not os.path.exists(wish["go"]):
        await asyncio.sleep(0.01)
    await connection.connect()
    pair = connection._nominated[1]
    tell(local=pair.local_addr, remote=pair.remote_addr, controlling=connection.ice_controlling)
    while True:
        data = await connection.recv()
        await connection.send(b"echo of " + data)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(build_sites({}, publics=("ours", "theirs"), ipv6=True)) as built:
        yield built


def start_aioice(stage: Stage, agent: Agent, *, controlling: bool, family: int, go: Path) -> Program:
    wish = {
        "controlling": controlling,
        "family": family,
        "go": str(go),
        "ufrag": agent.ufrag,
        "password": agent.password,
        "candidates": [[c.kind, c.host, c.port, c.priority] for c in agent.candidates],
    }
    return stage.start("theirs", [sys.executable, "-c", THEIRS, json.dumps(wish)])


def connect(stage: Stage, agent: Agent, *, controlling: bool, family: int, first: str = "") -> dict[str, object]:
    """Returns what aioice says of the pair that it ends with.

    Args:
        controlling: the role that it begins with.
        first: who checks first, "ours" or "theirs", the other side only answering; both at once where it is empty.
    """
    go = stage.directory / f"go-{agent.ufrag.replace('/', '-')}"
    if first != "ours":
        go.touch()
    program = start_aioice(stage, agent, controlling=controlling, family=family, go=go)
    theirs = program.wait_event(lambda fields: "ufrag" in fields, 20.0, "gather candidates").fields
    candidates = tuple(Candidate(*each) for each in theirs["candidates"])
    assert {c.host for c in candidates} == {stage.address("theirs", ipv6=family == 6)}
    waits = first == "theirs"
    offers = agent.is_controlling and not waits
    agent.begin(theirs["ufrag"], theirs["password"], candidates, offers=offers, waits=waits)
    if first == "ours":
        agent.run_until(lambda: any(path.confirmed_at for path in agent.pathfinder.paths), 15.0, "be answered")
        go.touch()

    def ended() -> bool:
        return agent.selected is not None and any("local" in event.fields for event in program.events)

    try:
        agent.run_until(ended, 15.0, "end ICE")
    except TimeoutError as error:
        raise AssertionError("\n".join([str(error), *program.log])) from error
    return next(event.fields for event in program.events if "local" in event.fields)


def assert_both_show_one_pair(agent: Agent, theirs: dict[str, object]) -> None:
    assert agent.selected is not None
    target = agent.selected.target
    assert theirs["local"] == [target.host, target.port]
    assert theirs["remote"] in [[c.host, c.port] for c in agent.candidates]
    assert theirs["controlling"] is not agent.is_controlling


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("controlling", [True, False])
def test_ice_completes_on_one_pair_and_data_flows_over_it(stage: Stage, controlling: bool, family: int) -> None:
    with Agent(stage, "ours", controlling=controlling, families=(family,)) as agent:
        theirs = connect(stage, agent, controlling=not controlling, family=family)
        assert_both_show_one_pair(agent, theirs)
        assert agent.is_controlling is controlling
        assert agent.errors_heard == []
        for text in (b"one", b"two", b"three"):
            agent.send_data(text)
            agent.run_until(lambda wanted=b"echo of " + text: wanted in agent.data, 5.0, "hear its data again")


def test_of_two_families_both_take_the_same(stage: Stage) -> None:
    with Agent(stage, "ours", controlling=True) as agent:
        assert len(agent.candidates) == 2
        assert_both_show_one_pair(agent, connect(stage, agent, controlling=False, family=6))


def test_consent_is_given_for_as_long_as_it_is_asked(stage: Stage) -> None:
    with Agent(stage, "ours", controlling=False, families=(4,)) as agent:
        theirs = connect(stage, agent, controlling=True, family=4)
        connected = time.monotonic()
        # Six questions in a row without an answer would end it; it asks about every half second here, not every 5 s.
        agent.run_for(5.0)
        assert sum(at > connected for at, _ in agent.checks_heard) >= 7
        agent.send_data(b"still there?")
        agent.run_until(lambda: b"echo of still there?" in agent.data, 5.0, "hear its data again")
        assert_both_show_one_pair(agent, theirs)


@pytest.mark.parametrize("controlling", [True, False])
@pytest.mark.parametrize("tie_breaker", [0, 2**64 - 1])
@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_two_that_claim_one_role_repair_it_and_the_larger_tie_breaker_controls(
    stage: Stage, controlling: bool, tie_breaker: int, first: str
) -> None:
    with Agent(stage, "ours", controlling=controlling, families=(4,), tie_breaker=tie_breaker) as agent:
        theirs = connect(stage, agent, controlling=controlling, family=4, first=first)
        # Who is asked gives its own role up where it must, and else refuses the asker's by error 487.
        gave_up = agent.is_controlling is not controlling
        assert set(agent.errors_heard) == ({487} if first == "ours" and gave_up else set())
        assert set(agent.errors_said) == ({487} if first == "theirs" and not gave_up else set())
        assert_both_show_one_pair(agent, theirs)
        assert agent.is_controlling is (tie_breaker > 0)
        agent.send_data(b"data")
        agent.run_until(lambda: b"echo of data" in agent.data, 5.0, "hear its data again")
