"""The drawing that a demonstration opens with."""

from ntvl.lab.picture import describe_nat, draw_sites
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS, NatBehaviour


def test_a_drawing_has_each_box_under_the_internet_and_the_hosts_at_the_bottom() -> None:
    lines = draw_sites(build_sites({"a": KINDS["double"], "b": KINDS["apdm-random"], "c": ()})).splitlines()
    assert "supernode 203.0.113.10" in lines[0]
    assert "c 203.0.113.11" in lines[0], "what has no box in front stands on the Internet"
    assert "= Internet 203.0.113.0/24 =" in lines[2]
    outer = next(line for line in lines if "[a-router-2]" in line)
    assert "[b-router]" in outer, "outermost boxes stand side by side"
    assert lines[-2].split() == ["a", "b"]
    assert lines[-1].split() == ["192.168.1.10", "192.168.2.10"]
    column = outer.index("[b-router]")
    assert all(line[column : column + 10].strip() for line in lines[3:]), "a wire leads down to each host"
    assert not any(line != line.rstrip() for line in lines)
    assert max(map(len, lines)) <= 80


def test_each_behaviour_has_its_words() -> None:
    words = {kind: describe_nat(chain[0]) for kind, chain in KINDS.items() if len(chain) == 1}
    assert len(set(words.values())) == len(words) - 1, "two kinds preserve ports and filter alike"
    assert describe_nat(NatBehaviour(translates=False)) == "firewall, no NAT"
