"""What a person asked for: file, environment and flags become one frozen `Config`.

A flag wins over the environment, the environment over the file, the file over the default. Flags describe one
community; several come from a file, so a file and flags that describe a community exclude each other. Secrets are never
part of a configuration: it only names the file that holds one.
"""

import difflib
import ipaddress
import re
import socket
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from ntvl.errors import UsageError
from ntvl.identity.community import check_community_name
from ntvl.identity.turn_uri import TurnUri, parse_turn_uri
from ntvl.identity.url import SupernodeUrl, parse_supernode_url

__all__ = [
    "DEFAULT_MTU",
    "DEFAULT_SOCKET",
    "DEFAULT_STATE",
    "DEFAULT_SUBNET",
    "MTU_MAX",
    "MTU_MIN",
    "SUPERNODE_SOCKET",
    "CommunityConfig",
    "Config",
    "Flags",
    "load_config",
]

DEFAULT_STATE: Final = Path("/var/lib/ntvl")
DEFAULT_SOCKET: Final = Path("/run/ntvl/ntvl.sock")
SUPERNODE_SOCKET: Final = "supernode.sock"
"""A supernode's control socket, in its state directory."""
DEFAULT_SUBNET: Final = "10.77.0.0/16"
DEFAULT_MTU: Final = 1360
"""What a datagram of 1,432 bytes carries without being cut in two."""
MTU_MIN: Final = 1280
"""RFC 8200 section 5: with less, the device has no IPv6."""
MTU_MAX: Final = 9000
NAME_CHARS_MAX: Final = 63
COMMUNITIES_MAX: Final = 16
SUPERNODES_MAX: Final = 8
PUNCH: Final = ("all", "known", "off")
"""What `--punch` may be, the default first."""
_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")
"""RFC 1122 section 3.2.1.3: never a destination."""
_DEVICE: Final = re.compile(r"[^\s/:%]{1,15}", re.ASCII)
"""What Linux takes for an interface (IFNAMSIZ), without "%", which it would fill in."""


class CommunityConfig(msgspec.Struct, frozen=True):
    """Is one virtual network to join."""

    name: str
    """1..63 characters out of a-z, 0-9, ".", "_" and "-"."""
    secret_file: Path | None
    """Where the secret is; None: NTVL_SECRET, or a question on the terminal."""
    lease: str
    """"auto" (from the subnet), "static" (`address` or nothing) or "none" (a DHCP server on the network has it)."""
    address: str
    """CIDR text when static, else empty."""
    subnet: str
    """CIDR text."""
    device: str
    """The TAP's name, at most 15 characters; empty: the first free one of ntvl0, ntvl1 and so on."""
    mtu: int
    """Of the TAP, in bytes, Ethernet header not counted."""


class Config(msgspec.Struct, frozen=True):
    """Is everything that a node is started with."""

    name: str
    """What other members see, 1..63 printable characters."""
    port: int
    """UDP port, 1..65535; 0: any free one."""
    state: Path
    """Directory of the node's key."""
    socket: Path
    """Unix socket at which `ntvl status` and `ntvl ping` ask."""
    supernodes: tuple[SupernodeUrl, ...]
    """In order of preference, at least one."""
    communities: tuple[CommunityConfig, ...]
    """At least one, with distinct names, subnets and devices."""
    port_mapping: bool = True
    """Whether the gateways of this machine are asked for a mapping of the port."""
    punch: str = "all"
    """Which direct paths are tried: "all", "known" (to addresses that somebody has named) or "off" (relays only)."""
    turn: TurnUri | None = None
    """A TURN server to be reached through."""
    turn_credentials: Path | None = None
    """Where its user name and password are; there with `turn`."""


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """Is what the command line said, None or empty where it said nothing; fields as in `Config`, as text."""

    config: Path | None = None
    community: str | None = None
    supernodes: tuple[str, ...] = ()
    secret_file: Path | None = None
    address: str | None = None
    subnet: str | None = None
    device: str | None = None
    mtu: int | str | None = None
    name: str | None = None
    port: int | str | None = None
    punch: str | None = None
    state: Path | None = None
    socket: Path | None = None
    port_mapping: bool | None = None
    turn: str | None = None
    turn_credentials: Path | None = None


class _NodeSection(msgspec.Struct, frozen=True):
    """Is [node] of a file."""

    name: str | None = None
    port: int | None = None
    state: str | None = None
    socket: str | None = None
    mtu: int | None = None
    punch: str | None = None
    supernodes: list[str] = []
    port_mapping: bool = True
    turn: str | None = None
    turn_credentials: str | None = None


class _CommunitySection(msgspec.Struct, frozen=True):
    """Is one [[community]] of a file."""

    name: str
    secret_file: str | None = None
    address: str = "auto"
    subnet: str | None = None
    device: str = ""
    mtu: int | None = None


class _File(msgspec.Struct, frozen=True):
    node: _NodeSection = _NodeSection()
    community: list[_CommunitySection] = []


_KINDS: Final = {
    "int": "a whole number",
    "float": "a number with a point",
    "str": "text in quotes",
    "bool": "true or false",
    "array": "a list in brackets",
    "object": "a section",
}
_OF_A_COMMUNITY: Final = ("community", "secret_file", "address", "subnet", "device")
_ENVIRONMENT: Final = {
    "name": "NTVL_NAME",
    "port": "NTVL_PORT",
    "state": "NTVL_STATE",
    "socket": "NTVL_SOCKET",
    "supernodes": "NTVL_SUPERNODE",
}
"""Flag to variable; several supernodes are separated by spaces."""


def load_config(flags: Flags, environ: Mapping[str, str]) -> Config:
    """Returns the configuration that flags, environment and the file named by the flags make together.

    Args:
        flags: the command line.
        environ: as `os.environ`.
    Raises:
        UsageError: one sentence that names what is wrong, and where.
    """
    file = _File()
    if flags.config is not None:
        given = [flag for flag in _OF_A_COMMUNITY if getattr(flags, flag) is not None]
        if given:
            shown = "--" + given[0].replace("_", "-")
            raise UsageError(
                f"{shown} and --config exclude each other: write the community into a [[community]] of {flags.config}."
            )
        file = _read_file(flags.config)
    elif flags.community is not None:
        section = _CommunitySection(
            name=flags.community,
            secret_file=None if flags.secret_file is None else str(flags.secret_file),
            address="auto" if flags.address is None else flags.address,
            subnet=flags.subnet,
            device=flags.device or "",
        )
        file = _File(community=[section])
    else:
        raise UsageError("Name a community to join with --community NAME, or several in a file with --config FILE.")
    node = file.node
    base = Path() if flags.config is None else flags.config.parent
    state, socket_path = _first("state", flags, environ, node.state), _first("socket", flags, environ, node.socket)
    name = _first("name", flags, environ, node.name)
    turn, turn_credentials = _check_turn(flags, node, base)
    return Config(
        name=_host_name() if name is None else _check_name(str(name)),
        port=_check_port(_first("port", flags, environ, node.port)),
        state=DEFAULT_STATE if state is None else Path(state),
        socket=DEFAULT_SOCKET if socket_path is None else Path(socket_path),
        supernodes=_check_supernodes(flags.supernodes or environ.get("NTVL_SUPERNODE", "").split() or node.supernodes),
        communities=_check_communities(file, flags.mtu, base),
        port_mapping=node.port_mapping if flags.port_mapping is None else flags.port_mapping,
        punch=_check_punch(node.punch if flags.punch is None else flags.punch),
        turn=turn,
        turn_credentials=turn_credentials,
    )


def _first(flag: str, flags: Flags, environ: Mapping[str, str], from_file: Any) -> Any:
    """Returns what the flag, else the environment, else the file says; None where all are silent."""
    value = getattr(flags, flag)
    return value if value is not None else environ.get(_ENVIRONMENT[flag]) or from_file


def _check_turn(flags: Flags, node: _NodeSection, base: Path) -> tuple[TurnUri | None, Path | None]:
    turn, credentials = node.turn if flags.turn is None else flags.turn, flags.turn_credentials
    if credentials is None and node.turn_credentials is not None:
        credentials = base / Path(node.turn_credentials).expanduser()
    if turn is None:
        if credentials is not None:
            raise UsageError("There are TURN credentials but no TURN server; name it with --turn turn:HOST:PORT.")
        return None, None
    uri = parse_turn_uri(turn)
    if credentials is None:
        raise UsageError(
            f"The TURN server {uri} wants a user and a password: write USER:PASSWORD into a file, and name that with "
            "--turn-credentials FILE."
        )
    return uri, credentials


def _read_file(path: Path) -> _File:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"Cannot read the configuration {path}: {(error.strerror or str(error)).lower()}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The configuration {path} is not UTF-8 text.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The configuration {path} is not TOML: {error}.") from error
    _check_keys(document, _File, path, "before its first [section]")
    node, communities = document.get("node"), document.get("community")
    if isinstance(node, dict):
        _check_keys(node, _NodeSection, path, "in [node]")
    if isinstance(communities, dict):
        raise UsageError(f"Write [[community]] with two brackets in {path}: there may be several.")
    for community in communities if isinstance(communities, list) else []:
        if isinstance(community, dict):
            _check_keys(community, _CommunitySection, path, "in [[community]]")
    try:
        file = msgspec.convert(document, _File)
    except msgspec.ValidationError as error:
        raise UsageError(f"The configuration {path} has a wrong value: {_explain(str(error))}.") from error
    _check_paths(file.node, ("state", "socket", "turn_credentials"), path, "[node]")
    for section in file.community:
        _check_paths(section, ("secret_file",), path, "[[community]]")
    return file


def _check_paths(section: msgspec.Struct, keys: Sequence[str], path: Path, where: str) -> None:
    """Refuses a path of nothing, which would be the directory that we are in, or that of the file."""
    for key in keys:
        value = getattr(section, key)
        if value is not None and not value.strip():
            raise UsageError(f"{key} in {where} of {path} is empty: give it a path, or leave it out.")


def _explain(message: str) -> str:
    """Returns what msgspec says of a value, such as "Expected `int | null`, got `str` - at `$.node.port`", in words."""
    missing = re.fullmatch(r"Object missing required field `(\w+)`(?: - at `\$\.(.*)`)?", message)
    if missing:
        return f"{_place(missing[2])} has no {missing[1]}"
    wrong = re.fullmatch(r"Expected `([^`]*)`, got `(\w+)`(?: - at `\$\.(.*)`)?", message)
    if wrong is None:
        return message
    expected, got = wrong[1].partition(" ")[0], wrong[2]
    return f"{_place(wrong[3])} should be {_KINDS.get(expected, expected)}, not {_KINDS.get(got, got)}"


def _place(path: str | None) -> str:
    section, _, key = re.sub(r"\[.*?\]", "", path or "").partition(".")
    inside = {"node": "[node]", "community": "[[community]]"}.get(section, section)
    return f"{key} in {inside}" if key else inside


def _check_keys(table: Mapping[str, object], struct: type[msgspec.Struct], path: Path, where: str) -> None:
    known = struct.__struct_fields__
    for key in table:
        if key not in known:
            if key in ("secret", "passphrase", "password"):
                raise UsageError(
                    f"A secret does not stand in a configuration: take {key!r} out of {path}, write the secret into a "
                    "file of its own, and name that in [[community]] as secret_file."
                )
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known there are {', '.join(known)}."
            raise UsageError(f"Unknown key {key!r} {where} of {path}; {hint}")


def _host_name() -> str:
    name = socket.gethostname().partition(".")[0]
    return "".join(c for c in name if c.isprintable())[:NAME_CHARS_MAX] or "node"


def _check_name(name: str) -> str:
    if not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise UsageError(f"{name[:70]!r} cannot name a node: use 1 to {NAME_CHARS_MAX} printable characters.")
    return name


def _check_port(port: int | str | None) -> int:
    try:
        number = int(port or 0)
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise UsageError(f"{_shown(port)} is not a UDP port: use 1 to 65535, or 0 for any free one.")
    return number


def _check_mtu(size: int | str) -> int:
    try:
        number = int(size)
    except ValueError:
        number = 0
    if not MTU_MIN <= number <= MTU_MAX:
        raise UsageError(f"{_shown(size)} is not an MTU: use {MTU_MIN} to {MTU_MAX} bytes.")
    return number


def _shown(value: int | str | None) -> str:
    """Returns a wrong value for a sentence: a number as it is, anything else in quotes."""
    text = str(value)[:40]
    return text if text.removeprefix("-").isdecimal() else repr(text)


def _check_punch(word: str | None) -> str:
    if word is None:
        return PUNCH[0]
    if word not in PUNCH:
        raise UsageError(
            f"{word[:40]!r} is no way to punch: write all (every technique), known (checks to known addresses only) or "
            "off (everything by relay)."
        )
    return word


def _check_supernodes(texts: Sequence[str]) -> tuple[SupernodeUrl, ...]:
    urls = tuple(dict.fromkeys(parse_supernode_url(text) for text in texts))
    if not urls:
        raise UsageError(
            "Name a supernode to meet the others at with --supernode URL; `ntvl supernode` prints its own."
        )
    if len(urls) > SUPERNODES_MAX:
        raise UsageError(f"{len(urls)} supernodes are too many: name at most {SUPERNODES_MAX}.")
    seen: set[tuple[str, int]] = set()
    for url in urls:
        if (url.host, url.port) in seen:
            raise UsageError(f"The supernode {url.endpoint} is named twice with different keys; keep one.")
        seen.add((url.host, url.port))
    return urls


def _check_communities(file: _File, mtu: int | str | None, base: Path) -> tuple[CommunityConfig, ...]:
    if not file.community:
        raise UsageError("The configuration names no community; add a [[community]] with a name.")
    if len(file.community) > COMMUNITIES_MAX:
        raise UsageError(f"{len(file.community)} communities are too many: join at most {COMMUNITIES_MAX}.")
    configs: list[CommunityConfig] = []
    for section in file.community:
        sizes = (size for size in (mtu, section.mtu, file.node.mtu, DEFAULT_MTU) if size is not None)
        config = _check_community(section, _check_mtu(next(sizes)), base)
        for other in configs:
            _check_apart(config, other)
        configs.append(config)
    return tuple(configs)


def _check_community(section: _CommunitySection, mtu: int, base: Path) -> CommunityConfig:
    check_community_name(section.name)
    if section.device and (not _DEVICE.fullmatch(section.device) or section.device in {".", "..", "all", "default"}):
        raise UsageError(
            f"{section.device[:40]!r} cannot name a device: use 1 to 15 characters other than '/', ':' and '%'."
        )
    lease, address, subnet = _check_address(section.address, section.subnet)
    return CommunityConfig(
        name=section.name,
        secret_file=None if section.secret_file is None else base / Path(section.secret_file).expanduser(),
        lease=lease,
        address=address,
        subnet=subnet,
        device=section.device,
        mtu=mtu,
    )


def _check_address(text: str, subnet_text: str | None) -> tuple[str, str, str]:
    """Returns lease, address and subnet for "auto", "dhcp", "static IP/LEN" or "IP/LEN"."""
    subnet = None if subnet_text is None else _parse_subnet(subnet_text)
    word, _, rest = text.strip().partition(" ")
    if word in {"auto", "dhcp"} and not rest:
        return {"auto": "auto", "dhcp": "none"}[word], "", DEFAULT_SUBNET if subnet is None else str(subnet)
    given = rest.strip() if word == "static" else text.strip()
    try:
        interface = ipaddress.IPv4Interface(given)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not an address to take: write auto, dhcp, or static IP/LEN like static 10.77.0.5/16."
        ) from error
    network = interface.network if subnet is None and "/" in given else subnet or ipaddress.IPv4Network(DEFAULT_SUBNET)
    if interface.ip not in network:
        raise UsageError(
            f"The address {interface.ip} is outside the subnet {network}; change one with --address or --subnet."
        )
    if network.prefixlen < 31 and interface.ip in (network.network_address, network.broadcast_address):
        raise UsageError(f"{interface.ip} is the first or last address of {network}, which no computer can have.")
    return "static", f"{interface.ip}/{network.prefixlen}", str(network)


def _parse_subnet(text: str) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(text, strict=False)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a subnet: write it like {DEFAULT_SUBNET}.") from error
    special = network.is_multicast or network.is_loopback or network.is_link_local or network.overlaps(_THIS_NETWORK)
    if special or not 8 <= network.prefixlen <= 30:
        raise UsageError(
            f"{network} cannot be a community's subnet: use a private one, /8 to /30, like {DEFAULT_SUBNET}."
        )
    return network


def _check_apart(one: CommunityConfig, other: CommunityConfig) -> None:
    if one.name == other.name:
        raise UsageError(f"The community {one.name!r} is named twice; name it once.")
    if one.device and one.device == other.device:
        raise UsageError(
            f"The communities {other.name!r} and {one.name!r} both name the device {one.device}; change one."
        )
    if ipaddress.IPv4Network(one.subnet).overlaps(ipaddress.IPv4Network(other.subnet)) and "none" not in (
        one.lease,
        other.lease,
    ):
        raise UsageError(
            f"The communities {other.name!r} ({other.subnet}) and {one.name!r} ({one.subnet}) overlap; give one "
            "another subnet."
        )
