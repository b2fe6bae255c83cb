"""`ntvl supernode`: a directory and relay that nodes meet at."""

from pathlib import Path
from typing import Annotated

import typer

from ntvl.cli.argument import check_value, path_parser, refusing
from ntvl.config import DEFAULT_STATE
from ntvl.errors import UsageError
from ntvl.runtime.listen import parse_listen, parse_wss

__all__ = ["supernode"]


def supernode(
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDR:PORT",
            help="Where to listen, for UDP and TCP: ADDR:PORT, or :PORT for every address. May be repeated for several "
            "addresses at one port. [default: 0.0.0.0:1971 and [::]:1971]",
        ),
    ] = None,
    state: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            parser=path_parser("--state"),
            envvar="NTVL_STATE",
            help=f"Where the key and the leases are kept. [NTVL_STATE] [default: {DEFAULT_STATE}]",
        ),
    ] = DEFAULT_STATE,
    wss: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDR:]PORT",
            help="Also take WebSockets over TLS there, for networks that pass nothing else; nodes try port 443.",
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_parser("--certificate"),
            help="For --wss: a PEM certificate. [default: a new self-signed one]",
        ),
    ] = None,
    certificate_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_parser("--certificate-key"),
            help="For --wss: the PEM key of the certificate.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON, one a line.")] = False,
) -> None:
    """Run a directory and relay that nodes meet at, until Ctrl-C.

    It needs no privilege but a state directory that it may write, and a UDP port that nodes can reach. It cannot read
    what it relays, and holds nothing but who is where and who leases which address.
    """
    with refusing():
        addresses = parse_listen(listen or ())
        check_value("--wss", wss)
        _check_certificate(certificate, certificate_key, wss or "")
        places = parse_wss(wss) if wss else ()
    from ntvl.runtime.supernode import Wss, run_supernode  # takes its time; a wrong flag should not

    run_supernode(addresses, state, wss=Wss(places, certificate, certificate_key) if places else None, as_json=as_json)


def _check_certificate(certificate: Path | None, key: Path | None, wss: str) -> None:
    """Refuses a part without the others, and says what to add."""
    if certificate is None and key is None:
        return
    lacks = [
        words
        for words, is_there in (
            ("--certificate FILE with the certificate", certificate),
            ("--certificate-key FILE with its key (the same file, if both are in one)", key),
            ("--wss 443, the port that it is for", wss),
        )
        if not is_there
    ]
    if lacks:
        given = "--certificate-key" if certificate is None else "--certificate"
        raise UsageError(f"{given} is not enough by itself: add {' and '.join(lacks)}.")
