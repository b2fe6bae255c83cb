"""A node as a program: puts key, secrets, engine, machine and operating system together, and takes them apart again.

    start   state locked, key loaded, secrets read -> names and subnets checked -> engine -> machine -> devices
    run     the driver moves datagrams; tasks beside it watch interfaces, resolve supernodes and answer questions
    end     a signal, or a sentence that says why: leave every community, close devices, release the state

What goes wrong for good ends the program with one sentence; what may pass is told and tried again.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final

from ntvl import __version__
from ntvl.aead import aes_is_fast
from ntvl.config import CommunityConfig, Config
from ntvl.dataplane.choice import Engine, start_engine
from ntvl.dataplane.interface import DeviceClosed, DeviceOpened, Event
from ntvl.dataplane.tap import check_tap
from ntvl.errors import UsageError
from ntvl.identity.community import Community, derive_community
from ntvl.identity.keys import NodeKey, format_key, parse_key
from ntvl.identity.url import SupernodeUrl
from ntvl.proto.events import (
    AddressAssigned,
    CarrierUnwanted,
    CarrierWanted,
    DialPortWanted,
    DialUnwanted,
    DialWanted,
    Failed,
    KeyLearned,
    NodeEvent,
    PingReply,
    SeenElsewhere,
    StreamUnwanted,
    SupernodeReached,
    SupernodeState,
    TurnPeersWanted,
    WhyReply,
)
from ntvl.proto.node import Node
from ntvl.proto.settings import CommunitySettings, NodeSettings
from ntvl.runtime.carrier import engine_address
from ntvl.runtime.carriers import Carriers
from ntvl.runtime.clock import wall_time
from ntvl.runtime.control_socket import ControlSocket
from ntvl.runtime.device import Device
from ntvl.runtime.direct_streams import DirectStreams
from ntvl.runtime.driver import Driver
from ntvl.runtime.interfaces import InterfaceWatch, read_hosts
from ntvl.runtime.network import choose_device_names, find_overlap, read_plan_facts
from ntvl.runtime.network_memory import NetworkMemory, read_network
from ntvl.runtime.portmapper import PortMapper
from ntvl.runtime.proxy import Proxy, find_proxy
from ntvl.runtime.report import Reporter
from ntvl.runtime.resolver import Resolver
from ntvl.runtime.secret import read_secrets
from ntvl.runtime.service import NodeService
from ntvl.runtime.state import StateDirectory
from ntvl.runtime.turn_carriers import TurnCarriers
from ntvl.runtime.turn_credential import read_turn_credentials
from ntvl.wire.address import Address
from ntvl.wire.credential import Credentials

__all__ = ["run_node"]

_ADVICE: Final = {
    "duplicate-node": "stop the other, or give each its own state directory with --state DIR",
    "address-taken": "choose another with --address",
    "address-outside": "choose one inside the subnet with --address",
}
"""What to do about a failure, by its code."""
JOINED_TOGETHER_S: Final = 0.3
"""Members that are seen within this time share a line."""


def run_node(config: Config, *, as_json: bool = False, environ: MutableMapping[str, str] | None = None) -> None:
    """Runs a node until SIGINT, SIGTERM or the end of its terminal.

    Args:
        config: what to join.
        as_json: events as JSON lines instead of sentences.
        environ: `os.environ` by default; loses `NTVL_SECRET`.
    Raises:
        UsageError: why the node cannot start or go on, in one sentence.
    """
    reporter = Reporter(as_json=as_json)
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    with StateDirectory(config.state, role="node") as state:
        key = NodeKey.from_bytes(state.load_key())
        supernodes = _add_pins(config.supernodes, state.load_known_supernodes())
        check_tap()
        secrets = read_secrets(
            [(community.name, community.secret_file) for community in config.communities],
            environ=os.environ if environ is None else environ,
            warn=lambda code, text: reporter.notice("warning", code, text),
        )
        turn = None if config.turn_credentials is None else read_turn_credentials(config.turn_credentials)
        variables = os.environ if environ is None else environ
        proxies = _find_proxies(supernodes, variables, reporter)
        asyncio.run(_Program(config, state, key, supernodes, proxies, reporter, turn).run(secrets))


class _Program:
    """Is one run of a node."""

    def __init__(
        self,
        config: Config,
        state: StateDirectory,
        key: NodeKey,
        supernodes: tuple[SupernodeUrl, ...],
        proxies: tuple[Proxy | None, ...],
        reporter: Reporter,
        turn_credentials: Credentials | None,
    ) -> None:
        self._config = config
        self._state = state
        self._key = key
        self._supernodes = supernodes
        self._proxies = proxies
        self._memory = NetworkMemory(config.state)
        self._network = ""
        self._reporter = reporter
        self._turn_credentials = turn_credentials
        self._turn: TurnCarriers | None = None
        self._port_mapper: PortMapper | None = None
        self._stop = asyncio.Event()
        self._leaving = False
        self._devices: list[Device] = []
        self._resolvers: list[Resolver] = []

    async def run(self, secrets: Sequence[str]) -> None:
        """Starts, runs until told to stop, leaves."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1) has SIGHUP ignored
                loop.add_signal_handler(number, self._signalled, number)
        self._reporter.on_deferred = self._defer_flush
        links, _ = await read_plan_facts()
        names = choose_device_names([c.device for c in self._config.communities], {link.name for link in links})
        communities = await asyncio.to_thread(_derive, self._config.communities, secrets)
        if self._stop.is_set():
            return
        listen = (Address("0.0.0.0", self._config.port), Address("::", self._config.port))
        engine = start_engine(listen=listen)
        try:
            await self._run_on(engine, listen, communities, names)
        finally:
            engine.close()
        self._reporter.stopped()

    async def _run_on(
        self, engine: Engine, listen: Sequence[Address], communities: Sequence[Community], names: Sequence[str]
    ) -> None:
        node = Node(self._settings(engine, communities, names), random=os.urandom, wall=wall_time)
        driver = Driver[NodeEvent](node, engine, on_event=self._on_event, on_plane_event=self._on_plane_event)
        self._devices = [Device(config, self._reporter) for config in self._config.communities]
        self._carriers = Carriers(
            self._supernodes,
            self._proxies,
            engine_address(listen, engine.port),
            tell=lambda index, kind, address: driver.tell(node.handle_carrier, index, kind, address),
            warn=lambda text: self._reporter.notice("warning", "proxy-refused", text),
        )
        self._direct_streams = DirectStreams(
            engine_address(listen, engine.port),
            tell_port=lambda *news: driver.tell(node.handle_dial_port, *news),
            tell_stream=lambda *news: driver.tell(node.handle_stream, *news),
            tell_end=lambda carrier: driver.tell(node.handle_stream_end, carrier),
        )
        self._turn = self._carriers_by_turn(driver, node, engine_address(listen, engine.port))
        self._port_mapper = mapper = self._mapper(driver, node, engine.port) if self._config.port_mapping else None
        streams = (self._carriers, self._direct_streams)
        self._service = NodeService(node, driver, engine, self._devices, mapper, self._turn, streams)
        control = ControlSocket(self._config.socket, self._service.handlers)
        await control.open()
        try:
            await self._check_subnets()  # last: a second node here has one of the above wrong as well
            self._reporter.started(
                name=self._config.name, key=self._key.public, port=engine.port, socket=str(self._config.socket)
            )
            hosts = await read_hosts()
            driver.tell(node.handle_interfaces, hosts)
            if mapper is not None:
                mapper.start()
            if self._turn is not None:
                await self._turn.start()
            await self._recall(driver, node)
            self._resolvers = [self._resolver(driver, node, i) for i in range(len(self._supernodes))]

            def tell_hosts(hosts: tuple[str, ...]) -> None:
                driver.tell(node.handle_interfaces, hosts)
                for resolver in self._resolvers:
                    resolver.ask_again()
                if self._turn is not None:
                    self._turn.handle_network_change()
                self._recalling = asyncio.ensure_future(self._recall(driver, node))

            await self._drive(
                driver,
                InterfaceWatch(tell_hosts).run(),
                *(device.run() for device in self._devices),
                *(resolver.run() for resolver in self._resolvers),
            )
        finally:
            self._leaving = True
            self._reporter.flush()
            await control.close()
            try:
                driver.tell(node.close)
                driver.flush()
            except (UsageError, OSError):  # the end has its reason already, or has no engine to tell others with
                pass
            await self._carriers.close()
            await self._direct_streams.close()
            if self._turn is not None:
                await self._turn.close()
            if mapper is not None:
                await mapper.close()

    async def _recall(self, driver: Driver[NodeEvent], node: Node) -> None:
        """Tells the machine what carried on the network where we are now."""
        self._network = await read_network()
        driver.tell(node.handle_network, [self._memory.recall(self._network, _endpoint(u)) for u in self._supernodes])

    async def _drive(self, driver: Driver[NodeEvent], *beside: Coroutine[Any, Any, None]) -> None:
        """Runs the driver and the tasks beside it until a signal, or until one of them fails."""
        try:
            async with asyncio.TaskGroup() as group:
                driving = group.create_task(driver.run())
                tasks = [group.create_task(task) for task in beside]
                await self._stop.wait()
                driver.stop()
                await driving
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as failures:
            failure = _first_failure(failures)
            if isinstance(failure, ConnectionError):
                raise UsageError(f"The data plane failed ({failure}); start the node again.") from failures
            raise failure from failures

    def _settings(self, engine: Engine, communities: Sequence[Community], names: Sequence[str]) -> NodeSettings:
        return NodeSettings(
            key=self._key,
            name=self._config.name,
            communities=tuple(
                CommunitySettings(
                    community=community,
                    device=number,
                    device_name=name,
                    lease=config.lease,
                    address=config.address,
                    subnet=config.subnet,
                    mtu=config.mtu,
                )
                for number, (config, community, name) in enumerate(
                    zip(self._config.communities, communities, names, strict=True)
                )
            ),
            supernodes=self._supernodes,
            incarnation=os.urandom(8),
            aes=aes_is_fast(_read_cpuinfo()),
            version=__version__,
            port=engine.port,
            streams=True,
            proxies=tuple(str(proxy or "") for proxy in self._proxies),
            direct=self._config.punch != "off",
            guesses=self._config.punch == "all",
        )

    async def _check_subnets(self) -> None:
        """Refuses a community whose subnet would hide a network of this machine."""
        links, routes = await read_plan_facts()
        for config in self._config.communities:
            overlap, is_node = ("", False) if config.lease == "none" else find_overlap(config.subnet, routes, links)
            if overlap:
                other = "choose another with --subnet, the same on every node of the community."
                if is_node:
                    other = f"end the node that has it, for a computer is in a community once, or {other}"
                raise UsageError(
                    f"The subnet {config.subnet} of the community {config.name} overlaps {overlap}; {other}"
                )

    def _mapper(self, driver: Driver[NodeEvent], node: Node, port: int) -> PortMapper:
        def tell(mapping: Address | None) -> None:
            driver.tell(node.handle_mappings, mapper.mappings)
            if mapping is None:
                self._reporter.notice("info", "port-unmapped", mapper.description)
            else:
                by = " and ".join(f"{address} by {protocol}" for address, protocol in mapper.protocols)
                self._reporter.notice("info", "port-mapped", f"UDP port {port} is open to everybody at {by}")

        mapper = PortMapper(port, on_change=tell)
        return mapper

    def _carriers_by_turn(self, driver: Driver[NodeEvent], node: Node, engine: Address) -> TurnCarriers | None:
        if self._config.turn is None or self._turn_credentials is None:
            return None
        return TurnCarriers(
            self._config.turn,
            self._turn_credentials,
            engine,
            tell_relayed=lambda relayed: driver.tell(node.handle_turn, relayed),
            tell_carrier=lambda peer, carrier: driver.tell(node.handle_turn_carrier, peer, carrier),
            notice=self._reporter.notice,
        )

    def _resolver(self, driver: Driver[NodeEvent], node: Node, index: int) -> Resolver:
        url = self._supernodes[index]

        def tell(addresses: Sequence[Address]) -> None:
            self._carriers.set_addresses(index, addresses)
            driver.tell(node.handle_supernode_address, index, addresses)

        def warn(reason: str) -> None:
            self._reporter.notice(
                "warning",
                "unknown-host",
                f"The name of the supernode {url.host} does not resolve ({reason}); trying again and again.",
            )

        return Resolver(url, on_addresses=tell, on_failure=warn)

    def _on_event(self, event: NodeEvent) -> None:
        if self._leaving:
            return
        self._reporter.event(event)
        match event:
            case AddressAssigned():
                self._devices[event.device].assign(event.addresses)
            case PingReply():
                self._service.handle_reply(event)
            case WhyReply():
                self._service.handle_why(event)
            case KeyLearned():
                self._pin(event)
            case SupernodeState(state="unreachable"):
                self._resolvers[event.url_index].ask_again()
            case CarrierWanted():
                self._carriers.want(event.url_index, event.kind)
            case CarrierUnwanted():
                self._carriers.unwant(event.url_index, event.kind)
            case DialPortWanted():
                self._direct_streams.want_port(event.number, event.servers)
            case DialWanted():
                self._direct_streams.dial(event.number, event.remotes)
            case DialUnwanted():
                self._direct_streams.unwant(event.number)
            case SeenElsewhere():
                self._verify()
            case StreamUnwanted():
                self._direct_streams.close_stream(event.carrier)
            case TurnPeersWanted() if self._turn is not None:
                self._turn.want(event.peers)
            case SupernodeReached():
                self._memory.note(self._network, _endpoint(self._supernodes[event.url_index]), event.way)
            case Failed():
                raise UsageError("; ".join(filter(None, (event.text, _ADVICE.get(event.code)))))

    def _verify(self) -> None:
        """Asks gateways and TURN server whether they still know us."""
        if self._port_mapper is not None:
            self._port_mapper.verify()
        if self._turn is not None:
            self._turn.verify()

    def _on_plane_event(self, event: Event) -> None:
        match event:
            case DeviceOpened():
                self._devices[event.device].opened(event.name, event.offloads)
            case DeviceClosed(reason=reason) if not self._leaving:
                raise UsageError(reason or "The engine closed a device that is still in use.")

    def _pin(self, event: KeyLearned) -> None:
        url = self._supernodes[event.url_index]
        try:
            self._state.pin_supernode(_endpoint(url), format_key(event.key))
        except UsageError as error:
            text = f"The key {format_key(event.key)} of {url.host} is used but cannot be pinned: {error}"
            self._reporter.notice("error", "pin-failed", text)
        else:
            self._reporter.learned(str(url), event.key)

    def _defer_flush(self) -> None:
        asyncio.get_running_loop().call_later(JOINED_TOGETHER_S, self._reporter.flush)

    def _signalled(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            os._exit(128 + number)
        self._stop.set()


def _add_pins(urls: Sequence[SupernodeUrl], known: dict[str, str]) -> tuple[SupernodeUrl, ...]:
    """Returns the URLs with the pinned keys of those that name none; a key in a URL is the person's own word."""
    return tuple(
        url._replace(key=parse_key(known[_endpoint(url)])) if url.key is None and _endpoint(url) in known else url
        for url in urls
    )


def _find_proxies(
    urls: Sequence[SupernodeUrl], environ: MutableMapping[str, str], reporter: Reporter
) -> tuple[Proxy | None, ...]:
    """Returns the proxy towards each supernode; one that ntvl cannot use is told of and left out."""
    try:
        return tuple(find_proxy(url.host, environ) for url in urls)
    except UsageError as error:
        reporter.notice("warning", "no-proxy", f"{error} Going on without a proxy.")
        return tuple(None for _ in urls)


def _endpoint(url: SupernodeUrl) -> str:
    return str(Address(url.host, url.port))


def _derive(configs: Sequence[CommunityConfig], secrets: Sequence[str]) -> list[Community]:
    """Returns each community with its keys, one after the other: each takes 64 MiB for a moment."""
    return [derive_community(config.name, secret) for config, secret in zip(configs, secrets, strict=True)]


def _first_failure(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Returns what to tell of several failures at once: a sentence for the person before anything else."""
    failures: list[BaseException] = []
    for failure in group.exceptions:
        failures.append(_first_failure(failure) if isinstance(failure, BaseExceptionGroup) else failure)
    return next((failure for failure in failures if isinstance(failure, UsageError)), failures[0])


def _read_cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
