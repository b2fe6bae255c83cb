import asyncio
import socket
from collections import Counter
from contextlib import closing

import pytest
from tests.runtime.namespace import in_namespace

from ntvl.runtime import presence, upnp
from ntvl.runtime.gateway import Gateway
from ntvl.runtime.presence import GatewayProtocols, read_protocols

HOST = "127.0.0.1"


@pytest.mark.needs_root
@pytest.mark.needs_program("ip")
def test_what_a_gateway_says_beside_the_point_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gateways() -> tuple[Gateway, ...]:
        return (Gateway(HOST, HOST, 1, "lo"),)

    async def search(gateway: Gateway, drops: Counter[str]) -> list[str]:
        drops["elsewhere"] += 1
        return []

    monkeypatch.setattr(presence, "read_gateways", gateways)
    monkeypatch.setattr(upnp, "search", search)

    async def scenario() -> tuple[GatewayProtocols, ...]:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as gateway:
            gateway.bind((HOST, 5351))
            gateway.setblocking(False)
            asked = asyncio.create_task(read_protocols())
            _, client = await asyncio.get_running_loop().sock_recvfrom(gateway, 2000)
            gateway.sendto(b"\x02", client)
            return await asked

    assert in_namespace(scenario) == (GatewayProtocols(HOST, (), Counter({"short": 1, "elsewhere": 1})),)
