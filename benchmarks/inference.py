"""Times the converted PP-LiteSeg-T beside PaddleSeg's on Paddle Inference: `python benchmarks/inference.py`.

One image of 3x512x1024, two threads, as a table for the README: what `ppls-bench --against paddle` measures.
`--paddle-python PATH` (repeatable) takes other environments' Paddle, since its modes differ by release: on the CPU the
one to beat is its oneDNN mode, which some releases cannot run on this model. `--plot FILE` draws it too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ppls
from ppls.deploy.plot import plot_benchmark

BUILD = Path(__file__).resolve().parent.parent / "examples" / "build_checkpoint.py"


def markdown(result: ppls.Benchmark) -> Iterator[str]:
    """The lines of the table."""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    yield f"PP-LiteSeg-T on {result.machine}; {versions}\n"
    yield f"| input | mode | median | range | images/s | against {result.baseline}'s best | scaled error |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for timing in result.timings:
        span = f"{timing.low:.0f}-{timing.high:.0f} ms"
        ratio = "" if timing.ratio is None else f"{timing.ratio:.2f}"
        yield (
            f"| {timing.point} | {timing.mode} | {timing.milliseconds:.0f} ms | {span} "
            f"| {timing.images_per_second:.1f} | {ratio} | {timing.scaled_error:.0e} |"
        )
    for failure in result.failures:
        yield f"| {failure.point} | {failure.mode} | fails: {failure.reason[:120]} | | | | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", action="append", default=[], metavar="float32|bfloat16")
    parser.add_argument("--paddle-python", action="append", default=[], metavar="PATH")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, converted = Path(folder) / "model.pdparams", Path(folder) / "model.safetensors"
        subprocess.run([sys.executable, str(BUILD), str(checkpoint)], check=True)
        ppls.convert(checkpoint, converted)
        result = ppls.benchmark(
            converted,
            dtypes=options.dtype or ["float32", "bfloat16"],
            rounds=options.rounds,
            threads=options.threads,
            against="paddle",
            paddle_pythons=options.paddle_python,
            say=lambda line: print(line, file=sys.stderr),
        )
    print("\n".join(markdown(result)))
    if options.plot:
        plot_benchmark(result, options.plot, force=True)


if __name__ == "__main__":
    main()
