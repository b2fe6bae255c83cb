import subprocess
import sys

import pytest

from ntvl import __version__
from ntvl.cli import VERBS, build_app, main
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
    assert "loaded: ['ntvl.errors', 'ntvl.cli'] []" in done.stdout


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
    assert "--sockets" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("flag", ["--supernode", "--community", "--address", "--subnet", "--device"])
def test_an_empty_shell_variable_does_not_swallow_the_next_flag(flag: str) -> None:
    done = run("node", flag, "--mtu", "1400")
    assert done.returncode == 1
    assert done.stderr == f"ntvl: {flag} is followed by --mtu instead of a value; is a shell variable empty?\n"


def test_an_unknown_verb_exits_with_2() -> None:
    done = run("stauts")
    assert done.returncode == 2
    assert "status" in done.stderr, "the nearest verb is offered"
