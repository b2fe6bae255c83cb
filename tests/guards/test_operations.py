"""docs/operations.md says what the code does: flags, keys, variables, events, status, sentences and reasons."""

import ast
import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main
from tests.cli.account import STATUS
from tests.guards.tree import ROOT, SOURCE, parse
from tests.sim.netcheck import netcheck as probe

from ntvl import config
from ntvl.cli import VERBS, build_app
from ntvl.cli.netcheck import describe
from ntvl.errors import REASONS
from ntvl.nat import Filtering, Mapping, PortAllocation
from ntvl.proto.diagnosis import CAUSES, METHODS, SILENCES, nat_word
from ntvl.proto.nat_report import NOTES
from ntvl.proto.techniques import TECHNIQUES
from ntvl.runtime.netcheck import Netcheck
from ntvl.sim.net import Net
from ntvl.wire.control import Nat

PAGE: Final = (ROOT / "docs" / "operations.md").read_text()
WORDS: Final = " ".join(PAGE.split())
NTVL: Final = SOURCE / "ntvl"
NATS: Final = list(itertools.product(("", *Mapping), ("", *Filtering), ("", *PortAllocation)))


def section(title: str, text: str = PAGE) -> str:
    """Returns what stands below a heading, up to the next one of its level or above."""
    level = len(title) - len(title.lstrip("#"))
    _, found, rest = text.partition(f"\n{title}\n")
    assert found, title
    return re.split(rf"\n#{{1,{level}}} ", rest)[0]


def tables(text: str) -> list[list[list[str]]]:
    """Returns the rows of each table, without its head."""
    found = re.findall(r"(?:^\|.*\n)+", text + "\n", re.MULTILINE)
    return [[[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]] for table in found]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# --- reasons ---


def test_the_table_of_drop_reasons_is_the_list_of_reasons() -> None:
    (rows,) = tables(section("## Drop reasons"))
    assert {code(row[0])[0]: row[1] for row in rows} == REASONS


# --- commands ---


def options(verb: str) -> list[Any]:
    command = typer.main.get_command(build_app([verb])).commands[verb]  # type: ignore[attr-defined]
    commands = getattr(command, "commands", {"": command}).values()
    return [p for each in commands for p in each.params if p.param_type_name == "option" and not p.hidden]


@pytest.mark.parametrize("verb", VERBS)
def test_the_table_of_a_verb_has_each_of_its_flags_and_their_environment(verb: str) -> None:
    (rows,) = [table for table in tables(section(f"### ntvl {verb}")) if table[0][0].startswith("`-")]
    listed = {tuple(sorted(flag.split()[0] for flag in code(row[0]))): row for row in rows}
    assert set(listed) == {tuple(sorted(option.opts)) for option in options(verb)}
    for option in options(verb):
        row = listed[tuple(sorted(option.opts))]
        named = set(re.findall(r"NTVL_\w+", f"{option.help} {option.envvar or ''}"))
        assert set(re.findall(r"NTVL_\w+", row[2])) == named, f"{verb} {row[0]}"


@pytest.mark.parametrize(
    ("verb", "flag", "default"),
    [
        ("supernode", "--state", config.DEFAULT_STATE),
        ("node", "--state", config.DEFAULT_STATE),
        ("node", "--socket", config.DEFAULT_SOCKET),
        ("node", "--subnet", config.DEFAULT_SUBNET),
        ("node", "--mtu", config.DEFAULT_MTU),
        ("status", "--socket", config.DEFAULT_SOCKET),
        ("ping", "--socket", config.DEFAULT_SOCKET),
    ],
)
def test_the_defaults_in_the_tables_are_those_of_the_code(verb: str, flag: str, default: object) -> None:
    (row,) = [row for table in tables(section(f"### ntvl {verb}")) for row in table if f"`{flag} " in row[0]]
    assert code(row[1]) == [str(default)]


# --- configuration and environment ---


def test_the_tables_of_the_file_have_its_keys() -> None:
    of_node, of_community = tables(section("## Configuration file"))
    assert [code(row[0])[0] for row in of_node] == list(config._NodeSection.__struct_fields__)
    assert [code(row[0])[0] for row in of_community] == list(config._CommunitySection.__struct_fields__)


def test_the_example_of_a_file_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "node.toml"
    path.write_text(example)
    loaded = config.load_config(config.Flags(config=path), {})
    assert [community.name for community in loaded.communities] == ["home", "work"]
    assert loaded.communities[1].address == "10.88.0.5/24"
    assert loaded.communities[0].secret_file == tmp_path / "home.secret"


def test_files_shown_in_part_are_toml_too(tmp_path: Path) -> None:
    parts = re.findall(
        r"(?:^    (?:#|\[\[community|\w+ = ).*\n)+", section("## A DHCP server on the virtual network"), re.M
    )
    assert len(parts) == 2
    for part in parts:
        tomllib.loads(re.sub(r"^    ", "", part, flags=re.MULTILINE))


def test_the_table_of_the_environment_has_every_variable_that_is_read() -> None:
    (rows,) = tables(section("## Environment"))
    read = {
        name
        for path in NTVL.rglob("*.py")
        for name in re.findall(r"[\"'](NTVL_[A-Z]+|NO_COLOR)[\"']", path.read_text())
    }
    assert {code(row[0])[0] for row in rows} == read


# --- events ---


def told(module: str) -> dict[str, set[str]]:
    """Returns the events that a reporter's docstring lists, with their fields."""
    listed = re.findall(
        r"^    ([a-z-]+)  +(.*(?:\n {20,}.*)*)", ast.get_docstring(parse(NTVL / module)) or "", re.MULTILINE
    )
    return {event: set(re.findall(r"\b[a-z]+\b", re.sub(r"\([^)]*\)|:.*", "", rest))) for event, rest in listed}


def written(module: str) -> set[str]:
    """Returns the events that a reporter writes."""
    text = (NTVL / module).read_text()
    return set(re.findall(r'"event": "([a-z-]+)"', text)) | set(re.findall(r'_peer_fields\("([a-z-]+)"', text))


@pytest.mark.parametrize(("place", "module"), [(0, "runtime/report.py"), (1, "runtime/supernode_report.py")])
def test_the_table_of_events_has_every_event_with_its_fields(place: int, module: str) -> None:
    rows = tables(section("## What is logged"))[place]
    shown = {code(row[0])[0]: set(re.findall(r"\w+", row[1])) for row in rows}
    assert set(shown) == written(module) == set(told(module))
    for event, fields in told(module).items():
        assert fields - {"nothing", "more"} == shown[event], event


def codes(*packages: str) -> set[str]:
    """Returns the literal codes of notices in the modules of some packages."""
    found: set[str] = set()
    for path in (path for package in packages for path in NTVL.glob(package)):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("Notice", "notice", "warn"):
                said = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                found |= {word for word in said if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", str(word))}
    return found - {"info", "warning", "error"}


def test_codes_that_are_no_reasons_are_on_the_page() -> None:
    logged = section("## What is logged")
    of_node, of_supernode = (
        set(code(" ".join(words.split()).replace("[drop reason](#drop-reasons)", ""))) - {"code"}
        for words in re.findall(r"`code` is (?:a \[drop reason\].*? else one of )?(.*?)\.\n", logged, re.DOTALL)
    )
    assert of_supernode == codes("runtime/supernode*.py")
    assert of_node == codes("proto/*.py", "runtime/*.py") - of_supernode - set(REASONS)


# --- port mapping ---


def outcome_words() -> Iterator[tuple[str, str]]:
    """Yields module and pattern of everything that is said of a port mapping."""
    for module in ("proto/lessee", "proto/pcp", "proto/natpmp", "runtime/upnp", "runtime/mapping_session"):
        for node in ast.walk(parse(NTVL / f"{module}.py")):
            found: list[ast.expr] = []
            if isinstance(node, ast.Dict):
                found = node.values  # type: ignore[assignment]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in (
                "UpnpRefusedError",
                "_refuse",
                "_give_up",
                "_tell",
            ):
                found = node.args
            elif isinstance(node, ast.Assign) and "outcome" in ast.unparse(node.targets[0]):
                found = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for text in map(pattern, found):
                if text is not None and "\\ " in text:
                    yield module, text


def test_every_outcome_of_a_port_mapping_is_on_the_page() -> None:
    words = " ".join(section("## Port mapping").split())
    checked = list(outcome_words())
    assert len(checked) > 20
    for module, text in checked:
        assert re.search(text, words), f"{module}: docs/operations.md lacks: {text}"


# --- status ---

PORT_MAPPING: Final = STATUS["port_mapping"]


def keys(value: Any, path: str = "") -> Iterator[str]:
    """Yields the path of every key; what is a table by reason or place has no keys of its own."""
    if isinstance(value, dict) and path not in ("drops", "faults"):
        for key, inner in value.items():
            yield from keys(inner, f"{path}.{key}".removeprefix("."))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from keys(value[0], f"{path}[]")
    else:
        yield path


def test_the_tables_of_status_have_its_keys() -> None:
    net = Net(seed=1)
    supernode = net.supernode()
    left, right = net.node(), net.node()
    net.join()
    net.ping(left, right)
    net.run(2.0)
    of_node, of_supernode = tables(section("## Status as JSON"))
    # What the runtime adds: tests/runtime compares it with real programs.
    runtime = {"node.uptime_s", "engine.name", "engine.offloads", "faults"}
    runtime |= {f"port_mapping.{key}" for key in keys(PORT_MAPPING)} | {f"turn.{key}" for key in STATUS["turn"]}
    assert {code(row[0])[0] for row in of_node} == set(keys(left.status())) | runtime
    runtime = {"supernode.key", "supernode.version", "supernode.port", "supernode.uptime_s", "engine.name", "faults"}
    runtime |= {"streams.tcp", "streams.wss", "streams.drops"}
    assert {code(row[0])[0] for row in of_supernode} == set(keys(supernode.status())) - {"key"} | runtime


# --- the NAT ---


def test_the_table_of_notes_is_the_list_of_notes() -> None:
    listed = [table for table in tables(section("### ntvl netcheck")) if not table[0][0].startswith("`-")]
    assert {code(row[0])[0]: row[1] for row in listed[0]} == NOTES


def test_what_netcheck_says_in_json_is_on_the_page() -> None:
    net = Net(seed=1)
    servers = [address for _ in range(2) for address in net.supernode().addresses]
    report = probe(net, net.host("asking", behind="eim-apdf"), servers)
    said = describe(Netcheck(report, (), {}))
    shown = set(code(section("### ntvl netcheck")))
    assert set(said) | set(said["servers"][0]) <= shown


# --- why ---


def capitals(text: str) -> str:
    """Returns a sentence as the page has it: what is filled in, in capitals."""
    return re.sub(r"\{(\w+)\}", lambda name: name.group(1).upper(), text)


def test_the_tables_of_why_are_the_causes_the_methods_and_the_words_for_nats() -> None:
    words, causes, methods = tables(section("### ntvl why"))[1:]
    assert {code(row[0])[0]: (row[1], row[2]) for row in causes} == {
        cause: (capitals(said.sentence), capitals(said.fix)) for cause, said in CAUSES.items()
    }
    assert [code(row[0])[0] for row in causes] == list(CAUSES)
    assert {code(row[0])[0]: row[1] for row in methods} == METHODS
    shown = {nat_word(Nat(mapping, filtering, allocation)) for mapping, filtering, allocation in NATS}
    assert {code(row[0])[0] for row in words} == (shown - {""}) | {"unknown"}
    for said in SILENCES.values():
        assert capitals(said) in WORDS


def test_the_example_of_why_has_a_row_of_each_technique_in_order() -> None:
    _, _, ladder = section("### ntvl why").partition("    technique ")
    rows = re.findall(r"^    ([a-z-]+) +\d+s ", ladder, re.MULTILINE)
    assert rows == [technique.name for technique in TECHNIQUES]


def test_what_why_says_in_json_is_on_the_page() -> None:
    net = Net(seed=1)
    net.supernode()
    left, right = net.node(), net.node()
    net.join()
    net.ping(left, right)
    net.run(2.0)
    found = left.machine.explainer.explain("home", right.key.public, None, net.now)
    assert found is not None
    said = {*found, *found["ladder"][0], *found["ladder"][0]["local"], *found["ends"]["local"]}
    shown = {word for words in code(section("### ntvl why")) for word in words.split(".")}
    assert said <= shown


# --- sentences ---

TOLD: Final = {"UsageError", "ArgumentError", "StoreError", "notice", "warn", "Notice", "Failed"}
REFUSING: Final = ("proto/leases.py", "proto/registrar.py", "proto/directory.py")
NEVER_SAID: Final = {
    "identity/certificate.py": "what a node certifies of itself was checked before",
    "proto/supernode_events.py": "no sentences",
}
"""Modules whose sentences no person can come to see, and why."""
SENTENCES_OF: Final = [
    path
    for package in (
        *("cli", "config.py", "identity", "registry", "dataplane", "runtime", "proto"),
        *("lab/requirement.py", "lab/blueprint.py", "kind.py", "sim/matrix.py"),
    )
    for path in ([NTVL / package] if package.endswith(".py") else sorted((NTVL / package).glob("*.py")))
    if str(path.relative_to(NTVL)) not in NEVER_SAID
]


ANYTHING: Final = ".{0,160}?"


def pattern(node: ast.expr) -> str | None:
    """Returns a regular expression for a string, in which anything may stand for what is filled in."""
    match node:
        case ast.Constant(value=str() as text):
            return re.escape(text)
        case ast.JoinedStr(values=values):
            return "".join(pattern(value) or ANYTHING for value in values)
        case ast.BinOp(left=left, right=right):
            return f"{pattern(left) or ANYTHING}{pattern(right) or ANYTHING}"
        case _:
            return None


def sentences(path: Path) -> Iterator[tuple[int, str]]:
    """Yields line and pattern of everything in a module that is said to a person."""
    relative = str(path.relative_to(NTVL))
    for node in ast.walk(parse(path)):
        found: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).split(".")[-1]
            if name in TOLD or (name == "PeerError" and relative in REFUSING):
                found = node.args
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "text":
            found = [node.value] if relative.startswith(("proto/", "runtime/device", "runtime/node")) else []
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "refusal":
            found = [node.value]
        elif isinstance(node, ast.FunctionDef) and node.name == "_explain":
            found = [each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value is not None]
        for expression in found:
            text = pattern(expression)
            if text is not None and text.count("\\ ") >= 3:
                yield expression.lineno, text


PARTS: Final = (*REFUSING, "lab/blueprint.py")
"""Modules whose sentences stand behind a colon, in another."""


def capital(text: str) -> str:
    """Returns a pattern as what it stands for is printed: by `ntvl.cli` and by the reporters."""
    first = text.partition("\\ ")[0]
    return text[0].upper() + text[1:] if first.isalpha() and first.islower() and first != "ntvl" else text


@pytest.mark.parametrize("path", SENTENCES_OF, ids=lambda path: str(path.relative_to(NTVL)))
def test_every_sentence_that_a_person_may_see_is_on_the_page(path: Path) -> None:
    for line, text in sentences(path):
        is_part = str(path.relative_to(NTVL)) in PARTS and not text.startswith("cannot\\ read")
        is_whole = text[0].isalpha() and not is_part
        while text.startswith((ANYTHING, "\\ ")):  # it may begin anywhere, and finding where takes long
            text = text.removeprefix(ANYTHING).removeprefix("\\ ")
        wanted = capital(text) if is_whole else text
        wanted = wanted.removesuffix("\\.")
        assert re.search(wanted, WORDS), f"{path}:{line}: docs/operations.md lacks: {text}"
