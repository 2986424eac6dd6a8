"""What a run says of itself: PaddleSeg's log line, the curve in a file and as a picture, TensorBoard."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ppls.destination import check_destination, file_that_becomes
from ppls.errors import ConversionError, MissingDependencyError
from ppls.inference.metrics import Metrics
from ppls.shown import shown

CURVE, PICTURE = "curve.jsonl", "curve.png"

Row = dict[str, Any]


class Averages:
    """The means between two lines of the log, as `paddleseg/core/train.py` takes them.

    Args:
        kept: what `state_dict` gave before the run was ended.
    """

    def __init__(self, kept: Mapping[str, Any] | None = None) -> None:
        self.losses: list[float] = list((kept or {}).get("losses", []))
        self.summed = int((kept or {}).get("summed", 0))
        self._clear()

    def _clear(self) -> None:
        self.count = self.images = 0
        self.seconds = self.reading = 0.0

    def add(self, losses: Sequence[float], images: int, seconds: float, reading: float) -> None:
        """An iteration: the loss of each head, how many images it had, its time and that for its batch."""
        if len(self.losses) != len(losses):
            self.losses, self.summed = [0.0] * len(losses), 0
        self.losses = [a + b for a, b in zip(self.losses, losses, strict=True)]
        self.summed += 1
        self.count += 1
        self.images += images
        self.seconds += seconds
        self.reading += reading

    def state_dict(self) -> dict[str, Any]:
        """The sums, as JSON has them; times begin anew."""
        return {"losses": self.losses, "summed": self.summed}

    def take(self) -> tuple[list[float], dict[str, float]]:
        """The mean loss of each head, and `batch_cost`, `reader_cost` and `ips`; the next ones begin."""
        losses = [loss / self.summed for loss in self.losses]
        costs = {
            "batch_cost": self.seconds / self.count,
            "reader_cost": self.reading / self.count,
            "ips": self.images / self.seconds if self.seconds else 0.0,
        }
        self.losses, self.summed = [], 0
        self._clear()
        return losses, costs


def log_line(iteration: int, iterations: int, each: int, loss: float, rate: float, costs: Mapping[str, float]) -> str:
    """PaddleSeg's line; `each` are the iterations of an epoch."""
    left = int(max(iterations - iteration, 0) * costs["batch_cost"])
    eta = f"{left // 3600:0>2}:{left // 60 % 60:0>2}:{left % 60:0>2}"
    return (
        f"[TRAIN] epoch: {(iteration - 1) // each + 1}, iter: {iteration}/{iterations}, loss: {loss:.4f}, "
        f"lr: {rate:.6f}, batch_cost: {costs['batch_cost']:.4f}, reader_cost: {costs['reader_cost']:.5f}, "
        f"ips: {costs['ips']:.4f} samples/sec | ETA {eta}"
    )


def eval_line(metrics: Metrics) -> str:
    """PaddleSeg's line of an evaluation."""
    return (
        f"[EVAL] #Images: {metrics.images} mIoU: {metrics.miou:.4f} Acc: {metrics.acc:.4f} "
        f"Kappa: {metrics.kappa:.4f} Dice: {metrics.dice:.4f}"
    )


def skipped_line(iteration: int, losses: Sequence[float], files: Sequence[str]) -> str:
    """Of an iteration without an update, since a loss was not finite."""
    said = ", ".join(f"{loss:g}" for loss in losses)
    return f"iteration {iteration}: losses {said}, left out with its images {shown(', '.join(files), 1000)}"


def tags(row: Row, costs: Mapping[str, float]) -> dict[str, float]:
    """A row of the curve by the names that PaddleSeg gives to what it writes for VisualDL."""
    losses = row["losses"]
    parts = {f"Train/loss_{number}": loss for number, loss in enumerate(losses)} if len(losses) > 1 else {}
    times = {f"Train/{name}": costs[name] for name in ("batch_cost", "reader_cost")}
    return {"Train/loss": row["loss"], **parts, "Train/lr": row["lr"], **times}


class Curve:
    """The curve of a run: `curve.jsonl`, a row for each line of the log and each evaluation.

    Args:
        folder: of the run.
        start: the iterations done: rows of later ones, of a run that was killed, are left out.
        rows: whether an earlier part of the run lies there.
    """

    def __init__(self, folder: Path, start: int, *, goes_on: bool) -> None:
        self.path = folder / CURVE
        self.rows = _read(self.path, start) if goes_on else []
        check_destination(self.path, force=True)
        with file_that_becomes(self.path, force=True) as file:
            file.write("".join(json.dumps(row) + "\n" for row in self.rows).encode())

    def add(self, row: Row) -> None:
        """A row more."""
        self.rows.append(row)
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise ConversionError(f"{self.path}: cannot be written: {error.strerror}") from None

    def draw(self) -> None:
        """The picture beside it, where matplotlib is installed."""
        if importlib.util.find_spec("matplotlib") is None:
            return
        from matplotlib.figure import Figure

        losses = [row for row in self.rows if "loss" in row]
        evaluations = [row for row in self.rows if "miou" in row]
        figure = Figure(figsize=(7.2, 4.0), layout="constrained")
        axis = figure.subplots()
        axis.plot([row["iteration"] for row in losses], [row["loss"] for row in losses], color="#4c72b0", lw=1.2)
        axis.set_xlabel("iteration")
        axis.set_ylabel("loss", color="#4c72b0")
        axis.spines[["top"]].set_visible(False)
        if evaluations:
            other = axis.twinx()
            places = [row["iteration"] for row in evaluations]
            other.plot(places, [row["miou"] for row in evaluations], "o-", color="#55a868", ms=4)
            other.set_ylabel("mIoU", color="#55a868")
            other.set_ylim(0, 1)
            other.spines[["top"]].set_visible(False)
        with file_that_becomes(self.path.with_name(PICTURE), force=True) as file:
            figure.savefig(file, format="png", dpi=130)


def _read(path: Path, start: int) -> list[Row]:
    """The rows up to an iteration; the last one of a run that was killed may be a part of one."""
    rows: list[Row] = []
    with suppress(OSError, UnicodeDecodeError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict) and isinstance(row.get("iteration"), int) and row["iteration"] <= start:
                    rows.append(row)
    return rows


class Board:
    """TensorBoard's files, with the tags that PaddleSeg's VisualDL has.

    Args:
        folder: of the run.
        start: the iterations done: what an earlier part of the run wrote of later ones is hidden.

    Raises:
        ppls.MissingDependencyError: it is not installed.
    """

    def __init__(self, folder: Path, start: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:  # torch's own, for several reasons
            raise MissingDependencyError(
                "TensorBoard is not installed; --tensorboard needs it: pip install 'ppls[train]'"
            ) from None
        self.writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)

    def add(self, tags: Mapping[str, float], iteration: int) -> None:
        """Values at an iteration, by tag."""
        for tag, value in tags.items():
            self.writer.add_scalar(tag, value, iteration)

    def close(self) -> None:
        """All of it is in the file."""
        self.writer.close()


def clock() -> Callable[[], float]:
    """Seconds since the last call, or since it was made."""
    last = time.perf_counter()

    def since() -> float:
        nonlocal last
        before, last = last, time.perf_counter()
        return last - before

    return since
