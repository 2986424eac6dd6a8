"""Times an iteration of training beside PaddleSeg's: `python benchmarks/training.py`.

PP-LiteSeg-T with OHEM on its three heads, a batch of four of 256x128, two threads: forward, backward, update and the
next rate. A process for each side, by turns in one run; the memory is the most that each had in use.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
BATCH, HEIGHT, WIDTH, CLASSES = 4, 128, 256, 19
CONFIG = f"""
batch_size: {BATCH}
iters: 1000
train_dataset: {{type: Dataset, num_classes: {CLASSES}}}
optimizer: {{type: SGD, momentum: 0.9, weight_decay: 5.0e-4}}
lr_scheduler: {{type: PolynomialDecay, learning_rate: 0.01, end_lr: 0, power: 0.9}}
loss:
  types: [{{type: OhemCrossEntropyLoss, min_kept: 8192}}]
  coef: [1, 1, 1]
model:
  type: PPLiteSeg
  backbone: {{type: STDC1}}
  arm_out_chs: [32, 64, 128]
  seg_head_inter_chs: [32, 64, 64]
"""
MODES = ("PaddleSeg", "ppls", "ppls, channels_last", "ppls, compiled", "ppls, bfloat16")


def batch() -> tuple[Any, Any]:
    random = np.random.RandomState(0)
    images = random.standard_normal((BATCH, 3, HEIGHT, WIDTH)).astype("float32")
    return images, random.randint(0, CLASSES, (BATCH, HEIGHT, WIDTH)).astype("int64")


def paddles_step() -> Callable[[], None]:
    import paddle
    from paddleseg.models import PPLiteSeg
    from paddleseg.models.backbones import STDC1
    from paddleseg.models.losses import OhemCrossEntropyLoss

    from tests.training.paddle_side import allow_mixed_types

    allow_mixed_types()  # which PaddleSeg 2.8.0 asks of Paddle 3
    paddle.set_device("cpu")
    model = PPLiteSeg(CLASSES, STDC1(), arm_out_chs=[32, 64, 128], seg_head_inter_chs=[32, 64, 64])
    model.train()
    schedule = paddle.optimizer.lr.PolynomialDecay(0.01, 1000, end_lr=0, power=0.9)
    optimizer = paddle.optimizer.Momentum(schedule, 0.9, parameters=model.parameters(), weight_decay=5e-4)
    losses = [OhemCrossEntropyLoss(min_kept=8192) for _ in range(3)]
    images, labels = map(paddle.to_tensor, batch())

    def step() -> None:
        total = sum(loss(logits, labels) for loss, logits in zip(losses, model(images), strict=True))
        total.backward()
        optimizer.step()
        schedule.step()
        model.clear_gradients()
        float(total)

    return step


def own_step(threads: int, mode: str, stack: ExitStack) -> Callable[[], None]:
    import torch

    import ppls
    from ppls.training.data.batches import Batch
    from ppls.training.engine import Engine, accelerated

    torch.set_num_threads(threads)
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(CONFIG)
        file.flush()
        training = ppls.Training(file.name)
    accelerator = stack.enter_context(accelerated("cpu", "bfloat16" if "bfloat16" in mode else "float32"))
    engine = Engine(training, accelerator, compile="compiled" in mode, channels_last="channels_last" in mode)
    images, labels = map(torch.from_numpy, batch())
    taken = [Batch(images, labels, None, None, [])]
    return lambda: engine.step(taken) and None


def serve(mode: str, threads: int) -> None:
    """Does so many iterations as each line says, and answers with their milliseconds and the most memory, in MiB."""
    with ExitStack() as stack:
        step = paddles_step() if mode == "PaddleSeg" else own_step(threads, mode, stack)
        for line in sys.stdin:
            times = []
            for _ in range(int(line)):
                start = time.perf_counter()
                step()
                times.append(1000 * (time.perf_counter() - start))
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(json.dumps({"times": times, "memory": used}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--each", type=int, default=4, help="iterations of a side in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mode", action="append", choices=MODES)
    parser.add_argument("--serve", choices=MODES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.threads)
        return
    command = [sys.executable, __file__, "--threads", str(options.threads), "--serve"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    pipes["env"] = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "FLAGS_paddle_num_threads"), str(options.threads))
    sides: dict[str, Any] = {mode: subprocess.Popen([*command, mode], **pipes) for mode in options.mode or MODES}
    times: dict[str, list[float]] = {mode: [] for mode in sides}
    memory: dict[str, float] = {}
    for number in range(options.rounds + 1):  # the first one warms up
        for mode, side in sides.items():
            side.stdin.write(f"{options.each}\n")
            side.stdin.flush()
            line = side.stdout.readline()
            if not line:
                sys.exit(f"{mode} ended")
            found = json.loads(line)
            times[mode] += found["times"] if number else []
            memory[mode] = found["memory"]
    for side in sides.values():
        side.stdin.close()
        side.wait()
    base = statistics.median(times["PaddleSeg"]) if "PaddleSeg" in times else None
    print(f"An iteration of PP-LiteSeg-T, {BATCH} images of {WIDTH}x{HEIGHT}, {options.threads} threads\n")
    print("| | median | range | times as fast | most memory |")
    print("| --- | --- | --- | --- | --- |")
    for mode, found in times.items():
        median = statistics.median(found)
        ratio = "" if base is None else f"{base / median:.2f}"
        span = f"{min(found):.0f}-{max(found):.0f} ms"
        print(f"| {mode} | {median:.0f} ms | {span} | {ratio} | {memory[mode]:.0f} MiB |")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
