"""UPnP with a gateway on loopback that a test scripts: what it should do, and what a hostile one does."""

import asyncio
import gzip
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from async_upnp_client.const import HttpRequest
from async_upnp_client.exceptions import UpnpError
from tests.runtime.igd import ACTIONS, ANY, DESCRIPTION, HOST, Igd, page_of, running

from ntvl.proto.lessee import PortMapping, Standing
from ntvl.runtime import requester, upnp
from ntvl.runtime.gateway import Gateway
from ntvl.runtime.requester import BODY_BYTES_MAX, REQUESTS_MAX, GatewayRequester, is_of_gateway
from ntvl.runtime.ssdp import SearchListener
from ntvl.runtime.upnp import UpnpGateway, UpnpRefusedError
from ntvl.wire.address import Address

GATEWAY = Gateway(HOST, HOST, 1, "lo")
PORT = 4000


def meet(igd: Igd, scenario: Callable[[UpnpGateway], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a scenario with a gateway that answers the search with `igd.location`."""

    async def run() -> None:
        async with running(igd):

            async def found(gateway: Gateway, drops: Counter[str]) -> list[str]:
                return [igd.location]

            monkeypatch.setattr(upnp, "search", found)
            await asyncio.wait_for(scenario(UpnpGateway(GATEWAY, PORT, random=random.Random(3).randbytes)), 20)

    asyncio.run(run())


def refused(igd: Igd, monkeypatch: pytest.MonkeyPatch, drops: dict[str, int] | None = None) -> UpnpRefusedError:
    """Returns why there is no mapping; `drops` is what is counted, None for whatever is."""
    caught: list[UpnpRefusedError] = []

    async def scenario(gateway: UpnpGateway) -> None:
        with pytest.raises(UpnpRefusedError) as error:
            await gateway.find()
            await gateway.add()
        caught.append(error.value)
        assert gateway.mapping is None
        assert drops in (None, gateway.drops)

    meet(igd, scenario, monkeypatch)
    return caught[0]


@pytest.mark.parametrize("version", [1, 2])
def test_a_mapping_is_made_renewed_and_removed(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    igd = Igd()
    igd.actions = ACTIONS | (ANY if version == 2 else {})

    async def scenario(gateway: UpnpGateway) -> None:
        await gateway.find()
        assert await gateway.add() == PortMapping(Address("203.0.113.7", PORT), 7200)
        assert igd.entries == {PORT: (HOST, PORT, 7200)}
        assert ("AddAnyPortMapping" in igd.asked) == (version == 2)
        igd.entries.clear()
        assert (await gateway.add()).external.port == PORT
        assert igd.entries, "a router that started anew"
        await gateway.remove()
        assert not igd.entries
        assert gateway.mapping is None

    meet(igd, scenario, monkeypatch)


def test_another_port_is_taken_where_ours_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    igd = Igd()
    igd.taken = {PORT}

    async def scenario(gateway: UpnpGateway) -> None:
        await gateway.find()
        mapping = await gateway.add()
        assert mapping.external.port != PORT
        assert igd.entries[mapping.external.port][:2] == (HOST, PORT)

    meet(igd, scenario, monkeypatch)


def test_a_router_without_leases_maps_until_it_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    igd = Igd()
    igd.only_permanent = True

    async def scenario(gateway: UpnpGateway) -> None:
        await gateway.find()
        assert (await gateway.add()).lifetime_s == 0
        await gateway.remove()
        assert not igd.entries

    meet(igd, scenario, monkeypatch)


# --- hostile ---


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("http://192.168.1.1:5000/rootDesc.xml", True),
        ("http://192.168.1.1/", True),
        ("https://192.168.1.1/", False),
        ("http://192.168.1.10/", False),
        ("http://192.168.1.1.example.org/", False),
        ("http://192.168.1.1@203.0.113.9/", False),
        ("http://user:word@192.168.1.1/", False),
        ("http://203.0.113.9#192.168.1.1/", False),
        ("file:///etc/passwd", False),
        ("http://[::1", False),
        ("http://192.168.1.1:99999/", False),
        ("http://192.168.1.1/" + "a" * 600, False),
        ("", False),
    ],
)
def test_only_the_gateway_itself_is_asked(url: str, fine: bool) -> None:
    assert is_of_gateway(url, "192.168.1.1") is fine


def test_nothing_is_fetched_from_elsewhere() -> None:
    async def run() -> None:
        fetching = GatewayRequester(GATEWAY)
        with pytest.raises(UpnpError):
            await fetching.async_http_request(HttpRequest("GET", "http://203.0.113.9/", {}, None))

    asyncio.run(run())


@pytest.mark.parametrize("to", ["http://127.0.0.2:9/", "http://203.0.113.9/desc.xml", "/other.xml", "//127.0.0.2/"])
@pytest.mark.parametrize("place", ["/desc.xml", "/scpd.xml", "/control"])
def test_a_redirect_is_not_followed(place: str, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    igd = Igd()
    igd.pages[place] = page_of("", "307 Temporary Redirect", f"Location: {to}\r\n")
    assert refused(igd, monkeypatch, {"elsewhere": 1}).standing in (Standing.ABSENT, Standing.REFUSED)
    assert "/other.xml" not in igd.asked
    assert not igd.entries


def test_a_base_address_elsewhere_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    igd = Igd()
    text = DESCRIPTION.format(scpd="/scpd.xml", control="/control")
    based = re.sub(r"(<root[^>]*>)", r"\1<URLBase>http://127.0.0.2:9/</URLBase>", text)
    assert based != text
    igd.pages["/desc.xml"] = page_of(based)

    async def scenario(gateway: UpnpGateway) -> None:
        await gateway.find()
        await gateway.add()
        assert igd.entries, "the gateway itself was asked"

    meet(igd, scenario, monkeypatch)


@pytest.mark.parametrize("headers", ["X: y\r\n" * 200_000, "X: " + "y" * 100_000 + "\r\n"], ids=["many", "long"])
def test_headers_without_end_are_not_read_to_the_end(headers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    igd = Igd()
    igd.pages["/desc.xml"] = page_of(DESCRIPTION.format(scpd="/scpd.xml", control="/control"), more=headers)
    assert refused(igd, monkeypatch, {"format": 1}).standing is Standing.ABSENT


def test_a_sound_document_is_refused_for_its_length_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = DESCRIPTION.format(scpd="/scpd.xml", control="/control")
    standing = {}
    for length in (BODY_BYTES_MAX, 300_000):
        igd = Igd()
        igd.external = "10.0.0.2"  # so that whoever reads the document is refused later, in other words
        igd.pages["/desc.xml"] = page_of(sound + " " * (length - len(sound)))
        standing[length] = refused(igd, monkeypatch, {"long": 1} if length > BODY_BYTES_MAX else {}).standing
    assert standing == {BODY_BYTES_MAX: Standing.NOT_PUBLIC, 300_000: Standing.ABSENT}


@pytest.mark.parametrize("spaces", [0, 10_000_000])
def test_what_unfolds_is_not_unfolded(spaces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    igd = Igd()
    packed = gzip.compress(DESCRIPTION.format(scpd="/scpd.xml", control="/control").encode() + b" " * spaces)
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(packed)}\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"
    igd.pages["/desc.xml"] = head.encode() + packed
    assert refused(igd, monkeypatch, {"format": 1}).standing is Standing.ABSENT


def test_a_service_at_another_host_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    igd = Igd()
    igd.control = "http://127.0.0.2:9/control"
    assert refused(igd, monkeypatch).standing is Standing.ABSENT


NESTED = "".join(
    f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefghij", "bcdefghijk", strict=True)
)
BOMB = f'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">{NESTED}]><root>&k;</root>'
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><root>&a;</root>'
DEEP = DESCRIPTION.format(scpd="/scpd.xml", control="/control").replace(
    "</serviceList></device>",
    "</serviceList>" + "<deviceList><device>" * 4000 + "</device></deviceList>" * 4000 + "</device>",
)
MANY = DESCRIPTION.format(scpd="/scpd.xml", control="/control").replace(
    "</service></serviceList>",
    "</service>"
    + "<service><serviceType>x</serviceType><SCPDURL>/scpd.xml</SCPDURL></service>" * 1000
    + "</serviceList>",
)


@pytest.mark.parametrize("place", ["/desc.xml", "/scpd.xml", "/control"])
@pytest.mark.parametrize(
    "text",
    [BOMB, OUTSIDE, "", "\0", "<root/>", "<" * 1000, "a" * 300_000, DEEP, MANY],
    ids=["bomb", "outside", "empty", "zero", "root", "angles", "long", "deep", "many"],
)
def test_a_document_that_is_hostile_is_a_refusal(place: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    igd = Igd()
    igd.pages[place] = page_of(text)
    assert refused(igd, monkeypatch).standing in (Standing.ABSENT, Standing.REFUSED)
    assert len(igd.asked) <= REQUESTS_MAX + 4


def test_entities_are_refused_by_the_parser_itself() -> None:
    from async_upnp_client.client_factory import DET
    from defusedxml import EntitiesForbidden

    for text in (BOMB, OUTSIDE):
        with pytest.raises(EntitiesForbidden):
            DET.fromstring(text)


def test_a_gateway_that_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requester, "REQUEST_S", 0.1)
    igd = Igd()
    igd.pages["/desc.xml"] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nno more"
    assert refused(igd, monkeypatch).standing is Standing.ABSENT


@pytest.mark.parametrize("external", ["10.0.0.2", "192.168.1.2", "100.64.1.1", "127.0.0.1"])
def test_a_mapping_that_is_not_public_is_not_made(external: str, monkeypatch: pytest.MonkeyPatch) -> None:
    igd = Igd()
    igd.external = external
    error = refused(igd, monkeypatch)
    assert error.standing is Standing.NOT_PUBLIC
    assert f"external address {external} is not public" in str(error)
    assert not igd.entries


@pytest.mark.parametrize("external", ["", "no address", "203.0.113.7.8", "2001:db8::1"])
def test_an_external_address_that_is_none_is_a_refusal(external: str, monkeypatch: pytest.MonkeyPatch) -> None:
    igd = Igd()
    igd.external = external
    assert refused(igd, monkeypatch).standing is Standing.REFUSED


def test_a_mapping_that_leads_elsewhere_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    igd = Igd()
    igd.leads_to = "192.168.1.99"
    assert str(refused(igd, monkeypatch)) == "the gateway's mapping leads elsewhere"


def test_answers_to_a_search_come_from_the_gateway_and_name_it() -> None:
    found: list[str] = []
    drops: Counter[str] = Counter()
    listener = SearchListener("192.168.1.1", found.append, drops)

    def answer(location: str) -> bytes:
        return f"HTTP/1.1 200 OK\r\nST: x\r\nLOCATION: {location}\r\n\r\n".encode()

    listener.datagram_received(answer("http://192.168.1.1:5000/a"), ("192.168.1.2", 1900))
    listener.datagram_received(answer("http://203.0.113.9/a"), ("192.168.1.1", 1900))
    listener.datagram_received(b"HTTP/1.1 200 OK\r\n\xff\xfe: \0\r\n\r\n", ("192.168.1.1", 1900))
    listener.datagram_received(b"HTTP/1.1 200 \xff\n", ("192.168.1.1", 1900))
    listener.datagram_received(b"NOTIFY * HTTP/1.1\r\n\r\n", ("192.168.1.1", 1900))
    assert found == []
    assert drops == {"transaction": 1, "elsewhere": 1, "format": 2, "type": 1}
    listener.datagram_received(answer("http://192.168.1.1:5000/a"), ("192.168.1.1", 40000))
    assert found == ["http://192.168.1.1:5000/a"]
