"""Fuzzes the parsers by coverage: `python tests/fuzz/fuzz.py --seconds 60 [TARGET ...]`, or `make fuzz SECONDS=60`.

Each target of targets.py runs in a process of its own, one after the other, for an equal share of the time, from the
seeds in seeds/TARGET and from what earlier runs on this machine found (.cache/fuzz). An input that breaks a target is
printed in hex and kept as a seed, so that test_seeds.py fails until it is repaired. `--keep` adds the inputs that reach
new code to the seeds, as small a set as does.
"""

import argparse
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
SEEDS: Final = HERE / "seeds"
CACHE: Final = ROOT / ".cache" / "fuzz"
INPUT_BYTES_MAX: Final = 2048
"""Longer than any datagram; super-frames are longer, but nothing new happens in them."""
INPUT_S_MAX: Final = 5
MEMORY_MB_MAX: Final = 2048

NO_ATHERIS: Final = (
    "fuzzing needs atheris, which has no package for this Python or machine: use Python 3.11 to 3.14 on x86-64 Linux "
    "(make clean, then make PYTHON=/path/to/python3 setup)"
)


def main() -> int:
    """Runs targets for their time; returns 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="time in all, at least one second a target")
    parser.add_argument("--keep", action="store_true", help="add inputs that reach new code to the seeds")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="only these")
    arguments = parser.parse_args()
    if not has_atheris():
        print(f"fuzz: {NO_ATHERIS}", file=sys.stderr)
        return 1
    known = load_targets()
    unknown = sorted(set(arguments.targets) - set(known))
    if unknown:
        print(f"fuzz: no target {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    targets = arguments.targets or list(known)
    seconds = -(-arguments.seconds // len(targets))
    began = time.monotonic()
    results = [fuzz(target, seconds) for target in targets]
    if arguments.keep:
        for target in targets:
            keep(target)
    inputs = sum(count for count, _ in results)
    found = sum(not fine for _, fine in results)
    outcome = f"{found} of them BROKEN" if found else "nothing found"
    print(f"fuzz: {len(targets)} targets, {inputs:,} inputs in {time.monotonic() - began:.0f} s, {outcome}")
    return 1 if found else 0


def has_atheris() -> bool:
    """Returns whether this interpreter can fuzz."""
    return subprocess.run([sys.executable, "-c", "import atheris"], capture_output=True, check=False).returncode == 0


def load_targets() -> dict[str, object]:
    """Returns the targets by name."""
    sys.path.insert(0, str(ROOT))
    from tests.fuzz.targets import TARGETS

    return dict(TARGETS)


def fuzz(target: str, seconds: int) -> tuple[int, bool]:
    """Runs one target; returns how many inputs it took and whether it withstood them."""
    corpus, findings = CACHE / target, CACHE / f"{target}.findings"
    corpus.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(findings, ignore_errors=True)
    findings.mkdir()
    (SEEDS / target).mkdir(parents=True, exist_ok=True)
    run = _run(
        target,
        str(corpus),
        str(SEEDS / target),
        f"-max_total_time={seconds}",
        f"-artifact_prefix={findings}/",
        "-print_final_stats=1",
    )
    count = re.search(r"stat::number_of_executed_units: (\d+)", run.stdout)
    inputs = int(count[1]) if count else 0
    kept = [_keep_finding(target, finding) for finding in sorted(findings.iterdir())]
    fine = run.returncode == 0 and not kept
    print(f"fuzz: {target}: {inputs:,} inputs in {seconds} s, {'nothing found' if fine else 'BROKEN'}", flush=True)
    if not fine:
        print(_words(run.stdout))
    for seed in kept:
        print(f"fuzz: {target}: broken by {seed.read_bytes().hex() or 'no bytes at all'}, kept as {seed}", flush=True)
    return inputs, fine


def keep(target: str) -> None:
    """Adds to the seeds of a target what reaches code that they do not."""
    before = len(list((SEEDS / target).iterdir()))
    _run(target, "-merge=1", str(SEEDS / target), str(CACHE / target))
    print(f"fuzz: {target}: {len(list((SEEDS / target).iterdir())) - before} new seeds")


def child(target: str, arguments: list[str]) -> None:
    """Is the process that fuzzes: ntvl is loaded with its branches watched. Does not return."""
    import atheris

    sys.path.insert(0, str(ROOT))
    with atheris.instrument_imports(include=["ntvl"]):
        from tests.fuzz.targets import TARGETS
    again = shlex.join([sys.executable, __file__, "--child", target])  # how a merge starts its own children, by a shell
    atheris.Setup([again, *arguments], TARGETS[target])
    atheris.Fuzz()


def _run(target: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    limits = (f"-max_len={INPUT_BYTES_MAX}", f"-timeout={INPUT_S_MAX}", f"-rss_limit_mb={MEMORY_MB_MAX}")
    return subprocess.run(
        [sys.executable, __file__, "--child", target, *limits, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        text=True,
        errors="replace",
        check=False,
    )


def _keep_finding(target: str, finding: Path) -> Path:
    data = finding.read_bytes()
    seed = SEEDS / target / f"{finding.name.split('-')[0]}-{hashlib.sha256(data).hexdigest()[:12]}"
    seed.write_bytes(data)
    return seed


def _words(output: str) -> str:
    """Returns what a broken run said, without the progress of the fuzzer."""
    lines = [line for line in output.splitlines() if not re.match(r"#\d+\s|INFO:|stat::|MS: |Base64: ", line)]
    return "\n".join(f"  {line}" for line in lines[-40:])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    sys.exit(main())
