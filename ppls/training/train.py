"""`ppls.train`: a run of PaddleSeg's config from its beginning, or from a checkpoint, to its end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import nn

from ppls.converter.run_config import load_run
from ppls.errors import CheckpointError, UsageError
from ppls.inference.evaluation import is_first_process
from ppls.shown import listed
from ppls.training import checkpoints
from ppls.training.averages import Average
from ppls.training.engine import Engine, accelerated
from ppls.training.folder import MODEL
from ppls.training.log import Averages, Board, Curve, clock, eval_line, log_line, skipped_line, tags
from ppls.training.options import TrainingOptions
from ppls.training.settings import changed, differences
from ppls.training.sharded import stored, whole
from ppls.training.training import Training
from ppls.training.validation import Validation

if TYPE_CHECKING:
    from accelerate import Accelerator

Say = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """What became of a run: the outcome of `ppls.train`.

    Attributes:
        folder: of the run.
        iteration: those done.
        checkpoint: the last one; None where the run had nothing left to do.
        loss: the mean of the last line of the log, None where there was none.
        best: the best evaluation, `miou` and `iteration`; None without evaluations.
        skipped: iterations whose loss was not finite.
    """

    folder: Path
    iteration: int
    checkpoint: Path | None
    loss: float | None
    best: dict[str, Any] | None
    skipped: int

    def to_json(self) -> dict[str, Any]:
        """The object that `ppls train --json` prints."""
        return {
            "folder": str(self.folder),
            "iteration": self.iteration,
            "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
            "loss": self.loss,
            "best": self.best,
            "skipped": self.skipped,
        }


def train(
    config: str | Path,
    options: TrainingOptions | None = None,
    *,
    say: Say | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Trains the model of PaddleSeg's config, as its `tools/train.py` does.

    In `save_dir` are then the last checkpoints `iter_N`, `best_model`, and `curve.jsonl` with `curve.png`. A run that
    was killed goes on from its last checkpoint (`resume=save_dir`) to the same bits. Under `torchrun` each process
    takes its share of the data.

    Args:
        config: PaddleSeg's, with its `_base_`.
        options: see `TrainingOptions`.
        say: called with each line of the log.
        progress: called with the iterations done and all of them.

    Raises:
        ppls.InputError: files of the data set are missing, all of them listed, before the first iteration; an image
            cannot be read, or a label is no class.
        ppls.UsageError: the config has something that ppls does not, all of it listed.
        ppls.ConversionError: the checkpoint to go on from does not fit the config, or one cannot be written.
        ppls.MissingDependencyError: accelerate, OpenCV or TensorBoard is needed and not installed.
        ppls.Error: a loss is not finite; the message names the iteration and the images of its batch.
    """
    options = options or TrainingOptions()
    if options.fsdp and int(os.environ.get("WORLD_SIZE", "1")) < 2:
        raise UsageError("--fsdp shares the model out among processes, and there is one: start it with torchrun")
    first = is_first_process()
    tell: Say = say if say is not None and first else _silent
    folder = Path(options.save_dir)
    with accelerated(options.device, options.precision) as accelerator, _alone(folder, first=first):
        run = _Run(Path(config), folder, options, accelerator, tell)
        return run.to_the_end(progress if first else None)


def _silent(_line: str) -> None:
    pass


@contextmanager
def _alone(folder: Path, *, first: bool) -> Iterator[None]:
    if not first:
        yield
        return
    with checkpoints.own_folder(folder):
        yield


class _Run:
    def __init__(
        self, config: Path, folder: Path, options: TrainingOptions, accelerator: Accelerator, say: Say
    ) -> None:
        self.folder, self.options, self.accelerator, self.say = folder, options, accelerator, say
        self.start = None if options.resume is None else checkpoints.last_checkpoint(Path(options.resume))
        loop = None if self.start is None else checkpoints.read_loop(self.start)
        from ppls.training.unknown import check_classes  # reading images needs OpenCV

        document = changed(load_run(config), options.all_settings)
        check_classes(document)
        self._say_differences(loop, document.plain())
        if options.seed is not None:
            torch.manual_seed(options.seed)
        self.training = Training(
            config,
            resume=self.start,
            data=options.data,
            settings=options.all_settings,
            device="cpu" if options.fsdp else accelerator.device,  # no device has the whole model
        )
        self._check_folder()
        self.batches = self.training.all_batches(
            seed=options.seed,
            workers=options.num_workers,
            processes=accelerator.num_processes,
            rank=accelerator.process_index,
        )
        self.validation = Validation(self.training.document, options.data, say) if options.evaluates else None
        self.average = Average(self.training.model) if options.use_ema else None
        self.engine = Engine(
            self.training,
            accelerator,
            compile=options.compile,
            channels_last=options.channels_last,
            skip=options.on_nan == "go-on",
            share=options.fsdp,
        )
        if self.average is not None:  # the first process's weights are those of all now
            weights = self.training.model.state_dict()
            self.average.model.load_state_dict({name: whole(tensor) for name, tensor in weights.items()})
        self.best: dict[str, dict[str, Any]] = {}
        self.skipped = 0
        self.log = Averages()
        if loop is not None and self.start is not None:
            self._restore(loop, self.start)
        if self.average is not None and options.fsdp:
            self.engine.share_out(self.average.model)

    def to_the_end(self, progress: Callable[[int, int], None] | None) -> Trained:
        training, options, first = self.training, self.options, self.accelerator.is_main_process
        start, total = training.iteration, training.iterations
        each = len(self.batches.order(0)) // options.accumulate or 1
        self.say(f"{total - start if total > start else 0} iterations to do, an epoch has {each}")
        for path in self._others if first else ():
            checkpoints.remove(path)
        curve = Curve(self.folder, start, goes_on=self._is_own(self.start)) if first else None
        board = Board(self.folder, start) if first and options.tensorboard else None
        written: Path | None = None
        loss: float | None = None
        batches = iter(self.batches)
        since = clock()
        try:
            while training.iteration < total:
                taken = list(islice(batches, options.accumulate))
                reading = since()
                rate = training.rate
                losses, updated = self.engine.step(taken)
                self.skipped += not updated
                if not updated:
                    self.say(skipped_line(training.iteration, losses, [str(file) for b in taken for file in b.files]))
                iteration = training.iteration
                if self.average is not None:
                    self.average.update(training.model, iteration)
                if updated:
                    self.log.add(losses, sum(len(b.files) for b in taken), reading + since(), reading)
                if iteration % options.log_iters == 0 and self.log.count:
                    means, costs = self.log.take()
                    loss = sum(means)
                    self.say(log_line(iteration, total, each, loss, rate, costs))
                    row = {"iteration": iteration, "loss": loss, "losses": means, "lr": rate}
                    if curve is not None:
                        curve.add(row)
                    if board is not None:
                        board.add(tags(row, costs), iteration)
                if progress is not None:
                    progress(iteration, total)
                if self.validation is not None and _due(
                    iteration, total, options.eval_interval or options.save_interval
                ):
                    self._evaluate(curve, board)
                if _due(iteration, total, options.save_interval):
                    written = self._save()
                since()
        finally:
            if board is not None:
                board.close()
            if curve is not None and curve.rows:
                curve.draw()
        return Trained(self.folder, training.iteration, written, loss, self.best.get(checkpoints.BEST), self.skipped)

    def _evaluate(self, curve: Curve | None, board: Board | None) -> None:
        assert self.validation is not None
        iteration = self.training.iteration
        trained = self.engine.whole(self.training.model)
        models: dict[str, nn.Module] = {checkpoints.BEST: trained}
        if self.average is not None:
            models[checkpoints.BEST_AVERAGE] = self.engine.whole(self.average.model)
        for name, model in models.items():
            with self.engine.mixed():
                metrics = self.validation(model, self.accelerator.device)
            what = "EMA model" if name == checkpoints.BEST_AVERAGE else "model"
            self.say(eval_line(metrics))
            if self.options.num_workers:
                self.batches.draws.base_of_workers()  # PaddleSeg's evaluation has a worker, and draws for it
            if metrics.miou > self.best.get(name, {"miou": -1.0})["miou"]:
                self.best[name] = {"miou": metrics.miou, "iteration": iteration}
                if self.accelerator.is_main_process:
                    checkpoints.write_model(self.folder / name, model, trained)
            best = self.best.get(name, {"miou": -1.0, "iteration": -1})
            self.say(
                f"[EVAL] The {what} with the best validation mIoU ({best['miou']:.4f}) was saved at iter "
                f"{best['iteration']}."
            )
            prefix = "Ema_" if name == checkpoints.BEST_AVERAGE else ""
            if curve is not None:
                own = "ema_" if prefix else ""
                curve.add({"iteration": iteration, f"{own}miou": metrics.miou, f"{own}acc": metrics.acc})
            if board is not None:
                board.add({f"Evaluate/{prefix}mIoU": metrics.miou, f"Evaluate/{prefix}Acc": metrics.acc}, iteration)

    def _save(self) -> Path:
        """A checkpoint by the first process, with where each of them is; the oldest ones go."""
        own = {"data": self.batches.state_dict(), "torch": checkpoints.generators()}
        every: list[Any] = [own]
        count = self.accelerator.num_processes
        if count > 1:
            every = [None] * count
            dist.all_gather_object(every, own)
        path = self.folder / f"iter_{self.training.iteration}"
        snapshot = self.training.snapshot(self.engine.whole(self.training.model))
        average = None if self.average is None else stored(self.average.model)
        if self.accelerator.is_main_process:
            loop = {
                "schema": 1,
                "config": self.training.document.plain(),
                "options": self.options.of_the_numbers(),
                "processes": every,
                "log": self.log.state_dict(),
                "best": self.best,
                "skipped": self.skipped,
                "scaler": None if self.engine.scaler is None else self.engine.scaler.state_dict(),
            }
            checkpoints.write_checkpoint(path, snapshot, loop, average)
            kept = self.options.keep_checkpoint_max
            for _, old in checkpoints.checkpoints_in(self.folder)[:-kept] if kept else []:
                checkpoints.remove(old)
        self.accelerator.wait_for_everyone()
        return path

    def _restore(self, loop: checkpoints.Loop, path: Path) -> None:
        """Goes on at the very place where the run was that wrote a checkpoint."""
        count, rank = self.accelerator.num_processes, self.accelerator.process_index
        if self.average is not None:
            checkpoints.read_average(path, self.average)
        own = self._is_own(path)
        try:
            self.best = {name: asdict(best) for name, best in loop.best.items()} if own else {}
            self.skipped = loop.skipped
            self.log = Averages(asdict(loop.log))
            if self.engine.scaler is not None and loop.scaler is not None:
                self.engine.scaler.load_state_dict(loop.scaler)
            if len(loop.processes) != count or loop.options.get("num_workers") != self.options.num_workers:
                self.say("the order of the data begins anew: another number of processes or workers")
                return
            self.batches.load_state_dict(asdict(loop.processes[rank].data))
            checkpoints.restore_generators(loop.processes[rank].torch)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(f"{path / checkpoints.LOOP}: is not what ppls train writes: {error!r}") from None

    def _is_own(self, path: Path | None) -> bool:
        """Whether a checkpoint lies in this run's folder."""
        return path is not None and path.resolve().parent == self.folder.resolve()

    def _check_folder(self) -> None:
        """Nothing of another run is replaced."""
        own = self._is_own(self.start)
        found = checkpoints.checkpoints_in(self.folder)
        there = [path for number, path in found if not own or number > self.training.iteration]
        best = (self.folder / name for name in (checkpoints.BEST, checkpoints.BEST_AVERAGE))
        there += [path for path in best if not own and (path / MODEL).is_file()]
        if there and not self.options.force:
            raise UsageError(
                f"{self.folder}: has {listed([path.name for path in there])} of another run already, or of a later "
                "part of this one; go on with --resume, choose another --save-dir, or give --force"
            )
        self._others = there

    def _say_differences(self, loop: checkpoints.Loop | None, now: dict[str, Any]) -> None:
        if loop is None:
            return
        options = self.options.of_the_numbers()
        if self.options.seed is None:  # the generators go on where they were
            options["seed"] = loop.options.get("seed")
        lines = [*differences(loop.config, now), *differences(loop.options, options)]
        if lines:
            self.say(f"{self.start}: was trained with another config or other options:")
            for line in lines[:50]:
                self.say(f"  {line}")


def _due(iteration: int, total: int, interval: int) -> bool:
    return iteration % interval == 0 or iteration == total
