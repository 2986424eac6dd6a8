"""Fuzzes every entry point: `python -m tests.fuzz [--inputs N] [--seed N] [--targets A,B]`.

`--corpus` runs the samples as they are, `--repeat FILE` one saved input again.

Every input must end as a value or as one `ppls.Error`, within 10 s of CPU and 1 GiB; nothing that it says may run, and
nothing be written but the destination; nothing is shown raw. An input that breaks one of these is saved under
`--failures` with all that is needed to repeat it, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import secrets
import sys
import tempfile
from pathlib import Path

from ppls.shown import shown_lines
from tests.fuzz.fleet import Fleet, Job
from tests.fuzz.table import Table, kind_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=200_000, help="over all targets, by their shares")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="another each time; it is printed")
    parser.add_argument("--targets", default="", metavar="A,B", help="only these")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="where inputs with findings go")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--corpus", action="store_true", help="run the inputs as they are, none of them changed")
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="run one saved input again")
    options = parser.parse_args()
    if options.repeat is not None:
        sys.exit(repeat(options.repeat))
    if options.corpus:
        sys.exit(run_corpus(options.failures))
    from tests.fuzz.targets import TARGETS

    chosen = [TARGETS[name] for name in options.targets.split(",") if name] or list(TARGETS.values())
    print(f"seed {options.seed}; targets: {', '.join(target.name for target in chosen)}", flush=True)
    shares = sum(target.share for target in chosen)
    jobs = [Job(target.name, options.inputs * target.share // shares) for target in chosen]
    table = Table()
    with Fleet(options.processes, options.seed, options.failures) as fleet:
        for result in fleet.run(jobs):
            table.add(result)
            if result.failure and table.kinds[result.target, kind_of(result.failure)] == 1:
                print(f"FAILED {result.target} {result.index}, saved as {result.saved}:", flush=True)
                print(shown_lines(result.failure), flush=True)
    print(table)
    for (name, kind), count in table.kinds.most_common():
        print(f"{count:,} times in {name}: {shown_lines(kind)}")
    sys.exit(1 if table.failed else 0)


def run_corpus(failures: Path) -> int:
    """Runs every sample as it is: 0 where each is read or refused as it should be."""
    from tests.fuzz.corpus import findings
    from tests.fuzz.runner import Runner

    found = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, target, case, failure in findings(Runner(Path(folder))):
            found += 1
            saved = failures / f"corpus-{found}.zip"
            case.save(saved, target, failure)
            print(shown_lines(f"FAILED {target}, {name}, saved as {saved}:\n{failure}"))
    print(f"the corpus: {found} findings")
    return 1 if found else 0


def repeat(file: Path) -> int:
    """Runs a saved input again: 0 where nothing is wrong with it any more."""
    from tests.fuzz.case import Case
    from tests.fuzz.runner import Runner
    from tests.fuzz.targets import TARGETS

    target, case = Case.load(file)
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(Path(folder))
        runner.warm(TARGETS[target])
        outcome = runner.run(TARGETS[target], case)
    print(f"{target}: {outcome.label}, {outcome.seconds:.2f} s, {outcome.bytes / 1e6:.0f} MB")
    print(shown_lines(f"{outcome.message}\n{outcome.failure}"))
    return 1 if outcome.failure else 0


if __name__ == "__main__":
    multiprocessing.freeze_support()
    main()
