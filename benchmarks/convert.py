"""Times whole conversions, each a process of its own, interleaved: `python benchmarks/convert.py [--rounds 9]`.

The rivals, on a PP-LiteSeg-T and a PP-LiteSeg-B that PaddleSeg builds (33 and 50 MB):
- a script that imports paddle and torch, loads, renames and saves: what people write today;
- a script of numpy alone that unpickles whatever the file says, renames, hashes, writes and reads back; it is not safe,
  and checks neither names nor shapes nor values;
- `ppls-convert`;
- `ppls-convert` where sixty maps are in the package.
Prints wall and CPU time and peak memory of each (median, and the range of the wall time), and the ratio to the script
of numpy alone, by pairs of one round.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import ppls

MODELS = {"PP-LiteSeg-T": "STDC1", "PP-LiteSeg-B": "STDC2"}
MANY = 60

BUILD = """
import sys
import paddle
from paddleseg import models
paddle.save(models.PPLiteSeg(19, getattr(models, sys.argv[2])()).state_dict(), sys.argv[1])
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
import hashlib, pickle, sys
import numpy
from safetensors.numpy import load_file, save_file
with open(sys.argv[1], "rb") as file:
    data = file.read()
renamed = {}
for name, array in pickle.loads(data).items():
    if isinstance(array, numpy.ndarray) and not name.endswith("_scale"):
        renamed[name.replace("_mean", "running_mean").replace("_variance", "running_var")] = array
save_file(renamed, sys.argv[2], {"format": "pt", "source_sha256": hashlib.sha256(data).hexdigest()})
back = load_file(sys.argv[2])
if not all(numpy.array_equal(back[name], array) for name, array in renamed.items()):
    sys.exit("reads back differently")
"""

PPLS = "from ppls.cli.convert import convert; convert(prog_name='ppls-convert')"


class Cost(NamedTuple):
    """Wall and CPU seconds, and peak memory in MiB, of one process."""

    wall: float
    cpu: float
    memory: float


def measure(command: list[str], packages: Path | None = None) -> Cost:
    """Runs a command; `packages` is a folder that goes before all others that Python imports from."""
    packages = packages or Path(ppls.__file__).parents[1]
    # with its compiled modules kept, as they are where ppls is installed
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(packages)
    begin = time.perf_counter()
    with open(os.devnull, "wb") as nowhere:
        process = subprocess.Popen(command, stdout=nowhere, stderr=nowhere, env=environment, cwd=packages)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} ended with status {process.returncode}")
    return Cost(time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def package_of_many_maps(folder: Path, count: int = MANY) -> Path:
    """A copy of the package with so many maps: those that are there, and again under names that fit no checkpoint."""
    shutil.copytree(Path(ppls.__file__).parent, folder / "ppls", ignore=shutil.ignore_patterns("__pycache__"))
    mappings = folder / "ppls" / "mappings"
    index = json.loads((mappings / "index.json").read_bytes())
    own = list(index)
    for i in range(count - len(own)):
        name, copy = own[i % len(own)], f"copy_{i}"
        entry = index[name]
        text = (mappings / "paddleseg" / f"{name}.yaml").read_text()
        kind = "architecture" if entry["inside"] is not None else "backbone"
        (mappings / "paddleseg" / f"{copy}.yaml").write_text(text.replace(f"{kind}: ", f"{kind}: Copy{i}", 1))
        names = [f"{copy}.{own_name}" for own_name in entry["names"]]
        index[copy] = {**entry, "title": f"Copy{i}{entry['title']}", "called": [f"Copy{i}"], "names": names}
    (mappings / "index.json").write_text(json.dumps(index, indent=1))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print("| | | wall | CPU | peak memory | wall, against numpy only |\n| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        many = package_of_many_maps(folder / "many")
        for model, backbone in MODELS.items():
            source, out = folder / f"{model}.pdparams", folder / f"{model}.safetensors"
            subprocess.run([sys.executable, "-c", BUILD, str(source), backbone], check=True, capture_output=True)
            rivals: dict[str, tuple[str, Path | None]] = {
                "paddle + torch script": (WITH_FRAMEWORKS, None),
                "numpy-only script": (NUMPY_ONLY, None),
                "ppls-convert": (PPLS, None),
                f"ppls-convert, {MANY} maps": (PPLS, many),
            }
            costs: dict[str, list[Cost]] = {name: [] for name in rivals}
            for i in range(rounds + 1):
                for name, (script, packages) in rivals.items():
                    out.unlink(missing_ok=True)
                    cost = measure([sys.executable, "-c", script, str(source), str(out)], packages)
                    if i:  # the first round warms the caches
                        costs[name].append(cost)
            for name, found in costs.items():
                wall, cpu, memory = (statistics.median(column) for column in zip(*found, strict=True))
                pairs = zip(found, costs["numpy-only script"], strict=True)
                ratio = statistics.median(own.wall / other.wall for own, other in pairs)
                least, most = min(cost.wall for cost in found), max(cost.wall for cost in found)
                print(
                    f"| {model}, {source.stat().st_size / 1e6:.0f} MB | {name} | {wall:.2f} s ({least:.2f}-{most:.2f}) "
                    f"| {cpu:.2f} s | {memory:.0f} MiB | {ratio:.2f} |"
                )
    print(f"\nEach a process of its own, {rounds} interleaved rounds, median (range).")


if __name__ == "__main__":
    main()
