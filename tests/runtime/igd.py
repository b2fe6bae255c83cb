"""An Internet gateway on loopback that says what a test wants: SSDP on one port, HTTP on another."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from xml.sax.saxutils import escape

HOST = "127.0.0.1"

DESCRIPTION = """<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion><device>
<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><friendlyName>box</friendlyName>
<UDN>uuid:1</UDN><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><serviceId>urn:x:WANIPConn1</serviceId>
<SCPDURL>{scpd}</SCPDURL><controlURL>{control}</controlURL><eventSubURL>/event</eventSubURL>
</service></serviceList></device></root>"""

IN = {
    "NewRemoteHost": "string",
    "NewExternalPort": "ui2",
    "NewProtocol": "string",
    "NewInternalPort": "ui2",
    "NewInternalClient": "string",
    "NewEnabled": "boolean",
    "NewPortMappingDescription": "string",
    "NewLeaseDuration": "ui4",
}
KEY = tuple(IN)[:3]
ACTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "GetExternalIPAddress": ((), ("NewExternalIPAddress",)),
    "AddPortMapping": (tuple(IN), ()),
    "DeletePortMapping": (KEY, ()),
    "GetSpecificPortMappingEntry": (KEY, ("NewInternalPort", "NewInternalClient")),
}
ANY = {"AddAnyPortMapping": (tuple(IN), ("NewReservedPort",))}


def scpd(actions: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]) -> str:
    kinds = IN | {"NewExternalIPAddress": "string", "NewReservedPort": "ui2"}

    def argument(name: str, way: str) -> str:
        return (
            f"<argument><name>{name}</name><direction>{way}</direction>"
            f"<relatedStateVariable>{name}</relatedStateVariable></argument>"
        )

    listed = "".join(
        f"<action><name>{name}</name><argumentList>{''.join(argument(a, 'in') for a in given)}"
        f"{''.join(argument(a, 'out') for a in answered)}</argumentList></action>"
        for name, (given, answered) in actions.items()
    )
    variables = "".join(
        f'<stateVariable sendEvents="no"><name>{name}</name><dataType>{kind}</dataType></stateVariable>'
        for name, kind in kinds.items()
    )
    return (
        '<?xml version="1.0"?><scpd xmlns="urn:schemas-upnp-org:service-1-0"><specVersion><major>1</major>'
        f"<minor>0</minor></specVersion><actionList>{listed}</actionList>"
        f"<serviceStateTable>{variables}</serviceStateTable></scpd>"
    )


class Igd:
    """Answers HTTP on `port`; `pages` are whole answers by path, actions go to `on_action`."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[str] = []
        self.actions = ACTIONS
        self.external = "203.0.113.7"
        self.entries: dict[int, tuple[str, int, int]] = {}
        """Client, port and lease by external port."""
        self.taken: set[int] = set()
        self.only_permanent = False
        self.leads_to = ""
        self.pages: dict[str, bytes | Callable[[], bytes]] = {}
        self.control = "/control"

    @property
    def location(self) -> str:
        return f"http://{HOST}:{self.port}/desc.xml"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"Content-Length: (\d+)", head, re.IGNORECASE)
            body = (await reader.readexactly(int(length[1]))).decode() if length else ""
            path = head.split()[1]
            action = re.search(r'SOAPAction: "?[^#]*#(\w+)', head, re.IGNORECASE)
            self.asked.append(action[1] if action else path)
            writer.write(self.answer(path, action[1] if action else "", body))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def answer(self, path: str, action: str, body: str) -> bytes:
        page = self.pages.get(path)
        if page is not None:
            return page if isinstance(page, bytes) else page()
        if path == "/desc.xml":
            return page_of(DESCRIPTION.format(scpd="/scpd.xml", control=self.control))
        if path == "/scpd.xml":
            return page_of(scpd(self.actions))
        given = dict(re.findall(r"<(New\w+)>([^<]*)</", body))
        return self.act(action, given)

    def act(self, action: str, given: dict[str, str]) -> bytes:
        port = int(given.get("NewExternalPort", "0"))
        match action:
            case "GetExternalIPAddress":
                return done(action, NewExternalIPAddress=self.external)
            case "AddPortMapping" | "AddAnyPortMapping":
                if self.only_permanent and given["NewLeaseDuration"] != "0":
                    return fault(725)
                if port in self.taken:
                    return fault(718)
                leads_to = self.leads_to or given["NewInternalClient"]
                self.entries[port] = (leads_to, int(given["NewInternalPort"]), int(given["NewLeaseDuration"]))
                return done(action, **({"NewReservedPort": str(port)} if action.startswith("AddAny") else {}))
            case "GetSpecificPortMappingEntry" if port in self.entries:
                client, inside, _ = self.entries[port]
                return done(action, NewInternalPort=str(inside), NewInternalClient=client)
            case "DeletePortMapping" if self.entries.pop(port, None):
                return done(action)
        return fault(714)


def page_of(text: str, status: str = "200 OK", more: str = "") -> bytes:
    body = text.encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n".encode() + body


def envelope(inside: str) -> str:
    return (
        '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
        f"<s:Body>{inside}</s:Body></s:Envelope>"
    )


def done(action: str, **answered: str) -> bytes:
    inside = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in answered.items())
    service = "urn:schemas-upnp-org:service:WANIPConnection:1"
    return page_of(envelope(f'<u:{action}Response xmlns:u="{service}">{inside}</u:{action}Response>'))


def fault(code: int) -> bytes:
    return page_of(
        envelope(
            "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>"
            f'<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{code}</errorCode>'
            "<errorDescription>no</errorDescription></UPnPError></detail></s:Fault>"
        ),
        "500 Internal Server Error",
    )


@asynccontextmanager
async def running(igd: Igd) -> AsyncIterator[Igd]:
    server = await asyncio.start_server(igd.handle, HOST, 0)
    igd.port = server.sockets[0].getsockname()[1]
    try:
        yield igd
    finally:
        server.close()
        await server.wait_closed()
