"""Trains one config from scratch by PaddleSeg and by ppls, seed by seed, and draws docs/from-scratch.png.

    python scripts/from_scratch.py [--config RUN.yml] [--iters 400] [--seeds 3] [--runs FOLDER]

PaddleSeg's own `train()` does its runs, in a process of its own. The two draw other numbers for the weights, from the
same distributions, and the same ones for the data: a curve is one of its framework's, and what is compared is the
spread of the seeds. Each run's rows are kept in the folder of runs: what stands there already is not run again.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PICTURE = ROOT / "docs" / "from-scratch.png"
COLOURS = {"PaddleSeg": "#c44e52", "ppls": "#4c72b0"}
EVERY = 10

Rows = list[dict[str, Any]]


def by_paddleseg(config: Path, folder: Path, iterations: int, seed: int) -> Rows:
    """What PaddleSeg's log says: losses, and the mIoU of evaluations."""
    import random

    import numpy as np
    import paddle
    from paddleseg.cvlibs import Config, SegBuilder, manager
    from paddleseg.models.backbones.stdcnet import STDCNet

    from ppls.parity.reference.operators import adapt_paddle
    from tests.training.paddle_side import allow_mixed_types

    core: Any = importlib.import_module("paddleseg.core.train")  # where a function of its name hides it
    adapt_paddle()
    allow_mixed_types()  # which PaddleSeg 2.8.0 asks of Paddle 3
    manager.BACKBONES.add_component(STDCNet)  # PaddleSeg names STDC1 and STDC2 alone
    paddle.set_device("cpu")
    paddle.seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    builder = SegBuilder(Config(str(config), iters=iterations))
    losses = builder.loss
    for loss in losses["types"]:  # PaddleSeg 2.8.0 takes element 0 of each, which Paddle 3 has not
        loss.forward = partial(_of_one_element, loss.forward)
    rows: Rows = []
    evaluate = core.evaluate

    def evaluated(*arguments: Any, **options: Any) -> Any:
        found = evaluate(*arguments, **{**options, "print_detail": False})
        rows.append({"miou": float(found[0])})
        return found

    core.evaluate = evaluated
    core.logger.info = lambda line: rows.append({"line": line})
    core.train(
        builder.model,
        builder.train_dataset,
        val_dataset=builder.val_dataset,
        optimizer=builder.optimizer,
        save_dir=str(folder),
        iters=iterations,
        batch_size=builder.config.batch_size,
        save_interval=iterations,
        log_iters=EVERY,
        losses=losses,
        keep_checkpoint_max=1,
    )
    found: Rows = []
    for row in rows:
        line = row.get("line", "")
        if "[TRAIN]" in line:
            values = dict(part.strip().split(": ") for part in line.split("[TRAIN]")[1].split(" | ")[0].split(","))
            found.append({"iteration": int(values["iter"].split("/")[0]), "loss": float(values["loss"])})
        elif "miou" in row:
            found.append(row)
    return found


def _of_one_element(forward: Any, *arguments: Any) -> Any:
    return forward(*arguments).reshape([1])


def by_ppls(config: Path, folder: Path, iterations: int, seed: int) -> Rows:
    """The same of `ppls.train`."""
    import ppls

    options = ppls.TrainingOptions(
        save_dir=folder, iters=iterations, seed=seed, do_eval=True, save_interval=iterations, log_iters=EVERY
    )
    ppls.train(config, options)
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


SIDES = {"PaddleSeg": by_paddleseg, "ppls": by_ppls}


def draw(runs: dict[str, list[Rows]], title: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    axis = figure.subplots()
    for side, curves in runs.items():
        for number, rows in enumerate(curves):
            losses = [row for row in rows if "loss" in row]
            places, values = [row["iteration"] for row in losses], [row["loss"] for row in losses]
            axis.plot(places, values, color=COLOURS[side], lw=1, alpha=0.8, label=None if number else side)
    axis.set_xlabel("iteration")
    axis.set_ylabel("loss, the mean of ten")
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(PICTURE, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "tests" / "data" / "run" / "config.yml")
    parser.add_argument("--iters", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=ROOT / "build" / "from_scratch")
    parser.add_argument("--side", nargs=2, metavar=("SIDE", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    config = options.config.resolve()
    if options.side:
        side, seed = options.side
        with tempfile.TemporaryDirectory() as folder:
            rows = SIDES[side](config, Path(folder) / "run", options.iters, int(seed))
        print("ROWS" + json.dumps(rows))
        return
    runs: dict[str, list[Rows]] = {side: [] for side in SIDES}
    options.runs.mkdir(parents=True, exist_ok=True)
    named = f"{config.parent.name}-{config.stem}-{options.iters}"
    for seed in range(options.seeds):
        for side, curves in runs.items():
            kept = options.runs / f"{named}-{side}-{seed}.json"
            if not kept.exists():
                command = [sys.executable, __file__, "--config", str(config), "--iters", str(options.iters)]
                done = subprocess.run(
                    [*command, "--side", side, str(seed)], cwd=config.parent, capture_output=True, text=True
                )
                if done.returncode:
                    sys.exit(done.stderr[-3000:])
                kept.write_text(done.stdout.rpartition("ROWS")[2])
            curves.append(json.loads(kept.read_text()))
    print("| | mIoU of each seed | mean | last loss |\n| --- | --- | --- | --- |")
    for side, curves in runs.items():
        scores = [[row["miou"] for row in rows if "miou" in row][-1] for rows in curves]
        losses = [[row["loss"] for row in rows if "loss" in row][-1] for rows in curves]
        each = ", ".join(f"{score:.4f}" for score in scores)
        print(f"| {side} | {each} | {statistics.mean(scores):.4f} | {statistics.mean(losses):.3f} |")
    draw(runs, f"{config.parent.name}/{config.name}, {options.seeds} seeds each")


if __name__ == "__main__":
    main()
