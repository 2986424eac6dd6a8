"""Times the converted PP-LiteSeg-T beside PaddleSeg's on Paddle Inference: `python benchmarks/inference.py`.

One image of 3x512x1024, two threads, rounds interleaved. `--paddle-python PATH` (repeatable) adds another environment's
Paddle, since its modes differ by release: on CPU the one to beat is its oneDNN mode, which some releases cannot run on
this model. A mode that fails is listed with its error.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SHAPE = (1, 3, 512, 1024)
HERE = Path(__file__).resolve().parent


class PaddleInference:
    """A process that runs one mode of Paddle Inference, a round at a time."""

    def __init__(self, python: str, folder: Path, checkpoint: Path, mode: str, threads: int) -> None:
        command = [python, str(HERE / "paddle_inference.py"), str(folder), str(checkpoint), mode, str(threads)]
        self.process = subprocess.Popen(
            [*command, *map(str, SHAPE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.version = self._answer().get("version", "")

    def _answer(self) -> dict[str, object]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        assert self.process.stderr is not None
        lines = [line for line in self.process.stderr.read().splitlines() if "rror" in line] or ["it ended"]
        raise RuntimeError(lines[-1].strip()[:160])

    def __call__(self) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self._answer()["seconds"])  # type: ignore[arg-type]


def torch_runs(checkpoint: Path, threads: int) -> dict[str, Callable[[], float]]:
    import torch

    import ppls

    torch.set_num_threads(threads)
    image = torch.randn(*SHAPE)

    def timed(model: Callable[..., object], x: torch.Tensor) -> Callable[[], float]:
        def run() -> float:
            begin = time.perf_counter()
            with torch.inference_mode():
                model(x)
            return time.perf_counter() - begin

        return run

    eager = ppls.load(checkpoint)
    last = ppls.load(checkpoint).to(memory_format=torch.channels_last)
    compiled = torch.compile(ppls.load(checkpoint).to(memory_format=torch.channels_last))
    image_last = image.to(memory_format=torch.channels_last)
    return {
        "torch, eager": timed(eager, image),
        "torch, channels_last": timed(last, image_last),
        "torch, compiled, channels_last": timed(compiled, image_last),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--paddle-python", action="append", default=[], metavar="PATH")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "model.pdparams"
        subprocess.run(
            [sys.executable, str(HERE.parent / "examples" / "build_checkpoint.py"), str(checkpoint)], check=True
        )
        runs = torch_runs(checkpoint, options.threads)
        failed: dict[str, str] = {}
        for i, python in enumerate([sys.executable, *options.paddle_python]):
            for mode in ("plain", "onednn"):
                place = Path(folder) / f"{i}{mode}"
                name = f"Paddle Inference of {python}, {mode}"
                try:
                    run = PaddleInference(python, place, checkpoint, mode, options.threads)
                    name = f"Paddle Inference {run.version}, {'oneDNN' if mode == 'onednn' else 'without oneDNN'}"
                    run()
                    runs[name] = run
                except RuntimeError as error:
                    failed[name] = str(error)
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for i in range(options.rounds + 3):
            for name, run_once in runs.items():
                figure = run_once()
                if i >= 3:  # the first ones warm up, and compile
                    seconds[name].append(figure)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    best = min((m for name, m in medians.items() if name.startswith("Paddle")), default=float("nan"))
    print(f"PP-LiteSeg-T, {'x'.join(map(str, SHAPE))}, float32, {options.threads} threads, {options.rounds} rounds\n")
    print("| | median | range | against Paddle's best |\n| --- | --- | --- | --- |")
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        low, high = min(seconds[name]) * 1000, max(seconds[name]) * 1000
        print(f"| {name} | {median * 1000:.0f} ms | {low:.0f}-{high:.0f} ms | {median / best:.2f} |")
    for name, error in failed.items():
        print(f"| {name} | fails: {error} | | |")


if __name__ == "__main__":
    main()
