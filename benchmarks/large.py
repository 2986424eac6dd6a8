"""How the cost of a conversion grows: `python benchmarks/large.py [--gigabytes 2] [--plot docs/cost.png]`.

First a checkpoint of 2 GB, beside `cp`, `sha256sum` and one more read of it, and beside a script with paddle and torch,
interleaved. Then files of 10 MB to 2 GB, and of 10 to 100,000 tensors. The models are of no published size, so a map
without a model converts them: names, shapes and every byte are checked, but no model's completeness. Private memory is
the peak of the process's RssAnon, read every 2 ms.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.checkpoint.paddle_file import write_paddle_file

MAP = """\
format: 2
architecture: Sized
source: paddleseg.models.PPLiteSeg
target: none
layers:
  linear: {weight: {to: weight, transpose: [1, 0]}, bias: bias}
  conv: {weight: weight, bias: bias}
modules:
  - [blocks.<i>.conv, layers.<i>.conv, conv]
  - [blocks.<i>.fc, layers.<i>.linear, linear]
"""

WITH_FRAMEWORKS = """
import sys
import paddle, torch
from safetensors.torch import save_file
save_file({n: torch.from_numpy(t.numpy().copy()) for n, t in paddle.load(sys.argv[1]).items()}, sys.argv[2])
"""


def build(path: Path, megabytes: float, tensors: int) -> None:
    """A checkpoint of convolutions of equal size, with one linear layer in ten of a fourth of it."""
    side = max(1, int((megabytes * 1e6 / 4 / tensors / 9) ** 0.5))
    random = np.random.default_rng(0)
    conv = random.standard_normal((side, side, 3, 3), dtype=np.float32)
    linear = random.standard_normal((max(1, side), max(1, side)), dtype=np.float32)
    stored = {}
    for i in range(tensors):
        name, array = (f"blocks.{i}.fc.weight", linear) if i % 10 == 9 else (f"blocks.{i}.conv.weight", conv)
        stored[name] = StoredTensor("float32", array.shape, partial(_same, array))
    write_paddle_file(path, stored, {name: f"param_{i}" for i, name in enumerate(stored)}, force=True)


def _same(array: np.ndarray) -> np.ndarray:
    return array


def measure(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak private memory in MiB."""
    begin = time.perf_counter()
    with open(os.devnull, "wb") as nowhere:
        process = subprocess.Popen(command, stdout=nowhere, stderr=nowhere)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _private(process.pid))
            time.sleep(0.002)
    if process.returncode:
        sys.exit(f"{command} ended with status {process.returncode}")
    return time.perf_counter() - begin, peak / 1024


def _private(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def converting(source: Path, folder: Path) -> list[str]:
    script = str(Path(sys.executable).parent / "ppls-convert")
    return [
        script,
        str(source),
        str(folder / "out.safetensors"),
        "--map",
        str(folder / "map.yaml"),
        "--json",
        "--force",
    ]


def beside_the_disk(folder: Path, gigabytes: float, rounds: int) -> None:
    source = folder / "large.pdparams"
    build(source, gigabytes * 1000, 355)
    out = str(folder / "out.safetensors")
    rivals: dict[str, list[str]] = {
        "cp": ["cp", str(source), out],
        "sha256sum": ["sha256sum", str(source)],
        "one more read": ["cat", str(source)],
        "ppls-convert": converting(source, folder),
        "paddle + torch script": [sys.executable, "-c", WITH_FRAMEWORKS, str(source), out],
    }
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in rivals}
    for i in range(rounds + 1):
        for name, command in rivals.items():
            Path(out).unlink(missing_ok=True)
            figure = measure(command)
            if i:
                figures[name].append(figure)
    medians = {name: statistics.median(s for s, _ in values) for name, values in figures.items()}
    floor = sum(medians[name] for name in ("cp", "sha256sum", "one more read"))
    size = source.stat().st_size
    print(f"A checkpoint of {size / 1e9:.2f} GB, 355 tensors, {rounds} interleaved rounds, median (range)\n")
    print("| | wall | against cp + sha256sum + read | peak private memory |\n| --- | --- | --- | --- |")
    for name, values in figures.items():
        seconds, memory = (sorted(column) for column in zip(*values, strict=True))
        ratio = f"{medians[name] / floor:.2f}"
        print(
            f"| {name} | {medians[name]:.2f} s ({seconds[0]:.2f}-{seconds[-1]:.2f}) | {ratio} | {memory[-1]:.0f} MiB |"
        )
    source.unlink()


def growth(folder: Path, what: str, sizes: list[tuple[float, int]]) -> list[tuple[float, float, float]]:
    print(f"\n| {what} | wall | peak private memory |\n| --- | --- | --- |")
    rows = []
    for megabytes, tensors in sizes:
        source = folder / "growing.pdparams"
        build(source, megabytes, tensors)
        measure(converting(source, folder))
        runs = [measure(converting(source, folder)) for _ in range(3)]
        wall, memory = statistics.median(s for s, _ in runs), max(m for _, m in runs)
        x = float(tensors) if what == "tensors" else source.stat().st_size / 1e6
        rows.append((x, wall, memory))
        print(f"| {x:,.0f} | {wall:.2f} s | {memory:.0f} MiB |")
        source.unlink()
    return rows


def plot(path: Path, curves: dict[str, list[tuple[float, float, float]]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(curves), figsize=(10, 4), layout="constrained")
    for axis, (what, rows) in zip(axes, curves.items(), strict=True):
        x, wall, memory = zip(*rows, strict=True)
        right = axis.twinx()
        lines = axis.loglog(x, wall, "o-", label="wall")
        lines += right.plot(x, memory, "s--", color="tab:orange", label="peak private memory")
        axis.legend(handles=lines, loc="upper left", frameon=False)
        axis.set(xlabel=what, ylabel="wall, s", ylim=(0.1, 30))
        right.set(ylabel="peak private memory, MiB", ylim=(0, 400))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.grid(alpha=0.3)
    figure.suptitle("ppls-convert, whole process")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plot", type=Path, help="where to draw how the cost grows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "map.yaml").write_text(MAP)
        beside_the_disk(folder, options.gigabytes, options.rounds)
        most = options.gigabytes * 1000
        by_size = growth(folder, "MB", [(size, 355) for size in (10, 50, 200, 1000, most)])
        by_count = growth(folder, "tensors", [(50, count) for count in (10, 100, 1_000, 10_000, 100_000)])
        if options.plot:
            plot(options.plot, {"file size, MB (355 tensors)": by_size, "tensors (50 MB)": by_count})


if __name__ == "__main__":
    main()
