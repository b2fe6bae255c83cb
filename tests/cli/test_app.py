import subprocess
import sys

import pytest

from ntvl import __version__
from ntvl.cli import VERBS, build_app, main
from ntvl.config import DEFAULT_STATE
from ntvl.errors import UsageError


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ntvl", *arguments], capture_output=True, text=True, check=False)


def call_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ntvl", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_help_names_every_verb_and_loads_none() -> None:
    program = (
        "import sys\nsys.argv = ['ntvl', '--help']\nfrom ntvl.cli import main\n"
        "try: main()\nfinally: print('loaded:', [m for m in sys.modules if m.startswith('ntvl.')], "
        "[m for m in ('pyroute2', 'cryptography', 'asyncio') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for verb, line in VERBS.items():
        assert verb in done.stdout
        assert line in done.stdout
    assert "loaded: ['ntvl.cli.help', 'ntvl.errors', 'ntvl.cli'] []" in done.stdout


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(verb: str) -> None:
    done = run(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert f"ntvl {verb}" in done.stdout


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_explains_each_of_its_flags(verb: str) -> None:
    import typer.main

    group = typer.main.get_command(build_app([verb]))
    command = group.commands[verb]  # type: ignore[attr-defined]
    assert command.help
    assert [p.name for p in command.params if p.param_type_name == "option" and not p.help and not p.hidden] == []


def test_the_version_is_one_line() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"ntvl {__version__}\n")


def test_python_m_is_the_same_program() -> None:
    assert "demo" in run().stdout


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("The port is taken.", "ntvl: The port is taken.\n"),
        ("there is no /dev/net/tun", "ntvl: There is no /dev/net/tun.\n"),
        ("ntvl0 is gone", "ntvl: ntvl0 is gone.\n"),
        ("'x' is wrong; did you mean 'y'?", "ntvl: 'x' is wrong; did you mean 'y'?\n"),
    ],
)
def test_what_the_person_did_wrong_is_one_sentence_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str, shown: str
) -> None:
    def fail() -> None:
        raise UsageError(said)

    monkeypatch.setattr("ntvl.cli._load", lambda verb: fail)
    assert call_main(monkeypatch, "status") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == shown


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ntvl.cli._load", lambda verb: interrupted)
    assert call_main(monkeypatch, "status") == 130


def test_a_wrong_flag_exits_with_2_and_names_it() -> None:
    done = run("status", "--sockets", "x")
    assert done.returncode == 2
    assert done.stderr.startswith("ntvl: No such option: --sockets")
    assert done.stderr.endswith("ntvl status --help`.\n")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    "flag",
    [
        *("--supernode", "--community", "--address", "--subnet", "--device", "--name"),
        *("--config", "--secret-file", "--state", "--socket", "--turn-credentials"),
    ],
)
def test_an_empty_shell_variable_does_not_swallow_the_next_flag(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    assert call_main(monkeypatch, "node", flag, "--mtu", "1400") == 2
    assert capsys.readouterr().err == (
        f"ntvl: {flag} is followed by --mtu instead of a value; is a shell variable empty?\n"
    )


@pytest.mark.parametrize(
    ("verb", "flag"),
    [
        *(("node", flag) for flag in ("--state", "--config", "--secret-file", "--turn-credentials")),
        *(("node", flag) for flag in ("--supernode", "--community", "--device", "--port")),
        *(("supernode", flag) for flag in ("--state", "--certificate", "--certificate-key", "--wss")),
    ],
)
@pytest.mark.parametrize("nothing", ["", " "])
def test_an_empty_shell_variable_in_quotes_is_no_value_and_no_directory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str, flag: str, nothing: str
) -> None:
    monkeypatch.setattr("ntvl.runtime.node.run_node", lambda *a, **k: pytest.fail("it starts"))
    monkeypatch.setattr("ntvl.runtime.supernode.run_supernode", lambda *a, **k: pytest.fail("it starts"))
    assert call_main(monkeypatch, verb, flag, nothing) == 2
    assert capsys.readouterr().err == (
        f"ntvl: {flag} has an empty value: give it one, or leave it out; is a shell variable empty?\n"
    )


def test_an_empty_variable_of_the_environment_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr("ntvl.runtime.supernode.run_supernode", lambda *a, **k: started.append(a[1]))
    monkeypatch.setenv("NTVL_STATE", "")
    assert call_main(monkeypatch, "supernode") == 0
    assert started == [DEFAULT_STATE]


def test_an_unknown_verb_exits_with_2() -> None:
    done = run("stauts")
    assert done.returncode == 2
    assert "status" in done.stderr, "the nearest verb is offered"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ping"], "Missing argument 'PEER'. See `"),
        (["node", "--mtu"], "Option '--mtu' requires an argument. See `ntvl node --help`."),
        (["status", "x"], "Got unexpected extra argument (x). See `"),
        (["node", "--mtu", "abc"], "Name a community to join"),
        (
            ["node", "--community", "a", "--supernode", "b", "--mtu", "abc"],
            "'abc' is not an MTU: use 1280 to 9000 bytes.",
        ),
        (
            ["node", "--community", "a", "--supernode", "b", "--port", "x"],
            "'x' is not a UDP port: use 1 to 65535, or 0",
        ),
        (["node", "--community", "a", "--supernode", "b", "--subnet", "x"], "'x' is not a subnet"),
        (["node", "--community", "a", "--supernode", "fe80::1"], "'fe80::1' is a link-local address"),
        (["node", "--config", "/nowhere"], "Cannot read the configuration /nowhere: no such file or directory."),
        (["node", "--community", "a", "--supernode", "b", "10.0.0.1"], "Unexpected '10.0.0.1'; an address follows"),
        (["supernode", "--listen", "x:y"], "'x:y' has no port"),
        (["supernode", "--wss", "x"], "--wss: 'x' "),
        (["supernode", "--certificate", "c.pem"], "--certificate is not enough by itself: add --certificate-key FILE"),
        (["ping", "x", "--count", "abc"], "--count takes a whole number from 0 to 1000000, not 'abc'."),
        (["ping", "x", "--interval", "nan"], "--interval takes a number from 0.02 to 3600, not 'nan'."),
        (["netcheck"], "Name a server to ask"),
        (["netcheck", "--stun", "http://x"], "'http://x' names no STUN server"),
        (["lab", "matrix", "--sim", "--slack", "0.5"], "--slack takes a number from 1 to 100, not '0.5'."),
        (["lab", "matrix", "--kinds", "cone"], "There is no kind 'cone'"),
        (["lab", "up", "/nowhere.toml"], "Cannot read the topology /nowhere.toml"),
        (["demo", "--keep", "--remove"], "--keep and --remove exclude each other: run `ntvl demo --remove` first"),
    ],
)
def test_what_is_asked_for_in_vain_is_one_sentence_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    monkeypatch.delenv("NTVL_SUPERNODE", raising=False)
    assert call_main(monkeypatch, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"ntvl: {sentence}")
    assert captured.err.count("\n") == 1


def test_without_a_command_there_is_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_main(monkeypatch) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith("Usage: ")
    assert captured.err == ""
