"""What ppls reads in a pickle is what CPython reads: `python -m tests.fuzz.differential [--streams N] [--seed N]`.

Every stream that the bounded machine accepts is given to CPython's unpicklers, the one in C and the one in Python, with
an inert stub for every global, for `eval` and for persistent ids. They must build the same value, object for object,
by the same calls in the same order with the same arguments. Then numpy itself makes the arrays, whose bytes must be
those that ppls reads. And what the check of the plain form accepts must be arrays by their names, made by numpy's calls
alone. A stream on which they differ is saved under `--failures`, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.differential.comparison import FoundError, run

_SHARE = 5_000  # streams of one seed
_SEEDS = 1_000_000  # that one seed of the command stands for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="where streams go that differ")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    start = time.perf_counter()
    outcomes: Counter[str] = Counter()
    failed = 0
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        shares = [
            pool.apply_async(run, (options.seed * _SEEDS + number, min(_SHARE, options.streams - begin)))
            for number, begin in enumerate(range(0, options.streams, _SHARE))
        ]
        for share in shares:
            try:
                outcomes += share.get()
            except FoundError as found:
                failed += 1
                options.failures.mkdir(parents=True, exist_ok=True)
                saved = options.failures / f"differential-{failed}.pdparams"
                saved.write_bytes(found.stream)
                print(f"{found}; saved as {saved}", flush=True)
    counts = ", ".join(f"{outcome} {count:,}" for outcome, count in outcomes.most_common())
    print(f"{outcomes.total():,} streams in {time.perf_counter() - start:.0f} s: {counts}; {failed} disagreements")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
