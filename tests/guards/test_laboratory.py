"""docs/laboratory.md has every kind and key, and its example is a topology."""

import re
from dataclasses import fields
from typing import Final

from tests.guards.tree import ROOT
from tests.lab import test_matrix as matrix

from ntvl.kind import SITE_KINDS, plan_pairs
from ntvl.lab.blueprint import parse_blueprint
from ntvl.lab.plan import build_plan
from ntvl.nat import NatBehaviour

PAGE: Final = (ROOT / "docs" / "laboratory.md").read_text()


def test_the_table_of_kinds_is_the_table_of_kinds() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+) \| (IPv4|IPv6|both) \| (lab|both) \|$", PAGE, re.MULTILINE)
    families = {(True, False): "IPv4", (False, True): "IPv6", (True, True): "both"}
    assert rows == [
        (kind.name, kind.title, families[kind.ipv4, kind.ipv6], "both" if kind.simulated else "lab")
        for kind in SITE_KINDS.values()
    ]


def test_the_example_is_a_topology() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    blueprint = parse_blueprint(example)
    assert [host.name for host in blueprint.topology.hosts] == ["server", "laptop", "printer", "office"]
    assert blueprint.topology.chain_of("laptop")[0].step == 2
    assert build_plan(blueprint.topology, "t").up


def test_the_matrices_have_as_many_pairs_as_the_documents_say() -> None:
    words = " ".join((ROOT / "docs" / "nat-traversal.md").read_text().split())
    kinds = list(SITE_KINDS.values())
    simulated = [kind for kind in kinds if kind.simulated]
    assert f"its matrix of {len(plan_pairs(kinds))} pairs" in words
    assert f"the simulator the {len(plan_pairs(simulated))} of them that do without UPnP" in words
    assert [kind.name for kind in kinds if not kind.simulated] == ["upnp"]


def test_real_programs_meet_behind_every_kind() -> None:
    assert sorted({*matrix.KINDS, *matrix.CIRCLE, *matrix.ALONE}) == sorted(SITE_KINDS)
    assert len(matrix.CIRCLE) % 2 == 0, "a circle needs an even number, for its sides alternate"
    assert {name for name, kind in SITE_KINDS.items() if kind.shared} == {*matrix.ALONE, "carrier-hairpin"}


def test_every_key_of_a_router_is_on_the_page() -> None:
    for field in fields(NatBehaviour):
        assert f"`{field.name}`" in PAGE, field.name
