"""The commands of a lab, compared as text."""

from ntvl.lab.plan import build_plan, plan_router
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS, NatBehaviour

SMALL = build_sites({"a": (NatBehaviour(translates=False),)})

SMALL_TEXT = """\
ip -batch - <<'END'
netns add t-fabric
netns add t-supernode
netns add t-a
netns add t-a-router
END
ip netns exec t-fabric sh -e <<'END'
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
END
ip netns exec t-a-router sh -e <<'END'
nft -f - <<'RULES'
flush ruleset
table inet router {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname != "wan" accept
    meta l4proto { icmp, ipv6-icmp } accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "lan" accept
    ct status dnat accept
  }
}
RULES
echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
echo 30 > /proc/sys/net/netfilter/nf_conntrack_udp_timeout
echo 120 > /proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream
END
ip -n t-fabric -batch - <<'END'
link set lo up
link add br0 type bridge forward_delay 0 mcast_snooping 0
link set br0 alias internet up
link add br1 type bridge forward_delay 0 mcast_snooping 0
link set br1 alias a-lan up
link add port0 type veth peer name eth0 netns t-supernode
link set port0 master br0 alias supernode up
link add port1 type veth peer name eth0 netns t-a
link set port1 master br1 alias a up
link add port2 type veth peer name wan netns t-a-router
link set port2 master br0 alias a-router up
link add port3 type veth peer name lan netns t-a-router
link set port3 master br1 alias a-router up
END
ip -n t-supernode -batch - <<'END'
link set lo up
address add 203.0.113.10/24 dev eth0
link set eth0 up
route add 198.51.100.0/28 via 203.0.113.101
END
ip -n t-a -batch - <<'END'
link set lo up
address add 198.51.100.10/28 dev eth0
link set eth0 up
route add default via 198.51.100.1
END
ip -n t-a-router -batch - <<'END'
link set lo up
address add 203.0.113.101/24 dev wan
link set wan up
address add 198.51.100.1/28 dev lan
link set lan up
END
# and back
ip -force -batch - <<'END'
netns delete t-a-router
netns delete t-a
netns delete t-supernode
netns delete t-fabric
END
"""


def test_a_small_lab_is_exactly_this_text() -> None:
    assert str(build_plan(SMALL, "t")) == SMALL_TEXT


def test_what_is_built_is_removed_in_reverse() -> None:
    plan = build_plan(build_sites(KINDS), "t")
    made = [line.split()[-1] for line in plan.up[0].stdin.splitlines()]
    removed = [line.split()[-1] for line in plan.down[0].stdin.splitlines()]
    assert removed == made[::-1] == list(plan.namespaces)[::-1]


def test_twenty_hosts_need_few_processes() -> None:
    sites = {f"host{number}": (NatBehaviour(),) for number in range(20)}
    assert len(build_plan(build_sites(sites), "t").up) < 3 * 41


def test_device_names_fit_the_kernel() -> None:
    text = str(build_plan(build_sites({"x" * 20: KINDS["cgn"]}), "t"))
    words = text.split()
    devices = [words[index + 1] for index, word in enumerate(words) if word in {"dev", "name"}]
    assert devices
    assert all(len(device) <= 15 for device in devices)


def test_a_router_gets_its_rules_anew_for_another_address() -> None:
    topology = build_sites({"a": KINDS["eim-adf"]})
    command = plan_router(topology, "t", "a-router", "203.0.113.77")
    assert command.argv == ("ip", "netns", "exec", "t-a-router", "nft", "-f", "-")
    assert command.stdin.startswith("flush ruleset")
