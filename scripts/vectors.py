"""Writes the golden wire vectors anew: `python -m scripts.vectors` in the project's directory, or `make vectors`.

Each file in vectors/ that this program makes is a JSON list of {"name", "given", "hex", and "meaning" or "refused"}:
bytes, what they were made of where a reader needs to know it, and what a parser makes of them, or the reason why it
refuses them. Fields of messages at their defaults are left out, bytes are in hex. docs/wire-format.md says what all of
it means. Meanings come out of ntvl's own code, so read the difference before committing it: a changed vector is a
changed wire format. tests/guards checks that the files are up to date, and that another reader, who shares no code with
ntvl, gets the same.

    header.json      DATA, CONTROL and RELAY headers            scripts/golden/wire.py
    service.json     KEY_REQUEST, KEY_REPLY, RESET              scripts/golden/wire.py
    control.json     every control message                      scripts/golden/wire.py
    stun.json        STUN messages as ntvl sends them           scripts/golden/wire.py
    identity.json    communities, MACs, IPv6, certificates      scripts/golden/identity.py
    handshake.json   whole handshakes, cookies, session keys    scripts/golden/handshake.py
    plaintext.json   how frames are packed, and delivered       scripts/golden/plaintext.py
    session.json     sealed CONTROL and DATA datagrams          scripts/golden/session.py
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from scripts.golden.entry import Entry
from scripts.golden.handshake import handshake_vectors
from scripts.golden.identity import identity_vectors
from scripts.golden.plaintext import plaintext_vectors
from scripts.golden.session import session_vectors
from scripts.golden.wire import control_vectors, header_vectors, service_vectors, stun_vectors

__all__ = ["FILES", "VECTORS", "render"]

VECTORS: Final = Path(__file__).parent.parent / "vectors"

FILES: Final[dict[str, Callable[[], list[Entry]]]] = {
    "header.json": header_vectors,
    "service.json": service_vectors,
    "control.json": control_vectors,
    "stun.json": stun_vectors,
    "identity.json": identity_vectors,
    "handshake.json": handshake_vectors,
    "plaintext.json": plaintext_vectors,
    "session.json": session_vectors,
}
"""The files that this program makes, and what makes their content."""


def render(name: str) -> str:
    """Returns what the file `name` should hold."""
    return json.dumps(FILES[name](), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in FILES:
        (VECTORS / name).write_text(render(name))
        print(f"vectors: wrote {name}")
