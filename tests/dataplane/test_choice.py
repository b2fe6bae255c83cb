"""Which engine is taken, and how one from elsewhere is found."""

from pathlib import Path

import pytest

from ntvl.dataplane.choice import ENGINE_VARIABLE, available_engines, start_engine
from ntvl.dataplane.engine import PythonEngine
from ntvl.errors import UsageError
from ntvl.wire.address import Address

LOOPBACK = [Address("127.0.0.1", 0)]


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs a distribution that offers an engine "native" and one "broken"."""
    information = tmp_path / "offered-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1\n")
    (information / "entry_points.txt").write_text(
        "[ntvl.engines]\nnative = offered_engine:Engine\nunfit = offered_engine:Missing\n"
    )
    (tmp_path / "offered_engine.py").write_text(
        "class Engine:\n"
        "    name = 'native'\n"
        "    def __init__(self, sockets, *, relay):\n"
        "        self.port, self.relay, self.sockets = sockets[0].getsockname()[1], relay, sockets\n"
        "    def close(self):\n"
        "        for sock in self.sockets: sock.close()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


def started_name(name: str = "auto") -> str:
    engine = start_engine(name, listen=LOOPBACK, taps=False)
    try:
        assert 0 < engine.port < 65536
        return engine.name
    finally:
        engine.close()


def test_the_python_engine_is_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENGINE_VARIABLE, raising=False)
    assert available_engines() == ("python",)
    assert started_name() == "python"


@pytest.mark.usefixtures("offered")
def test_an_engine_that_is_installed_is_taken_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENGINE_VARIABLE, raising=False)
    assert available_engines() == ("native", "unfit", "python")
    assert started_name() == "native"
    assert started_name("python") == "python"
    monkeypatch.setenv(ENGINE_VARIABLE, "python")
    assert started_name() == "python"
    assert started_name("native") == "native"


@pytest.mark.usefixtures("offered")
def test_an_engine_that_does_not_load_is_said_so() -> None:
    with pytest.raises(UsageError, match=r"'unfit'.* does not load"):
        start_engine("unfit", listen=LOOPBACK, taps=False)


def test_an_unknown_engine_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENGINE_VARIABLE, "warp")
    with pytest.raises(UsageError, match="no engine 'warp' here, only: python"):
        start_engine(listen=LOOPBACK, taps=False)


def test_one_random_port_serves_both_families() -> None:
    engine = start_engine("python", listen=[Address("127.0.0.1", 0), Address("::1", 0)], taps=False)
    try:
        assert isinstance(engine, PythonEngine)
        assert {sock.getsockname()[1] for sock in engine._sockets} == {engine.port}
    finally:
        engine.close()
