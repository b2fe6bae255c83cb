"""miniupnpd on a router of the laboratory, for tests."""

from ntvl.lab.program import Program
from ntvl.lab.service import CHAINS
from ntvl.lab.stage import Stage

__all__ = ["start_daemon"]

CONFIG = """
ext_ifname=wan
ext_ifname6=wan
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
lease_file={leases}
allow 1024-65535 192.168.0.0/16 1024-65535
"""


def start_daemon(stage: Stage, *, natpmp: bool, upnp: bool) -> Program:
    """Lets the router "router" of a stage speak PCP and NAT-PMP, or UPnP, with nftables as its kernel NAT has them."""
    stage.run("router", ["nft", "-f", "-"], stdin=CHAINS)
    words = {True: "yes", False: "no"}
    config = stage.directory / "miniupnpd.conf"
    config.write_text(
        CONFIG.format(natpmp=words[natpmp], upnp=words[upnp], leases=stage.directory / "miniupnpd.leases")
    )
    return stage.start(
        "router", ["miniupnpd", "-d", "-f", str(config), "-P", str(stage.directory / "miniupnpd.pid")], name="miniupnpd"
    )
