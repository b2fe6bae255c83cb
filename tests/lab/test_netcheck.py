"""`ntvl netcheck` behind real kernel NATs: each kind is found to be what it is."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ntvl.lab.member import NTVL, start_supernode
from ntvl.lab.stage import Stage
from ntvl.lab.topology import build_sites
from ntvl.nat import KINDS, combine, direct_path_possible

pytestmark = [pytest.mark.lab, pytest.mark.needs_root, pytest.mark.needs_program("ip", "nft")]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(build_sites(KINDS, publics=("first", "second"), ipv6=True)) as built:
        for machine in ("first", "second"):
            start_supernode(built, machine)
        yield built


def ask(stage: Stage, kind: str, *servers: str, status: int = 0) -> dict[str, Any]:
    words = [word for server in servers for word in ("--supernode", server)]
    done = stage.run(kind, [*NTVL, "netcheck", "--json", *words], check=False)
    assert done.returncode == status, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("kind", KINDS)
def test_a_kernel_nat_is_found_to_be_what_it_is(stage: Stage, kind: str) -> None:
    report = ask(stage, kind, stage.address("first"), stage.address("second"))
    real = combine(KINDS[kind])
    assert report["notes"] in ([], ["hairpin-mapping"])
    assert report["confidence"] == "high"
    assert report["translated"] == any(nat.translates for nat in KINDS[kind])
    assert report["mappings"] == [real.apparent_mapping]
    assert report["filterings"] == [real.filtering]
    if report["translated"]:
        assert report["allocation"] == real.allocation
        assert report["step"] == real.step
        assert report["pooling"] == "paired"
    assert report["direct"] == {
        other: "direct" if direct_path_possible(KINDS[kind], KINDS[other], techniques="all") else "relay"
        for other in KINDS
    }
    assert report["elapsed_s"] < 5.0


def test_ipv6_is_found_and_not_translated(stage: Stage) -> None:
    report = ask(stage, "eim-apdf", stage.address("first"), f"[{stage.address('first', ipv6=True)}]:1971")
    assert report["ipv6_translated"] is False
    assert report["ipv6_address"].startswith(f"[{stage.address('eim-apdf', ipv6=True)}]:")


def test_where_nobody_answers_udp_counts_as_blocked_and_the_exit_status_is_1(stage: Stage) -> None:
    report = ask(stage, "cgn", f"{stage.address('first')}:9", f"{stage.address('second')}:9", status=1)
    assert (report["udp"], report["notes"], report["direct"]) == (False, ["no-answer"], {})


def test_people_read_it_at_80_columns(stage: Stage) -> None:
    words = ["--supernode", stage.address("first"), "--supernode", stage.address("second")]
    text = stage.run("cgn", [*NTVL, "netcheck", *words]).stdout
    assert "behind a NAT" in text
    assert "random in a block of about" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    print(text)
