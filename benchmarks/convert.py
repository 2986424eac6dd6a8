"""Times whole conversions, each a process of its own, interleaved: `python benchmarks/convert.py [--rounds 7]`.

The rivals, on a PP-LiteSeg-B that PaddleSeg builds (50 MB):
- a script that imports paddle and torch, loads, renames and saves: what people write today;
- a script of numpy alone that unpickles whatever the file says, which is neither safe nor checks anything;
- `ppls-convert`.
Prints wall time and peak memory of each (median, and the range), and the ratio to ppls.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BUILD = """
import paddle
from paddleseg.models import STDC2, PPLiteSeg
import sys
paddle.save(PPLiteSeg(19, STDC2()).state_dict(), sys.argv[1])
"""

WITH_FRAMEWORKS = """
import sys
import paddle, torch
from safetensors.torch import save_file
renamed = {}
for name, tensor in paddle.load(sys.argv[1]).items():
    if not name.endswith("_scale"):
        name = name.replace("_mean", "running_mean").replace("_variance", "running_var")
        renamed[name] = torch.from_numpy(tensor.numpy().copy())
save_file(renamed, sys.argv[2])
"""

NUMPY_ONLY = """
import pickle, sys
import numpy
from safetensors.numpy import save_file
renamed = {}
for name, array in pickle.load(open(sys.argv[1], "rb")).items():
    if isinstance(array, numpy.ndarray) and not name.endswith("_scale"):
        renamed[name.replace("_mean", "running_mean").replace("_variance", "running_var")] = array
save_file(renamed, sys.argv[2])
"""


def measure(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak memory in MiB of a command."""
    begin = time.perf_counter()
    with open(os.devnull, "wb") as nowhere:
        process = subprocess.Popen(command, stdout=nowhere, stderr=nowhere)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} ended with status {process.returncode}")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "source.pdparams", Path(folder) / "out.safetensors"
        subprocess.run([sys.executable, "-c", BUILD, str(source)], check=True, capture_output=True)
        ppls = [str(Path(sys.executable).parent / "ppls-convert"), str(source), str(out), "--json"]
        rivals = {
            "paddle + torch script": [sys.executable, "-c", WITH_FRAMEWORKS, str(source), str(out)],
            "numpy-only script": [sys.executable, "-c", NUMPY_ONLY, str(source), str(out)],
            "ppls-convert": ppls,
        }
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in rivals}
        for i in range(rounds + 1):
            for name, command in rivals.items():
                out.unlink(missing_ok=True)
                figure = measure(command)
                if i:  # the first round warms the caches
                    figures[name].append(figure)
        size = source.stat().st_size / 1e6
    print(f"PP-LiteSeg-B, {size:.0f} MB, whole process, {rounds} interleaved rounds, median (range)\n")
    print("| | wall | peak memory | time / ppls | memory / ppls |\n| --- | --- | --- | --- | --- |")
    own = [statistics.median(column) for column in zip(*figures["ppls-convert"], strict=True)]
    for name, values in figures.items():
        seconds, memory = (sorted(column) for column in zip(*values, strict=True))
        wall, peak = statistics.median(seconds), statistics.median(memory)
        print(
            f"| {name} | {wall:.2f} s ({seconds[0]:.2f}-{seconds[-1]:.2f}) | {peak:.0f} MiB "
            f"| {wall / own[0]:.1f} | {peak / own[1]:.1f} |"
        )


if __name__ == "__main__":
    main()
