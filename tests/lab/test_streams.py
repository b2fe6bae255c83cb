"""Supernodes are reached where UDP does not pass: over TCP, over TLS at port 443, through an HTTP proxy."""

import json
import time
from collections.abc import Iterator

import pytest
from tests.lab.overlay import eventually

from ntvl.lab.member import NTVL, Member, start_supernode
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS, NatBehaviour, Passage

pytestmark = [
    pytest.mark.lab,
    pytest.mark.needs_root,
    pytest.mark.needs_program("ip", "nft", "conntrack", "tinyproxy", "ping"),
    pytest.mark.timeout(120),
]

SITES = {
    "open": KINDS["eim-apdf"],
    "no-udp": (NatBehaviour(passes=Passage.NO_UDP),),
    "tcp-443": (NatBehaviour(passes=Passage.TCP_443),),
    "nothing": (NatBehaviour(passes=Passage.NOTHING),),
}
REPLY_S = 5.0
SLACK_S = 3.0
"""Machines that run tests have seven other things to do; the start of Python is part of what is measured."""
USER, PASSWORD = "someone", "secret-word"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(build_sites(SITES)) as built:
        yield built


@pytest.fixture(scope="module")
def url(stage: Stage) -> str:
    _, found = start_supernode(stage, "supernode", "--wss", "443")
    return found


def start_proxy(stage: Stage) -> str:
    """Returns the URL of an HTTP proxy with authentication on the router that lets nothing else out."""
    address = stage.address("nothing-router", "nothing-lan")
    path = stage.directory / "tinyproxy.conf"
    path.write_text(f"Port 3128\nListen {address}\nTimeout 600\nBasicAuth {USER} {PASSWORD}\nConnectPort 443\n")
    stage.start("nothing-router", ["tinyproxy", "-d", "-c", str(path)], name="the proxy")
    eventually(lambda: "3128" in stage.run("nothing-router", ["ss", "-ltn"]).stdout, 5.0, "the proxy to listen")
    return f"http://{USER}:{PASSWORD}@{address}:3128"


def join(stage: Stage, machine: str, url: str, secret: str = "a secret for streams", proxy: str = "") -> Member:
    path = stage.directory / "secret"
    path.write_text(secret)
    path.chmod(0o600)
    environment = {"https_proxy": proxy} if proxy else {}
    return Member(stage, machine, community="home", supernode=url, secret_file=path, environment=environment)


def over(member: Member) -> str | None:
    supernode = member.status()["supernodes"][0]
    found: str | None = supernode["over"]
    return found


def first_reply_s(stage: Stage, machine: str, address: str, since: float) -> float:
    """Returns how long after `since` a ping has its first answer."""
    while True:
        done = stage.run(machine, ["ping", "-c", "1", "-W", "1", address], check=False)
        if done.returncode == 0:
            return time.monotonic() - since
        assert time.monotonic() < since + 30.0, "no reply at all"
        time.sleep(0.1)


def test_networks_that_pass_less_and_less_are_crossed_in_time(stage: Stage, url: str) -> None:
    proxy = start_proxy(stage)
    server = join(stage, "open", url)
    address = server.wait_address()
    assert over(server) == "udp"
    expected = {
        "no-udp": "tcp",
        "tcp-443": "wss",
        "nothing": f"wss through proxy {stage.address('nothing-router', 'nothing-lan')}:3128",
    }
    for machine, way in expected.items():
        member = join(stage, machine, url, proxy=proxy if machine == "nothing" else "")
        member.program.wait_event(lambda fields: fields["event"] == "started", 20.0, "start")
        began = time.monotonic()
        member.wait_address()
        took_s = first_reply_s(stage, machine, address, began)
        print(f"{machine}: {way}, first reply after {took_s:.2f} s")
        assert took_s < REPLY_S + SLACK_S
        assert over(member) == way
        assert member.status()["supernodes"][0]["observed"] is None
        assert not [event for event in member.program.events if event.fields.get("level") == "error"]
        assert member.program.stop() == 0


def test_udp_is_taken_again_when_the_network_passes_it_and_the_way_before_is_remembered(stage: Stage, url: str) -> None:
    member = join(stage, "no-udp", url)
    member.wait_address()
    assert over(member) == "tcp"
    assert member.program.stop() == 0
    assert '"tcp"' in (member.state / "networks.json").read_text()
    member.restart()
    member.program.wait_event(lambda fields: fields["event"] == "supernode-reached" and fields["over"] == "tcp", 20.0)
    rules = stage.run("no-udp-router", ["nft", "-a", "list", "chain", "inet", "router", "forward"]).stdout
    handle = next(line.rpartition(" ")[2] for line in rules.splitlines() if "l4proto udp drop" in line)
    stage.run("no-udp-router", ["nft", "delete", "rule", "inet", "router", "forward", "handle", handle])
    stage.run("no-udp", ["ip", "address", "add", "192.168.99.1/32", "dev", "eth0"])
    began = time.monotonic()
    member.program.wait_event(lambda fields: fields["event"] == "supernode-reached" and fields["over"] == "udp", 10.0)
    took_s = time.monotonic() - began
    print(f"UDP again after {took_s:.2f} s")
    assert took_s < SLACK_S
    assert over(member) == "udp"
    assert member.status()["supernodes"][0]["observed"].startswith(stage.address("no-udp-router"))
    assert "no-udp" not in stage.run("supernode", ["ss", "-tn", "state", "established"]).stdout
    assert (member.state / "networks.json").read_text().strip() == "{}"


def test_a_supernode_shows_where_a_stream_comes_from(stage: Stage, url: str) -> None:
    member = join(stage, "tcp-443", url)
    member.wait_address()
    path = str(stage.directory / "supernode.state" / "supernode.sock")
    status = json.loads(stage.run("supernode", [*NTVL, "status", "--json", "--socket", path]).stdout)
    assert status["streams"]["wss"] == 1
    observed = [m["observed"] for m in status["communities"][0]["members"] if m["name"] == "tcp-443"]
    assert observed[0].startswith(f"wss {stage.address('tcp-443-router')}:")
    log = (program for program in stage.programs if program.name == "supernode on supernode")
    assert any(f"wss {stage.address('tcp-443-router')}:" in e.fields.get("observed", "") for e in next(log).events)
    assert member.program.stop() == 0


def test_netcheck_tells_what_passes(stage: Stage, url: str) -> None:
    done = stage.run("tcp-443", [*NTVL, "netcheck", "--json", "--supernode", url], check=False)
    report = json.loads(done.stdout)
    assert (done.returncode, report["udp"]) == (1, False)
    (ways,) = report["streams"].values()
    assert ways == {"tcp": "no answer", "wss": "works"}
    assert report["elapsed_s"] < 5.0
