"""`ntvl supernode`: a directory and relay that nodes meet at."""

from pathlib import Path
from typing import Annotated

import typer

from ntvl.config import DEFAULT_STATE
from ntvl.runtime.listen import parse_listen

__all__ = ["supernode"]


def supernode(
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDR:PORT",
            help="Where to listen, for UDP: ADDR:PORT, or :PORT for every address. May be repeated for several "
            "addresses at one port. \\[default: 0.0.0.0:1971 and [::]:1971]",
        ),
    ] = None,
    state: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            readable=False,
            envvar="NTVL_STATE",
            help="Where the key and the leases are kept.",
        ),
    ] = DEFAULT_STATE,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON, one a line.")] = False,
) -> None:
    """Run a directory and relay that nodes meet at, until Ctrl-C.

    It needs no privilege but a state directory that it may write, and a UDP port that nodes can reach. It cannot read
    what it relays, and holds nothing but who is where and who leases which address.
    """
    addresses = parse_listen(listen or ())
    from ntvl.runtime.supernode import run_supernode  # takes its time; a wrong flag should not

    run_supernode(addresses, state, as_json=as_json)
