import asyncio
import io
import json
from typing import Any

import pytest
from tests.runtime.namespace import in_namespace, ip, set_sysctl

from ntvl.config import CommunityConfig
from ntvl.errors import UsageError
from ntvl.runtime.device import Device
from ntvl.runtime.report import Reporter

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("ip")]
CONFIG = CommunityConfig("home", None, "auto", "", "10.77.0.0/16", "t0", 1300)


class Rig:
    """Runs a device on a real interface t0."""

    def __init__(self) -> None:
        ip("link add t0 type veth peer name far")
        self.stream = io.StringIO()
        self.device = Device(CONFIG, Reporter(as_json=True, stream=self.stream))
        self.running = asyncio.create_task(self.device.run())

    async def told(self, count: int) -> list[dict[str, Any]]:
        """Returns what was told so far, once that is `count` lines."""
        while self.stream.getvalue().count("\n") < count:
            assert not self.running.done(), self.running.exception()
            await asyncio.sleep(0.01)
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


def test_a_device_waits_for_both_its_opening_and_its_addresses() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.device.assign(("10.77.0.5/16", "fd00:1::5/64"))
        await asyncio.sleep(0)
        assert "DOWN" in ip("-brief link show t0")
        rig.device.opened("t0", ("csum",))
        (event,) = await rig.told(1)
        assert (event["event"], event["device"], event["community"]) == ("address-assigned", "t0", "home")
        assert event["addresses"] == ["10.77.0.5/16", "fd00:1::5/64"]
        assert rig.device.offloads == ("csum",)
        rig.device.assign(("10.77.0.5/16", "fd00:1::5/64"))
        rig.device.assign(("10.77.0.6/16",))
        events = await rig.told(2)
        assert events[1]["addresses"] == ["10.77.0.6/16"], "the same again is no news"
        assert "10.77.0.6" in ip("address show t0")
        rig.running.cancel()

    in_namespace(scenario)


def test_a_kernel_without_ipv6_is_told_once() -> None:
    async def scenario() -> None:
        rig = Rig()
        set_sysctl("net/ipv6/conf/all/disable_ipv6", "1")
        rig.device.opened("t0", ())
        rig.device.assign(("10.77.0.5/16", "fd00:1::5/64"))
        notice, assigned = await rig.told(2)
        assert (notice["event"], notice["code"]) == ("notice", "no-ipv6")
        assert assigned["addresses"] == ["10.77.0.5/16"]
        rig.device.assign(("10.77.0.6/16", "fd00:1::5/64"))
        assert [event["event"] for event in await rig.told(3)] == ["notice", "address-assigned", "address-assigned"]
        rig.running.cancel()

    in_namespace(scenario)


def test_a_device_that_somebody_removed_is_a_failure_in_words() -> None:
    async def scenario() -> None:
        rig = Rig()
        ip("link del t0")
        rig.device.opened("t0", ())
        rig.device.assign(("10.77.0.5/16",))
        with pytest.raises(UsageError, match="device t0 is gone"):
            await rig.running

    in_namespace(scenario)


@pytest.mark.parametrize(
    ("subnet", "is_public"),
    [
        ("10.77.0.0/16", False),
        ("172.16.0.0/12", False),
        ("192.168.0.0/24", False),
        ("100.64.0.0/10", False),
        ("198.51.100.0/24", False),
        ("8.8.8.0/24", True),
        ("172.0.0.0/8", True),
        ("100.0.0.0/8", True),
    ],
)
def test_a_subnet_out_of_the_internets_addresses_is_warned_of_once(subnet: str, is_public: bool) -> None:
    async def scenario() -> list[str]:
        stream = io.StringIO()
        config = CommunityConfig("home", None, "auto", "", subnet, "t0", 1300)
        running = asyncio.create_task(Device(config, Reporter(as_json=True, stream=stream)).run())
        await asyncio.sleep(0)
        running.cancel()
        return stream.getvalue().splitlines()

    told = [json.loads(line) for line in asyncio.run(scenario())]
    assert [event["code"] for event in told] == ["public-subnet"] * is_public
    assert all(subnet in event["text"] and "such addresses are out of reach" in event["text"] for event in told)
