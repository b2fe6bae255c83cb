import contextlib
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntvl.config import DEFAULT_SOCKET, DEFAULT_STATE, Flags, load_config
from ntvl.errors import UsageError

KEY = "A" * 43
URL = f"ntvl://{KEY}@198.51.100.1:1971"


def flags(**given: object) -> Flags:
    return Flags(**{"community": "home", "supernodes": (URL,), **given})  # type: ignore[arg-type]


def write(path: Path, text: str) -> Path:
    file = path / "ntvl.toml"
    file.write_text(text)
    return file


def test_two_flags_are_enough() -> None:
    config = load_config(flags(), {})
    assert config.state == DEFAULT_STATE
    assert config.socket == DEFAULT_SOCKET
    assert config.port == 0
    assert config.name
    (community,) = config.communities
    assert (community.name, community.lease, community.subnet, community.mtu) == ("home", "auto", "10.77.0.0/16", 1360)
    assert [str(url) for url in config.supernodes] == [URL]


def test_a_flag_wins_over_the_environment_and_the_environment_over_the_file(tmp_path: Path) -> None:
    file = write(
        tmp_path, f'[node]\nname = "f"\nport = 1\nstate = "/f"\nsupernodes = ["{URL}"]\n[[community]]\nname = "c"'
    )
    environ = {"NTVL_NAME": "e", "NTVL_PORT": "2"}
    config = load_config(Flags(config=file, name="g"), environ)
    assert (config.name, config.port, config.state) == ("g", 2, Path("/f"))
    config = load_config(Flags(config=file), environ | {"NTVL_SUPERNODE": "one.example two.example"})
    assert config.name == "e"
    assert [url.host for url in config.supernodes] == ["one.example", "two.example"]


def test_port_0_on_the_command_line_wins_over_a_port_in_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, f'[node]\nport = 4000\nsupernodes = ["{URL}"]\n[[community]]\nname = "c"')
    assert load_config(Flags(config=file, port=0), {}).port == 0


def test_a_file_describes_several_communities(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        f"""
        [node]
        name = "desk"
        port = 4242
        socket = "/run/desk.sock"
        mtu = 1400
        supernodes = ["{URL}", "other.example:2000"]
        [[community]]
        name = "home"
        secret_file = "home.secret"
        [[community]]
        name = "work"
        secret_file = "/etc/work.secret"
        address = "static 10.9.0.5/24"
        device = "work0"
        mtu = 1300
        """,
    )
    config = load_config(Flags(config=file), {})
    home, work = config.communities
    assert config.socket == Path("/run/desk.sock")
    assert home.secret_file == tmp_path / "home.secret", "a relative file is beside the configuration"
    assert work.secret_file == Path("/etc/work.secret")
    assert (home.mtu, work.mtu) == (1400, 1300)
    assert (work.lease, work.address, work.subnet, work.device) == ("static", "10.9.0.5/24", "10.9.0.0/24", "work0")
    assert [mtu.mtu for mtu in load_config(Flags(config=file, mtu=1280), {}).communities] == [1280, 1280]


@pytest.mark.parametrize(
    ("address", "subnet", "expected"),
    [
        ("auto", None, ("auto", "", "10.77.0.0/16")),
        ("auto", "10.5.9.0/24", ("auto", "", "10.5.9.0/24")),
        ("auto", "10.5.9.7/24", ("auto", "", "10.5.9.0/24")),
        ("dhcp", None, ("none", "", "10.77.0.0/16")),
        ("static 10.77.0.5/16", None, ("static", "10.77.0.5/16", "10.77.0.0/16")),
        ("static 10.77.0.5", None, ("static", "10.77.0.5/16", "10.77.0.0/16")),
        ("10.1.2.3/24", None, ("static", "10.1.2.3/24", "10.1.2.0/24")),
        ("10.77.3.3", "10.77.0.0/20", ("static", "10.77.3.3/20", "10.77.0.0/20")),
    ],
)
def test_an_address_may_be_written_in_each_of_these_ways(
    address: str, subnet: str | None, expected: tuple[str, str, str]
) -> None:
    (community,) = load_config(flags(address=address, subnet=subnet), {}).communities
    assert (community.lease, community.address, community.subnet) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"community": None}, "--community NAME"),
        ({"community": "Home"}, "no capitals"),
        ({"supernodes": ()}, "--supernode URL"),
        ({"supernodes": ("http://x",)}, "ntvl://"),
        ({"supernodes": ("a.example", "ntvl://" + KEY + "@a.example")}, "twice with different keys"),
        ({"supernodes": tuple(f"s{i}.example" for i in range(9))}, "at most 8"),
        ({"address": "static"}, "not an address to take"),
        ({"address": "auto 10.77.0.5"}, "not an address to take"),
        ({"address": "static 10.77.0.0/16"}, "first or last address"),
        ({"address": "static 10.78.0.1/16", "subnet": "10.77.0.0/16"}, "outside the subnet 10.77.0.0/16"),
        ({"subnet": "10.77/16"}, "not a subnet"),
        ({"subnet": "10.77.0.0/31"}, "/8 to /30"),
        ({"subnet": "224.0.0.0/8"}, "private one"),
        ({"subnet": "0.0.0.0/8"}, "private one"),
        ({"mtu": 500}, "500 is not an MTU: use 1280 to 9000 bytes."),
        ({"mtu": 0}, "0 is not an MTU"),
        ({"mtu": "abc"}, "'abc' is not an MTU"),
        ({"port": "abc"}, "'abc' is not a UDP port: use 1 to 65535, or 0 for any free one."),
        ({"mtu": 9001}, "9001 is not an MTU"),
        ({"port": 65536}, "65536 is not a UDP port"),
        ({"name": ""}, "cannot name a node"),
        ({"name": "a\nb"}, "cannot name a node"),
        ({"name": "n" * 64}, "cannot name a node"),
        ({"device": "a-name-too-long-"}, "cannot name a device"),
        ({"device": "tap%d"}, "cannot name a device"),
        ({"device": ".."}, "cannot name a device"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(flags(**given), {})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[node]\nsupernode = []", "Unknown key 'supernode' in [node] of {file}; did you mean 'supernodes'?"),
        ("[nodes]", "Unknown key 'nodes' before its first [section] of {file}; did you mean 'node'?"),
        ('[[community]]\nname = "c"\nsecretfile = "x"', "did you mean 'secret_file'?"),
        ("[[community]]\nqqq = 1", "known there are name, secret_file"),
        ('[community]\nname = "c"', "[[community]] with two brackets"),
        ("[node]\nport = true", "wrong value: port in [node] should be a whole number, not true or false."),
        ("community = 3", "wrong value: [[community]] should be a list in brackets, not a whole number."),
        ('[node]\nstate = ""', "state in [node] of"),
        ('[node]\nsocket = " "', "socket in [node] of"),
        ('[node]\nturn_credentials = ""', "turn_credentials in [node] of"),
        ('[[community]]\nname = "a"\nsecret_file = ""', "secret_file in [[community]] of"),
        ("[[community]]\nmtu = 1400", "wrong value: [[community]] has no name."),
        (
            "[[community]]\nname = 'a'\nmtu = '1400'",
            "mtu in [[community]] should be a whole number, not text in quotes.",
        ),
        ("[node]\nsupernodes = 'hub'", "supernodes in [node] should be a list in brackets, not text in quotes."),
        ("[[community]]\nsecret = 'x'", "name that in [[community]] as secret_file."),
        ("node = 3", "wrong value"),
        ("", "names no community"),
        ("[node", "is not TOML"),
        ("x = '\udcff'", "not UTF-8"),
        ('[[community]]\nname = "c"\n[[community]]\nname = "c"', "named twice"),
        ('[[community]]\nname = "c"\n[[community]]\nname = "d"', "overlap; give one another subnet"),
        ('[[community]]\nname = "c"\ndevice = "t"\n[[community]]\nname = "d"\ndevice = "t"', "both name the device t"),
    ],
)
def test_a_wrong_file_is_named_with_its_mistake(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "ntvl.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError) as caught:
        load_config(Flags(config=file, supernodes=(URL,)), {})
    assert words.replace("{file}", str(file)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file or directory"):
        load_config(Flags(config=tmp_path / "no.toml"), {})


def test_communities_left_to_dhcp_may_share_a_default_subnet(tmp_path: Path) -> None:
    file = write(tmp_path, '[[community]]\nname = "c"\n[[community]]\nname = "d"\naddress = "dhcp"')
    assert len(load_config(Flags(config=file, supernodes=(URL,)), {}).communities) == 2


@pytest.mark.parametrize("flag", ["community", "secret_file", "address", "subnet", "device"])
def test_a_file_and_a_flag_of_a_community_exclude_each_other(tmp_path: Path, flag: str) -> None:
    file = write(tmp_path, '[[community]]\nname = "c"')
    value = Path("x") if flag == "secret_file" else "x"
    with pytest.raises(UsageError, match="--" + flag.replace("_", "-") + " and --config exclude each other"):
        load_config(Flags(config=file, supernodes=(URL,), **{flag: value}), {})  # type: ignore[arg-type]


def test_a_configuration_names_the_file_of_a_secret_and_never_holds_it(tmp_path: Path) -> None:
    secret = tmp_path / "s"
    secret.write_text("correct horse battery staple")
    config = load_config(flags(secret_file=secret), {"NTVL_SECRET": "correct horse battery staple"})
    assert "horse" not in repr(config)


@settings(deadline=None)
@given(st.text(max_size=40), st.one_of(st.none(), st.text(max_size=20)))
def test_any_text_for_an_address_gives_a_configuration_or_a_sentence(address: str, subnet: str | None) -> None:
    with contextlib.suppress(UsageError):
        load_config(flags(address=address, subnet=subnet), {})


_TOML = st.recursive(
    st.one_of(st.booleans(), st.integers(-5, 70000), st.sampled_from(['"auto"', '"c"', '"x y"'])).map(
        lambda v: str(v).lower() if isinstance(v, bool) else str(v)
    ),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=4,
)


@settings(deadline=None)  # it writes a file
@given(st.dictionaries(st.sampled_from(["name", "port", "mtu", "supernodes", "address", "device", "x"]), _TOML))
def test_any_file_gives_a_configuration_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, table: object) -> None:
    assert isinstance(table, dict)
    lines = [f"{key} = {value}" for key, value in table.items()]
    half = len(lines) // 2
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text("\n".join(itertools.chain(["[node]"], lines[:half], ["[[community]]"], lines[half:])))
    with contextlib.suppress(UsageError):
        load_config(Flags(config=file, supernodes=(URL,)), {})


@pytest.mark.parametrize(
    ("in_file", "flag", "wanted"), [(None, None, True), ("false", None, False), (None, False, False)]
)
def test_port_mapping_is_on_unless_file_or_flag_says_otherwise(
    tmp_path: Path, in_file: str | None, flag: bool | None, wanted: bool
) -> None:
    file = tmp_path / "node.toml"
    line = "" if in_file is None else f"port_mapping = {in_file}"
    file.write_text(f'[node]\n{line}\n[[community]]\nname = "home"\n')
    assert load_config(Flags(config=file, supernodes=(URL,), port_mapping=flag), {}).port_mapping is wanted


@pytest.mark.parametrize("word", ["all", "known", "off"])
def test_how_to_punch_comes_from_the_file_or_the_flag_and_the_flag_wins(word: str, tmp_path: Path) -> None:
    file = write(tmp_path, f'[node]\npunch = "known"\nsupernodes = ["{URL}"]\n[[community]]\nname = "c"')
    assert load_config(Flags(config=file), {}).punch == "known"
    assert load_config(Flags(config=file, punch=word), {}).punch == word
    assert load_config(flags(), {}).punch == "all"


def test_another_word_for_how_to_punch_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    file = write(tmp_path, f'[node]\npunch = "no"\nsupernodes = ["{URL}"]\n[[community]]\nname = "c"')
    for wrong in (Flags(config=file), Flags(config=file, punch="")):
        with pytest.raises(UsageError, match="is no way to punch: write all"):
            load_config(wrong, {})


# --- a TURN server ---


def test_a_turn_server_and_its_credentials_come_by_flags_or_by_the_file(tmp_path: Path) -> None:
    config = load_config(flags(), {})
    assert (config.turn, config.turn_credentials) == (None, None)
    config = load_config(flags(turn="turns:Relay.example.org", turn_credentials=Path("turn.secret")), {})
    assert (str(config.turn), config.turn_credentials) == ("turns:relay.example.org:5349", Path("turn.secret"))
    file = write(
        tmp_path,
        f'[node]\nturn = "turn:192.0.2.1"\nturn_credentials = "turn.secret"\nsupernodes = ["{URL}"]\n'
        '[[community]]\nname = "c"',
    )
    config = load_config(Flags(config=file), {})
    assert (str(config.turn), config.turn_credentials) == ("turn:192.0.2.1:3478", tmp_path / "turn.secret")
    config = load_config(Flags(config=file, turn="turn:192.0.2.2"), {})
    assert (str(config.turn), config.turn_credentials) == ("turn:192.0.2.2:3478", tmp_path / "turn.secret")


def test_a_turn_server_without_credentials_and_credentials_without_a_server_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="wants a user and a password: write USER:PASSWORD into a file"):
        load_config(flags(turn="turn:192.0.2.1"), {})
    with pytest.raises(UsageError, match="no TURN server; name it with --turn"):
        load_config(flags(turn_credentials=tmp_path / "x"), {})
    with pytest.raises(UsageError, match="is no TURN server"):
        load_config(flags(turn="192.0.2.1", turn_credentials=tmp_path / "x"), {})
