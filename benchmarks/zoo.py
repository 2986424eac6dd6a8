"""Writes docs/zoo-speed.md: how fast each architecture is in each way to run it, by `ppls-bench`.

python benchmarks/zoo.py                  measures what has no row yet (needs paddlepaddle and paddleseg)
python benchmarks/zoo.py SegFormer        measures one anew, keeps the rows of the others
python benchmarks/zoo.py --all            measures all anew; minutes for each

`--paddle-python PATH` (repeatable) takes other environments' Paddle too, since its modes differ by release.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ppls
from ppls.errors import UsageError
from ppls.mappings.map_file import architectures
from ppls.models.base import SegmentationModel
from ppls.parity.embedded import embedded_map
from ppls.parity.tolerance import TOLERANCE

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "zoo-speed.md"
SIZE = "256x256"
RUNTIMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
MODES = ("eager", "optimized", *RUNTIMES)
HEAD = f"""\
# The speed of the zoo

`make bench-zoo` writes this page: the smallest recipe of each architecture, one image of 3x{SIZE} in float32, the
modes of a row in turns, by `ppls-bench --against paddle`; milliseconds of the shortest run, since what else a shared
server does only adds to it. Rows were measured at different times: compare within a row only. `optimized` is
`ppls.optimize`, which takes what it finds the fastest, a runtime that is installed included: its name follows in
brackets where the logits are the runtime's own to the bit, and what is left between the two figures is the runtime
beside itself. "Paddle" is its fastest mode, of those that its release can run on the model; where paddleseg does not
have the architecture there is none, and the weights are ppls's own.

"against the others" is the time of `optimized` by that of the fastest other in the row that computes the same function,
to {TOLERANCE:g} of the scale. In SegNet, where maxima tie, and in PointRend, where scores do, OpenVINO chooses others.

| architecture | recipe | machine | eager | optimized | ONNX Runtime | OpenVINO | Paddle | against the others |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="architectures to measure anew")
    parser.add_argument("--all", action="store_true", help="measure all anew")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--paddle-python", action="append", default=[], metavar="PATH")
    given = parser.parse_args()
    try:
        named = {embedded_map(name).title for name in given.names}
    except UsageError as error:
        parser.error(str(error))
    rows = known_rows()
    failed = False
    for name, map in architectures().items():
        if not (given.all or name in named or (not named and name not in rows)):
            continue
        recipe = next(iter(map.recipes))
        print(recipe, file=sys.stderr, flush=True)
        try:
            rows[name] = row_of(name, recipe, measured(name, recipe, given))
        except subprocess.CalledProcessError:  # it has said why
            failed = True
        write(rows)
    return int(failed)


def write(rows: dict[str, str]) -> None:
    """Writes the page of these rows, and which architectures have none."""
    ordered = [rows[name] for name in architectures() if name in rows]
    without = [name for name in architectures() if name not in rows]
    end = f"\nNot measured yet: {', '.join(without)}.\n" if without else ""
    PAGE.write_text(HEAD + "".join(f"{row}\n" for row in ordered) + end)


def known_rows() -> dict[str, str]:
    """The rows of the page by architecture."""
    lines = PAGE.read_text().splitlines() if PAGE.exists() else []
    rows = {line.strip("| ").split(" | ")[0]: line for line in lines if line.startswith("| ")}
    return {name: row for name, row in rows.items() if name in architectures()}


def measured(name: str, recipe: str, given: argparse.Namespace) -> dict[str, Any]:
    """What `ppls-bench --json` prints of the architecture's embedded default."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ppls", *arguments_for(name, recipe, Path(folder))]
        command += ["--rounds", str(given.rounds), "--threads", str(given.threads)]
        command += [part for python in given.paddle_python for part in ("--paddle-python", python)]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


def arguments_for(name: str, recipe: str, folder: Path) -> list[str]:
    """What is asked of ppls, of weights that are written to a folder: PaddleSeg's, where it has the architecture."""
    checkpoint = folder / "model.pdparams"
    build = [sys.executable, str(ROOT / "examples" / "build_checkpoint.py"), str(checkpoint), name]
    built = subprocess.run(build, check=False).returncode == 0
    if not built:
        print(f"{recipe}: PaddleSeg cannot build it, so it is measured without Paddle", file=sys.stderr)
        model = ppls.create_model(recipe)
        assert isinstance(model, SegmentationModel)
        model.save_pretrained(folder / "model")
    modes = [part for mode in MODES for part in ("--mode", mode)]
    against = ["--against", "paddle"] if built else []
    return ["bench", str(checkpoint if built else folder / "model"), "--size", SIZE, "--json", *modes, *against]


def row_of(name: str, recipe: str, found: dict[str, Any]) -> str:
    timings = {timing["mode"]: timing for timing in found["timings"]}
    for failure in found["failures"]:
        print(f"{recipe}: {failure['mode']}: {failure['reason']}", file=sys.stderr)
    paddle = min(
        (mode for mode in timings if mode.startswith("Paddle")), key=lambda mode: timings[mode]["low"], default="-"
    )
    optimized = timings.get("optimized")
    others = [each for each in timings.values() if each is not optimized and each["scaled_error"] <= TOLERANCE]
    ratio = f"{optimized['low'] / min(other['low'] for other in others):.2f}" if optimized and others else "-"
    machine = f"{found['device']}, {found['threads']} threads"
    cells = [name, recipe, machine, *(_cell(timings, mode) for mode in (*MODES, paddle)), ratio]
    return f"| {' | '.join(cells)} |"


def _cell(timings: dict[str, dict[str, Any]], mode: str) -> str:
    """The milliseconds of a mode, with the runtime that `optimized` took, or how far its logits are off."""
    if mode not in timings:
        return "-"
    low, error = timings[mode]["low"], timings[mode]["scaled_error"]
    if mode == "optimized":
        taken = [title for other, title in RUNTIMES.items() if timings.get(other, {}).get("scaled_error") == error]
        return f"{low:.0f} ({taken[0]})" if taken else f"{low:.0f}"
    return f"{low:.0f}" if error <= TOLERANCE else f"{low:.0f} (off by {error:.0e})"


if __name__ == "__main__":
    sys.exit(main())
