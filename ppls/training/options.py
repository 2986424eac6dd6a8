"""How a run is done: what `ppls train` and `ppls.train` take beside the config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ppls.errors import UsageError
from ppls.shown import shown

PRECISIONS = ("float32", "float16", "bfloat16")
ON_NAN = ("stop", "go-on")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a run is done; the names are those of PaddleSeg's `tools/train.py` where it has them.

    Attributes:
        save_dir: the folder of the run.
        resume: the checkpoint to go on from, PaddleSeg's or ppls's, or a run's folder, of which the last one is.
        data: the folder of the data set, in place of the config's `dataset_root`.
        settings: values in place of the config's, by dotted path.
        iters, batch_size, learning_rate: in place of the config's; a batch is that of one process.
        seed: of the weights that are drawn and of the transforms; None draws by chance.
        num_workers: processes that make batches.
        device: where the model is; under torchrun `cuda` is each process's own.
        precision: what is computed in: `float32`, `float16` with scaled gradients, `bfloat16`.
        accumulate: batches of which the gradients are averaged for one iteration.
        compile: `torch.compile` the model.
        channels_last: have its convolutions in that memory format.
        fsdp: share parameters, gradients and the optimizer's state out among the processes, of which torchrun starts at
            least two.
        do_eval: evaluate at every checkpoint, and keep the best model.
        eval_interval: iterations from one evaluation to the next. Default: `save_interval`.
        save_interval: iterations from one checkpoint to the next.
        keep_checkpoint_max: how many are kept; 0 keeps all.
        log_iters: iterations from one line of the log to the next.
        use_ema: average the model over its iterations, beside it.
        tensorboard: write TensorBoard's files.
        on_nan: where a loss is not finite: `stop`, or `go-on` without that batch.
        force: go on where the folder has checkpoints of another run, which are replaced.

    Raises:
        ppls.UsageError: a value that cannot be.
    """

    save_dir: str | Path = "output"
    resume: str | Path | None = None
    data: str | Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    iters: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int | None = None
    num_workers: int = 0
    device: str = "cpu"
    precision: str = "float32"
    accumulate: int = 1
    compile: bool = False
    channels_last: bool = False
    fsdp: bool = False
    do_eval: bool = False
    eval_interval: int | None = None
    save_interval: int = 1000
    keep_checkpoint_max: int = 5
    log_iters: int = 10
    use_ema: bool = False
    tensorboard: bool = False
    on_nan: str = "stop"
    force: bool = False

    def __post_init__(self) -> None:
        counts = ("iters", "batch_size", "accumulate", "eval_interval", "save_interval", "log_iters")
        for name in counts:
            _check(name, getattr(self, name), 1)
        for name in ("num_workers", "keep_checkpoint_max"):
            _check(name, getattr(self, name), 0)
        if self.seed is not None and (type(self.seed) is not int or not 0 <= self.seed < 1 << 32):
            raise UsageError(f"seed is {shown(repr(self.seed), 80)}, but it must be a number from 0 to 2 ** 32 - 1")
        for name, known in (("precision", PRECISIONS), ("on_nan", ON_NAN)):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} is {shown(repr(getattr(self, name)), 80)}; it is one of {', '.join(known)}")
        if self.fsdp and self.compile:
            raise UsageError("--fsdp and --compile do not go together: leave one of them out")

    @property
    def evaluates(self) -> bool:
        """Whether the run evaluates."""
        return self.do_eval or self.eval_interval is not None

    @property
    def all_settings(self) -> dict[str, Any]:
        """The values in place of the config's: what has an option of its own, then `settings`."""
        named = {
            "iters": self.iters,
            "batch_size": self.batch_size,
            "lr_scheduler.learning_rate": self.learning_rate,
        }
        return {**{key: value for key, value in named.items() if value is not None}, **self.settings}

    def of_the_numbers(self) -> dict[str, Any]:
        """Those on which every number of the run depends, and that no config says."""
        names = ("seed", "num_workers", "precision", "accumulate", "log_iters", "use_ema", "channels_last", "compile")
        found = asdict(self)
        return {name: found[name] for name in names}


def _check(name: str, value: object, least: int) -> None:
    if value is not None and (type(value) is not int or value < least):
        raise UsageError(f"{name} is {shown(repr(value), 80)}, but it must be a whole number from {least} on")
