"""Programs that nobody here wrote, on a lab's routers: one that maps ports on request, and an HTTP proxy.

miniupnpd speaks UPnP IGD, or NAT-PMP and PCP, and writes what it grants into chains of the router's own table. It maps
to no documentation address, so a lab with one needs another public prefix. tinyproxy lets hosts inside CONNECT to any
port of any host.
"""

from typing import Final, Literal

from ntvl.lab.program import Program
from ntvl.lab.stage import Stage

__all__ = ["CHAINS", "PROXY_PORT", "PUBLIC_PREFIX", "start_mapper", "start_proxy"]

PUBLIC_PREFIX: Final = "9.9.9.0/24"
"""What a lab's Internet has where routers map ports; it never leaves its namespaces."""

PROXY_PORT: Final = 8888

CHAINS: Final = """\
add chain inet router upnp_pre { type nat hook prerouting priority dstnat; policy accept; }
add chain inet router upnp_post { type nat hook postrouting priority srcnat - 1; policy accept; }
add chain inet router mini_pre
add chain inet router mini_post
add chain inet router mini_fwd
add rule inet router upnp_pre jump mini_pre
add rule inet router upnp_post jump mini_post
insert rule inet router forward jump mini_fwd
"""
"""What miniupnpd puts its mappings into, beside the rules of a router (see `ruleset`)."""
_MAPPER: Final = """\
ext_ifname=wan
listening_ip=lan
port=5000
enable_natpmp={natpmp}
enable_upnp={upnp}
secure_mode=yes
system_uptime=no
uuid=9c5d2b9e-6ab0-4a2f-8d5a-0d1a6a3a7d11
upnp_table_name=router
upnp_nat_table_name=router
upnp_forward_chain=mini_fwd
upnp_nat_chain=mini_pre
upnp_nat_postrouting_chain=mini_post
lease_file={base}.leases
allow 1024-65535 0.0.0.0/0 1024-65535
"""
_PROXY: Final = """\
Port {port}
Listen {address}
Timeout 600
MaxClients 100
LogLevel Warning
"""


def start_mapper(stage: Stage, router: str, protocol: Literal["upnp", "pcp"]) -> Program:
    """Returns a running miniupnpd that opens ports of a router by UPnP, or by NAT-PMP and PCP.

    Raises:
        UsageError: the router translates nothing, so that its rules have no place for mappings.
    """
    base = stage.directory / f"{router}.miniupnpd"
    config = base.with_suffix(".conf")
    words = {True: "yes", False: "no"}
    config.write_text(_MAPPER.format(natpmp=words[protocol == "pcp"], upnp=words[protocol == "upnp"], base=base))
    stage.run(router, ["nft", "-f", "-"], stdin=CHAINS)
    return stage.start(
        router, ["miniupnpd", "-d", "-f", str(config), "-P", f"{base}.pid"], name=f"miniupnpd on {router}"
    )


def start_proxy(stage: Stage, router: str) -> tuple[Program, str]:
    """Returns a running HTTP proxy on a router, and its URL for hosts inside."""
    address = stage.topology.interfaces(router)[1].ipv4.partition("/")[0]
    config = stage.directory / f"{router}.tinyproxy"
    config.write_text(_PROXY.format(port=PROXY_PORT, address=address))
    program = stage.start(router, ["tinyproxy", "-d", "-c", str(config)], name=f"tinyproxy on {router}")
    return program, f"http://{address}:{PROXY_PORT}"
