"""`ntvl node`: be a member of one community by flags, or of several by a file."""

import os
from pathlib import Path
from typing import Annotated

import typer

from ntvl.cli.argument import check_value, parse_socket, path_parser, refusing
from ntvl.config import DEFAULT_MTU, DEFAULT_SOCKET, DEFAULT_STATE, DEFAULT_SUBNET, MTU_MAX, MTU_MIN, Flags, load_config
from ntvl.errors import UsageError

__all__ = ["node"]

_COMMUNITY = "Community"
_NODE = "Node"


def node(
    community: Annotated[
        str | None, typer.Option(metavar="NAME", help="The community to join.", rich_help_panel=_COMMUNITY)
    ] = None,
    supernode: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Where members meet: ntvl://KEY@HOST:PORT as `ntvl supernode` prints it, or HOST[:PORT], whose key is "
            "pinned at first use. Repeat it for a standby. [NTVL_SUPERNODE]",
            rich_help_panel=_COMMUNITY,
        ),
    ] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_parser("--secret-file"),
            help="File with the community's secret in one line. Without it: NTVL_SECRET, or a question.",
            rich_help_panel=_COMMUNITY,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="auto leases one from the subnet; dhcp leaves it to a DHCP server in the community; static IP/LEN "
            "takes this one, such as 10.77.0.5/16, or fails. [default: auto]",
            rich_help_panel=_COMMUNITY,
        ),
    ] = None,
    static_address: Annotated[str | None, typer.Argument(metavar="ADDRESS", hidden=True)] = None,
    subnet: Annotated[
        str | None,
        typer.Option(
            metavar="CIDR",
            help=f"The community's subnet, the same on all nodes. [default: {DEFAULT_SUBNET}]",
            rich_help_panel=_COMMUNITY,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the network device. [default: ntvl0, or the next free one]",
            rich_help_panel=_COMMUNITY,
        ),
    ] = None,
    mtu: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES",
            help=f"Largest packet of the device, {MTU_MIN} to {MTU_MAX}. [default: {DEFAULT_MTU}]",
            rich_help_panel=_COMMUNITY,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_parser("--config"),
            help="Configuration in TOML, for several communities at once.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What the others call this node. [NTVL_NAME] [default: the host's name]",
            rich_help_panel=_NODE,
        ),
    ] = None,
    port: Annotated[
        str | None,
        typer.Option(
            metavar="UDP_PORT", help="Port for everything. [NTVL_PORT] [default: any free one]", rich_help_panel=_NODE
        ),
    ] = None,
    punch: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="Which direct paths to try: all techniques; known, those that send to known addresses only; or off, "
            "every peer by relay. [default: all]",
            rich_help_panel=_NODE,
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=path_parser("--state"),
            help=f"Where the node's key is kept. [NTVL_STATE] [default: {DEFAULT_STATE}]",
            rich_help_panel=_NODE,
        ),
    ] = None,
    socket: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            parser=parse_socket,
            help=f"Where `ntvl status` and `ntvl ping` find this node. [NTVL_SOCKET] [default: {DEFAULT_SOCKET}]",
            rich_help_panel=_NODE,
        ),
    ] = None,
    no_port_mapping: Annotated[
        bool,
        typer.Option(
            "--no-port-mapping",
            help="Do not ask the router for a port by PCP, NAT-PMP or UPnP.",
            rich_help_panel=_NODE,
        ),
    ] = False,
    turn: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="A TURN server that relays for this node where nothing direct works: turn:HOST:PORT, "
            "turn:HOST:PORT?transport=tcp or turns:HOST:PORT.",
            rich_help_panel=_NODE,
        ),
    ] = None,
    turn_credentials: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_parser("--turn-credentials"),
            help="File with USER:PASSWORD for the TURN server in one line.",
            rich_help_panel=_NODE,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print events as JSON, one a line.")] = False,
) -> None:
    """Join communities: one Ethernet with their other members, until Ctrl-C.

    The node needs root, or the capability NET_ADMIN, for its network device.
    """
    with refusing():
        named = {
            "--community": community,
            "--address": address,
            "--subnet": subnet,
            "--device": device,
            "--turn": turn,
            "--punch": punch,
            "--mtu": mtu,
            "--name": name,
            "--port": port,
        }
        for flag, value in named.items():
            check_value(flag, value)
        for url in supernode or ():
            check_value("--supernode", url)
        if static_address is not None:
            if address != "static":
                raise UsageError(f"Unexpected {static_address!r}; an address follows --address static.")
            address = f"static {static_address}"
        flags = Flags(
            config=config,
            community=community,
            supernodes=tuple(supernode or ()),
            secret_file=secret_file,
            address=address,
            subnet=subnet,
            device=device,
            mtu=mtu,
            name=name,
            port=port,
            punch=punch,
            state=state,
            socket=socket,
            port_mapping=False if no_port_mapping else None,
            turn=turn,
            turn_credentials=turn_credentials,
        )
        settings = load_config(flags, os.environ)
    from ntvl.runtime.node import run_node  # takes its time; a wrong flag should not

    run_node(settings, as_json=json)
