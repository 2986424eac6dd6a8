"""Fuzzes the reader by coverage: `python -m tests.fuzz.guided [libFuzzer options]`. Needs atheris.

The first byte of an input says which sample's place it takes, among that one's siblings.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path


def main() -> None:
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed, or not for this Python: coverage-guided fuzzing is left out")
    with atheris.instrument_imports(include=["ppls.converter"]):
        from ppls.errors import Error
        from tests.fuzz.targets.checkpoints import read_all, weights

    corpus = [case for case in weights() if case.given]
    with_siblings = [case for case in corpus if len(case.files) > 1][::7]
    hosts = [*with_siblings, next(case for case in corpus if len(case.files) == 1)]
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folders = [Path(name) / str(index) for index in range(len(hosts))]
        for folder in folders:
            folder.mkdir()
        given = [host.lay_out(folder) for host, folder in zip(hosts, folders, strict=True)]
        seeds = Path(name) / "seeds"
        seeds.mkdir()
        for number, case in enumerate(corpus):
            at = next((i for i, host in enumerate(hosts) if host.given == case.given), len(hosts) - 1)
            (seeds / str(number)).write_bytes(bytes([at]) + case.files[case.given])

        def one_input(data: bytes) -> None:
            if data:
                path = given[data[0] % len(hosts)]
                path.write_bytes(data[1:])
                with contextlib.suppress(Error):
                    list(read_all(path))

        options = ["-timeout=10", "-rss_limit_mb=1500", "-max_len=49152", *sys.argv[1:]]
        atheris.Setup([sys.argv[0], *options, str(seeds)], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
