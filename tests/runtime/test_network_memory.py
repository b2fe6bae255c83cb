import asyncio
from pathlib import Path

import pytest

from ntvl.runtime.network_memory import FILE_NAME, NETWORKS_MAX, NetworkMemory, read_network


def test_what_carried_is_remembered_for_each_network_and_over_restarts(tmp_path: Path) -> None:
    memory = NetworkMemory(tmp_path)
    memory.note("office", "sn:1971", "wss")
    memory.note("home", "sn:1971", "udp")
    memory.note("", "sn:1971", "tcp")
    again = NetworkMemory(tmp_path)
    assert again.recall("office", "sn:1971") == "wss"
    assert again.recall("office", "other:1971") == ""
    assert again.recall("home", "sn:1971") == ""
    assert again.recall("", "sn:1971") == ""
    again.note("office", "sn:1971", "udp")
    assert NetworkMemory(tmp_path).recall("office", "sn:1971") == ""


def test_old_networks_are_forgotten_first(tmp_path: Path) -> None:
    memory = NetworkMemory(tmp_path)
    for number in range(NETWORKS_MAX + 1):
        memory.note(f"network {number}", "sn:1971", "tcp")
    assert memory.recall("network 0", "sn:1971") == ""
    assert memory.recall("network 1", "sn:1971") == "tcp"


def test_a_damaged_file_costs_the_memory_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE_NAME).write_text("[")
    memory = NetworkMemory(tmp_path)
    assert "begin it anew" in caplog.text
    memory.note("office", "sn:1971", "tcp")
    assert NetworkMemory(tmp_path).recall("office", "sn:1971") == "tcp"


def test_this_network_has_a_name_or_none() -> None:
    name = asyncio.run(read_network())
    assert name == asyncio.run(read_network())
    assert name == "" or len(name.split()) == 2
