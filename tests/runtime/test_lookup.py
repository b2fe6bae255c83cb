from typing import Any

import pytest

from ntvl.errors import UsageError
from ntvl.runtime.lookup import find_peer


def peer(name: str, key: str, address: str, mac: str) -> dict[str, Any]:
    return {"name": name, "id": key * 43, "addresses": [address, f"fd00:1::{mac[-2:]}/64"], "mac": mac}


STATUS: dict[str, Any] = {
    "node": {"name": "desk", "id": "S" * 43},
    "communities": [
        {
            "name": "home",
            "mac": "02:00:00:00:00:ff",
            "addresses": ["10.77.0.1/16", "fd00:1::ff/64"],
            "peers": [
                peer("bob", "B", "10.77.0.2/16", "02:00:00:00:00:02"),
                peer("Carol", "C", "10.77.0.3/16", "02:00:00:00:00:03"),
                peer("twin", "T", "10.77.0.4/16", "02:00:00:00:00:04"),
                peer("twin", "U", "10.77.0.5/16", "02:00:00:00:00:05"),
            ],
        },
        {
            "name": "work",
            "mac": "02:00:00:00:01:ff",
            "addresses": [],
            "peers": [peer("CAROL", "D", "10.9.0.3/24", "0a")],
        },
    ],
}


@pytest.mark.parametrize(
    ("text", "name", "community"),
    [
        ("bob", "bob", "home"),
        ("BOB", "bob", "home"),
        ("10.77.0.2", "bob", "home"),
        ("10.77.0.2/16", "bob", "home"),
        ("fd00:1:0::2", "bob", "home"),
        ("02:00:00:00:00:02", "bob", "home"),
        ("BBBB", "bob", "home"),
        ("B" * 43, "bob", "home"),
        ("Carol", "Carol", "home"),
        ("CAROL", "CAROL", "work"),
        ("10.9.0.3", "CAROL", "work"),
    ],
)
def test_a_peer_is_found_by_what_people_know_of_it(text: str, name: str, community: str) -> None:
    found = find_peer(STATUS, text)
    assert (found.peer["name"], found.community) == (name, community)


def test_a_name_of_several_lists_them_all() -> None:
    with pytest.raises(UsageError) as caught:
        find_peer(STATUS, "twin")
    assert "twin (10.77.0.4, community home, key TTTTTTTT)" in str(caught.value)
    assert "twin (10.77.0.5, community home, key UUUUUUUU)" in str(caught.value)
    with pytest.raises(UsageError, match="names several peers"):
        find_peer(STATUS, "carol")


@pytest.mark.parametrize("text", ["desk", "10.77.0.1", "02:00:00:00:00:FF", "S" * 43])
def test_a_node_says_that_it_is_itself(text: str) -> None:
    with pytest.raises(UsageError, match="is this node itself"):
        find_peer(STATUS, text)


@pytest.mark.parametrize("text", ["dave", "", "BBB", "10.77.0", "::", "1" * 200])
def test_nobody_is_told_with_those_who_are_there(text: str) -> None:
    with pytest.raises(UsageError, match="known are CAROL, Carol, bob, twin"):
        find_peer(STATUS, text)


def test_nobody_at_all_is_told_too() -> None:
    with pytest.raises(UsageError, match="no peer is known yet"):
        find_peer({"node": STATUS["node"], "communities": []}, "bob")
