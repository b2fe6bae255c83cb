from pathlib import Path

import pytest

from ntvl.errors import UsageError
from ntvl.runtime.secret import read_secrets

GOOD = "correct horse battery staple"


class Warnings(list[str]):
    def __call__(self, code: str, text: str) -> None:
        assert GOOD not in text
        self.append(code)


def secret_file(path: Path, content: bytes, mode: int = 0o600) -> Path:
    file = path / "secret"
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.mark.parametrize("content", [GOOD, GOOD + "\n", GOOD + "\r\n", GOOD + "\n\n"])
def test_a_secret_is_the_one_line_of_its_file(tmp_path: Path, content: str) -> None:
    warnings = Warnings()
    file = secret_file(tmp_path, content.encode())
    assert read_secrets([("home", file)], environ={}, warn=warnings) == [GOOD]
    assert warnings == []


def test_spaces_belong_to_a_secret(tmp_path: Path) -> None:
    file = secret_file(tmp_path, b"  " + GOOD.encode() + b" \n")
    assert read_secrets([("home", file)], environ={}, warn=Warnings()) == [f"  {GOOD} "]


def test_a_file_that_all_can_read_and_a_short_secret_are_warned_of(tmp_path: Path) -> None:
    warnings = Warnings()
    assert read_secrets([("home", secret_file(tmp_path, b"short", 0o644))], environ={}, warn=warnings) == ["short"]
    assert warnings == ["open-secret", "weak-secret"]


def test_the_environment_serves_the_community_without_a_file_and_is_cleared(tmp_path: Path) -> None:
    environ = {"NTVL_SECRET": "from the environment", "OTHER": "x"}
    file = secret_file(tmp_path, GOOD.encode())
    assert read_secrets([("home", file), ("work", None)], environ=environ, warn=Warnings()) == [
        GOOD,
        "from the environment",
    ]
    assert environ == {"OTHER": "x"}


def test_one_variable_cannot_serve_two_communities() -> None:
    with pytest.raises(UsageError, match="home, work have no secret_file"):
        read_secrets([("home", None), ("work", None)], environ={"NTVL_SECRET": GOOD}, warn=Warnings())


def test_a_person_is_asked_for_each_secret_that_is_nowhere_else() -> None:
    asked: list[str] = []

    def prompt(text: str) -> str:
        asked.append(text)
        return GOOD

    assert read_secrets([("home", None), ("work", None)], environ={}, warn=Warnings(), prompt=prompt) == [GOOD, GOOD]
    assert asked == ["Secret of the community home: ", "Secret of the community work: "]


def test_who_does_not_answer_gets_the_sentence_about_an_empty_secret() -> None:
    def prompt(text: str) -> str:
        raise EOFError

    with pytest.raises(UsageError, match="is empty"):
        read_secrets([("home", None)], environ={}, warn=Warnings(), prompt=prompt)


def test_nobody_is_asked_where_there_is_no_terminal() -> None:
    with pytest.raises(UsageError, match="--secret-file FILE, or into the environment as NTVL_SECRET"):
        read_secrets([("home", None)], environ={}, warn=Warnings())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe\xfd", "is not UTF-8"),
        (b"one\ntwo\n", "several lines"),
        (b"x" * 5000, "larger than 4096 bytes"),
    ],
)
def test_a_file_that_holds_no_secret_is_refused_without_showing_it(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        read_secrets([("home", secret_file(tmp_path, content))], environ={}, warn=Warnings())
    assert "two" not in str(caught.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Cannot read the secret of the community home in .*no: no such file"):
        read_secrets([("home", tmp_path / "no")], environ={"NTVL_SECRET": GOOD}, warn=Warnings())
