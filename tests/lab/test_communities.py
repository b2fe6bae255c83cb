"""Several communities of one node, from a file: a device each, one port, and nothing crosses from one to another."""

import socket
from pathlib import Path

import pytest
from tests.lab.overlay import eventually

from ntvl.lab.echo import Echo
from ntvl.lab.member import NTVL, Member, start_supernode
from ntvl.lab.program import Program
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]

CONFIG = """\
[node]
name = "both"
state = "{directory}/both.state"
socket = "{directory}/both.sock"
supernodes = ["{url}"]

[[community]]
name = "work"
secret_file = "work.secret"
device = "work"
address = "static 10.80.0.7/24"

[[community]]
name = "home"
secret_file = "home.secret"
device = "home"
subnet = "10.81.0.0/16"
"""


def secret(directory: Path, name: str) -> Path:
    file = directory / f"{name}.secret"
    file.write_text(f"the secret of {name}\n")
    file.chmod(0o600)
    return file


def ipv4(program: Program, community: str) -> str:
    """Returns the IPv4 address that a node said its device in a community has."""
    event = program.wait_event(
        lambda fields: (
            fields.get("event") == "address-assigned"
            and fields["community"] == community
            and any(":" not in address for address in fields["addresses"])
        ),
        20.0,
        f"join {community}",
    )
    return next(str(a).partition("/")[0] for a in event.fields["addresses"] if ":" not in a)


def udp_ports(stage: Stage, machine: str) -> set[str]:
    """Returns the UDP ports on which a machine can be reached: those bound to 127.0.0.1 are an engine's own."""
    said = stage.run(machine, ["cat", "/proc/net/udp", "/proc/net/udp6"]).stdout
    bound = [line.split()[1] for line in said.splitlines() if "local_address" not in line]
    return {local.rpartition(":")[2] for local in bound if not local.startswith("0100007F:")}


def test_two_communities_of_one_node_share_a_port_and_nothing_else() -> None:
    sites = {"both": KINDS["eim-apdf"], "worker": KINDS["eim-apdf"], "homer": KINDS["apdm-random"]}
    with Stage(build_sites(sites)) as stage:
        directory = stage.directory
        supernode, url = start_supernode(stage)
        work = Member(
            stage,
            "worker",
            community="work",
            supernode=url,
            secret_file=secret(directory, "work"),
            arguments=("--subnet", "10.80.0.0/24"),
        )
        home = Member(
            stage,
            "homer",
            community="home",
            supernode=url,
            secret_file=secret(directory, "home"),
            arguments=("--subnet", "10.81.0.0/16"),
        )
        (directory / "both.toml").write_text(CONFIG.format(directory=directory, url=url))
        # Looks at the NAT and at gateways have sockets of their own for a while.
        quiet = ("--punch", "off", "--no-port-mapping")
        both = stage.start("both", [*NTVL, "node", "--json", "--config", str(directory / "both.toml"), *quiet])
        assert ipv4(both, "work") == "10.80.0.7"
        assert ipv4(both, "home").startswith("10.81.")
        for name in ("worker", "homer"):
            both.wait_event(
                lambda fields, name=name: fields.get("event") == "peer-seen" and fields["name"] == name, 20.0
            )
        work.wait_peers(["both"])
        home.wait_peers(["both"])
        echoes = [
            Echo(stage.namespace("worker"), "10.80.0.7", interval_s=0.1),
            Echo(stage.namespace("homer"), ipv4(both, "home"), interval_s=0.1),
        ]
        for echo in echoes:
            eventually(lambda echo=echo: len(echo.report.answered) > 5, 10.0, "replies in both communities")
        for echo in echoes:
            assert echo.stop().lost == 0

        status = stage.run("both", [*NTVL, "status", "--json", "--socket", f"{directory}/both.sock"]).stdout
        for community, peer in (("work", "worker"), ("home", "homer")):
            assert f'"{community}"' in status
            assert f'"{peer}"' in status
        assert [peer["name"] for peer in work.status()["communities"][0]["peers"]] == ["both"]
        assert [peer["name"] for peer in home.status()["communities"][0]["peers"]] == ["both"]
        assert len(udp_ports(stage, "both")) == 1, "one UDP port for all communities"

        # A broadcast stays in its community.
        heard, unheard = (
            stage.open_socket(machine, socket.AF_INET, socket.SOCK_DGRAM) for machine in ("worker", "homer")
        )
        with heard, unheard, stage.open_socket("both", socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for listener in (heard, unheard):
                listener.bind(("", 6000))
            heard.settimeout(3.0)
            unheard.settimeout(1.0)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.sendto(b"for work alone", ("10.80.0.255", 6000))
            assert heard.recv(100) == b"for work alone"
            with pytest.raises(TimeoutError):
                unheard.recv(100)
        assert both.stop() == 0
        links = stage.run("both", ["ip", "-br", "link"]).stdout
        assert "work" not in links
        assert "home" not in links
        for name in ("work", "home"):
            supernode.wait_event(
                lambda fields, name=name: (
                    fields.get("event") == "member-left"
                    and (fields["community"], fields["name"], fields["reason"]) == (name, "both", "left")
                ),
                5.0,
                f"hear that the node left {name}",
            )
