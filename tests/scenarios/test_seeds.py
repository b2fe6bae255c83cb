"""A seed repeats a run: datagram for datagram, in any process."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from ntvl.sim.net import Net


def fingerprint(seed: int) -> str:
    """Returns a hash of every datagram at the supernode and at a node, with its moment, in a busy little net."""
    net = Net(seed, loss=0.05, jitter_s=0.01, duplicate=0.02, reorder=0.05)
    supernode = net.supernode()
    a, b, c = net.node(behind="eim-apdf"), net.node(behind="double"), net.node(behind="apdm-random")
    supernode.host.capture, a.host.capture = [], []
    net.join(limit_s=60.0)
    for left, right in ((a, b), (b, c), (c, a)):
        net.ping(left, right)
    net.run(10.0)
    net.restart_supernode(supernode)
    net.move(b, behind="eim-eif")
    net.run(30.0)
    digest = hashlib.sha256()
    for captured in (*supernode.host.capture, *a.host.capture):
        digest.update(repr(captured).encode())
    return digest.hexdigest()


def test_the_same_seed_gives_the_same_datagrams_at_the_same_moments() -> None:
    assert fingerprint(1) == fingerprint(1)
    assert fingerprint(1) != fingerprint(2)


def test_the_seed_is_enough_in_another_process_with_other_hashes() -> None:
    program = "import sys; from tests.scenarios.test_seeds import fingerprint; sys.stdout.write(fingerprint(1))"
    root = Path(__file__).parents[2]
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{root}:{root / 'src'}"}
        found = subprocess.run(
            [sys.executable, "-c", program], env=environment, cwd=root, capture_output=True, text=True, check=True
        )
        assert found.stdout == fingerprint(1)
