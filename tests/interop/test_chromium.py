"""ICE with a browser: Chromium's data channel as far as the ICE state "connected", in both roles.

DTLS comes behind ICE and is no business of ours: the certificate in our SDP does not exist, and what the browser says
of DTLS is left unanswered.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.interop.agent import Agent
from tests.interop.browser import Browser

from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.wire.control import Candidate

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft", "chromium")]

PAGE = """
var peer = new RTCPeerConnection({iceServers: []});
var states = [];
peer.addEventListener("iceconnectionstatechange", () => states.push(peer.iceConnectionState));
var gathered = new Promise(done => peer.addEventListener("icegatheringstatechange", () => {
    if (peer.iceGatheringState === "complete") done();
}));
async function offer() {
    peer.createDataChannel("data");
    await peer.setLocalDescription(await peer.createOffer());
    await gathered;
    return peer.localDescription.sdp;
}
async function answer(sdp) {
    await peer.setRemoteDescription({type: "offer", sdp});
    await peer.setLocalDescription(await peer.createAnswer());
    await gathered;
    return peer.localDescription.sdp;
}
async function pair() {
    const stats = await peer.getStats();
    const transport = [...stats.values()].find(each => each.type === "transport");
    const selected = stats.get(transport.selectedCandidatePairId);
    const end = id => [stats.get(id).address, stats.get(id).port];
    return {role: transport.iceRole, local: end(selected.localCandidateId), remote: end(selected.remoteCandidateId)};
}
"""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(build_sites({}, publics=("ours", "theirs"), ipv6=True)) as built:
        # The browser looks for its addresses by the way to the Internet.
        built.run("theirs", ["ip", "route", "add", "default", "via", built.address("ours")])
        built.run("theirs", ["ip", "-6", "route", "add", "default", "via", built.address("ours", ipv6=True)])
        yield built


@pytest.fixture(scope="module")
def browser(stage: Stage) -> Iterator[Browser]:
    with Browser(stage, "theirs") as opened:
        yield opened


def build_sdp(agent: Agent, *, offers: bool) -> str:
    """Returns our side of a data channel (RFC 8839, RFC 8841), with the fingerprint of a certificate that is not."""
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        "a=mid:0",
        f"a=ice-ufrag:{agent.ufrag}",
        f"a=ice-pwd:{agent.password}",
        "a=fingerprint:sha-256 " + ":".join(["0A"] * 32),
        f"a=setup:{'actpass' if offers else 'passive'}",
        "a=sctp-port:5000",
        *(f"a=candidate:{n} 1 udp {c.priority} {c.host} {c.port} typ {c.kind}" for n, c in enumerate(agent.candidates)),
        "a=end-of-candidates",
    ]
    return "".join(line + "\r\n" for line in lines)


def parse_sdp(sdp: str) -> tuple[str, str, tuple[Candidate, ...]]:
    """Returns user fragment, password and UDP candidates."""
    values: dict[str, list[str]] = {}
    for line in sdp.splitlines():
        name, _, value = line.partition(":")
        values.setdefault(name, []).append(value)
    candidates = []
    for each in values["a=candidate"]:
        _, _, transport, priority, host, port, _, kind, *_ = each.split()
        if transport.lower() == "udp":
            candidates.append(Candidate(kind, host, int(port), int(priority)))
    return values["a=ice-ufrag"][0], values["a=ice-pwd"][0], tuple(candidates)


def connect(agent: Agent, browser: Browser, *, offers: bool, waits: bool = False) -> dict[str, Any]:
    """Returns what the browser says of the pair that it ends with; `waits`: it checks first."""
    browser.run(PAGE)
    if offers:
        theirs = browser.run(f"answer({json.dumps(build_sdp(agent, offers=True))})")
    else:
        theirs = browser.run("offer()")
    ufrag, password, candidates = parse_sdp(theirs)
    agent.begin(ufrag, password, candidates, offers=offers, waits=waits)
    if not offers:
        sdp = json.dumps({"type": "answer", "sdp": build_sdp(agent, offers=False)})
        browser.run(f"peer.setRemoteDescription({sdp})")
    agent.run_until(lambda: agent.selected is not None, 15.0, "select a pair")
    agent.run_until(lambda: browser.run("states.includes('connected')"), 15.0, "see the browser connected")
    return browser.run("pair()")


def assert_both_show_one_pair(agent: Agent, theirs: dict[str, Any]) -> None:
    assert agent.selected is not None
    target = agent.selected.target
    assert theirs["local"] == [target.host, target.port]
    assert theirs["remote"] in [[c.host, c.port] for c in agent.candidates]
    assert theirs["role"] == ("controlled" if agent.is_controlling else "controlling")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("controlling", [True, False])
def test_a_browser_connects(stage: Stage, browser: Browser, controlling: bool, family: int) -> None:
    with Agent(stage, "ours", controlling=controlling, families=(family,)) as agent:
        theirs = connect(agent, browser, offers=controlling)
        assert_both_show_one_pair(agent, theirs)
        assert agent.is_controlling is controlling
        connected = time.monotonic()
        agent.run_for(2.0)
        agent.run_until(lambda: any(at > connected for at, _ in agent.checks_heard), 10.0, "hear the browser ask on")
        assert browser.run("peer.iceConnectionState") in ("connected", "completed")
        assert_both_show_one_pair(agent, browser.run("pair()"))
        browser.run("peer.close()")


def test_a_browser_that_claims_our_role_is_put_right(stage: Stage, browser: Browser) -> None:
    with Agent(stage, "ours", controlling=True, families=(4,), tie_breaker=2**64 - 1) as agent:
        assert_both_show_one_pair(agent, connect(agent, browser, offers=False, waits=True))
        assert agent.is_controlling
        assert 487 in agent.errors_said
        browser.run("peer.close()")


def test_a_browser_with_the_larger_tie_breaker_puts_us_right(stage: Stage, browser: Browser) -> None:
    with Agent(stage, "ours", controlling=True, families=(4,), tie_breaker=0) as agent:
        assert_both_show_one_pair(agent, connect(agent, browser, offers=False))
        assert not agent.is_controlling
        browser.run("peer.close()")
