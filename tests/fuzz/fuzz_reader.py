"""Fuzzes the reader: `python tests/fuzz/fuzz_reader.py [--inputs N] [--seed N]`, or `--atheris [libFuzzer options]`.

Every input must end as a value or as a `ppls.Error`, within 5 seconds and 1 GiB. An input that does not is saved under
`--failures`, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

_SECONDS = 5
_BYTES = 1 << 30


def limit_resources() -> None:
    """From now on, little more memory than is in use; the alarm of `timed` raises."""
    with open("/proc/self/statm") as statm:
        in_use = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + _BYTES, in_use + _BYTES))
    signal.signal(signal.SIGALRM, _too_slow)


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"took more than {_SECONDS} s")


def fuzz(seed: int, inputs: int, failures: Path) -> tuple[Counter[str], int, float]:
    """One process: outcomes, the number of failures, the slowest input's seconds."""
    from tests.fuzz.cases import Bench, cases, mutate

    random_ = random.Random(seed)
    corpus = cases()
    outcomes: Counter[str] = Counter()
    failed, slowest = 0, 0.0
    limit_resources()
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        bench = Bench(Path(folder) / "case")
        while (done := outcomes.total()) < inputs:
            case = random_.choice(corpus)
            for _ in range(min(20, inputs - done)):  # laying out the siblings costs more than an input
                content = mutate(random_, case.content, corpus)
                start = time.perf_counter()
                signal.alarm(_SECONDS)
                try:
                    outcome = bench.run(case, content, as_folder=bool(case.siblings) and random_.random() < 0.2)
                except Exception:
                    outcome, failed = "FAILED", failed + 1
                    failures.mkdir(parents=True, exist_ok=True)
                    (failures / f"{seed}-{failed}-{case.name}").write_bytes(content)
                    traceback.print_exc()
                finally:
                    signal.alarm(0)
                slowest = max(slowest, time.perf_counter() - start)
                outcomes[outcome] += 1
    return outcomes, failed, slowest


def fuzz_with_atheris(options: list[str]) -> None:
    """Coverage-guided; the first byte of an input says which sample's place it takes, among that one's siblings."""
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed: pip install atheris")
    with atheris.instrument_imports(include=["ppls.converter"]):
        from tests.fuzz.cases import Bench, cases

    corpus = cases()
    hosts = [case for case in corpus if case.siblings][::7] + [case for case in corpus if not case.siblings][:1]
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        bench = Bench(Path(folder) / "case")
        seeds = Path(folder) / "seeds"
        seeds.mkdir()
        for index, case in enumerate(corpus):
            host = next((i for i, host in enumerate(hosts) if host.name == case.name), len(hosts) - 1)
            (seeds / str(index)).write_bytes(bytes([host]) + case.content)

        def one_input(data: bytes) -> None:
            if data:
                bench.run(hosts[data[0] % len(hosts)], data[1:])

        atheris.Setup(
            [sys.argv[0], "-timeout=5", "-rss_limit_mb=1500", "-max_len=49152", *options, str(seeds)], one_input
        )
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--atheris", action="store_true", help="coverage-guided; further options go to libFuzzer")
    options, further = parser.parse_known_args()
    if options.atheris:
        fuzz_with_atheris(further or ["-runs=100000"])
        return

    start = time.perf_counter()
    share = -(-options.inputs // options.processes)
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        jobs = [(options.seed * 1000 + process, share, options.failures) for process in range(options.processes)]
        results = pool.starmap(fuzz, jobs)
    outcomes = sum((result[0] for result in results), Counter())
    failed, slowest = sum(result[1] for result in results), max(result[2] for result in results)
    counts = ", ".join(f"{outcome} {count:,}" for outcome, count in outcomes.most_common())
    seconds = time.perf_counter() - start
    print(f"{outcomes.total():,} inputs in {seconds:.0f} s: {counts}; slowest {slowest:.2f} s; {failed} failures")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
