"""`ppls train`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppls.cli.command import command
from ppls.cli.help import option
from ppls.cli.options import OUTPUT, PATH, Function, device_option, force_option
from ppls.cli.output import echo, show
from ppls.errors import UsageError

if TYPE_CHECKING:
    from ppls.training.train import Trained

RUN = "The run"
ENGINE = "How it computes"
COUNT = click.IntRange(1)
_PADDLES_PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def _named(*names: str, **settings: Any) -> Callable[[Function], Function]:
    """An option that also goes by PaddleSeg's way to write it, `--save_dir`."""
    return option(*names, formerly=[f"--{name[2:].replace('-', '_')}" for name in names], **settings)


def _settings(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    from ppls.converter.given import parse_setting

    try:
        return dict(parse_setting(value) for value in values)
    except UsageError as error:
        raise click.UsageError(str(error)) from None


def _precision(_context: click.Context, _option: click.Parameter, value: str) -> str:
    return _PADDLES_PRECISIONS.get(value, value)


@command(
    summary="Train a PaddleSeg config, from scratch or going on, as its train.py does.",
    example="ppls train run.yml --do-eval --save-dir output",
    statuses={1: "The data, the checkpoint or the disk cannot be used, or a loss is not finite."},
)
@click.argument("config", type=PATH)
@option(
    "--resume",
    formerly=["--resume_model", "--resume-model"],
    type=PATH,
    metavar="DIR",
    group=RUN,
    help="Go on from a checkpoint, PaddleSeg's iter_N or ppls's; of a run's folder its last one.",
)
@option("--data", type=PATH, metavar="DIR", group=RUN, help="The folder of the data set. Default: the config's.")
@option(
    "--set",
    "settings",
    formerly=["--opts"],
    multiple=True,
    metavar="KEY=VALUE",
    callback=_settings,
    group=RUN,
    help="A value in place of the config's, in YAML: lr_scheduler.power=0.5. Can be given several times.",
)
@option("--iters", type=COUNT, metavar="N", group=RUN, help="Iterations of the whole run. Default: the config's.")
@_named("--batch-size", type=COUNT, metavar="N", group=RUN, help="Images in a batch of a process.")
@_named("--learning-rate", type=float, metavar="RATE", group=RUN, help="In place of the config's.")
@option(
    "--seed",
    type=click.IntRange(0, (1 << 32) - 1),
    metavar="N",
    group=RUN,
    help="Of weights and transforms. Default: by chance.",
)
@_named("--num-workers", type=click.IntRange(0), metavar="N", default=0, group=RUN, help="Processes that make batches.")
@option(
    "--on-nan",
    type=click.Choice(["stop", "go-on"]),
    default="stop",
    show_default=True,
    group=RUN,
    help="Where a loss is NaN or infinite: stop, or go on without its batch.",
)
@_named("--do-eval", is_flag=True, group=RUN, help="Evaluate, and keep the best model.")
@_named(
    "--eval-interval", type=COUNT, metavar="N", group=RUN, help="Evaluate every N iterations. Default: --save-interval."
)
@_named("--use-ema", is_flag=True, group=RUN, help="Average the model over its iterations, beside it.")
@device_option(ENGINE)
@option(
    "--precision",
    type=click.Choice(["float32", "float16", "bfloat16", *_PADDLES_PRECISIONS]),
    callback=_precision,
    default="float32",
    show_default=True,
    group=ENGINE,
    help="Mixed, beside float32: PaddleSeg's AMP, O1.",
)
@option("--accumulate", type=COUNT, metavar="N", default=1, group=ENGINE, help="Batches for each iteration.")
@option("--compile", is_flag=True, group=ENGINE, help="torch.compile the model.")
@_named("--channels-last", is_flag=True, group=ENGINE, help="That memory format.")
@option("--fsdp", is_flag=True, group=ENGINE, help="Share model and optimizer out among torchrun's processes.")
@_named(
    "--save-dir", type=PATH, metavar="DIR", default="output", show_default=True, group=OUTPUT, help="The run's folder."
)
@_named(
    "--save-interval",
    type=COUNT,
    metavar="N",
    default=1000,
    show_default=True,
    group=OUTPUT,
    help="A checkpoint every N iterations, and at the end.",
)
@_named(
    "--keep-checkpoint-max",
    type=click.IntRange(0),
    metavar="N",
    default=5,
    show_default=True,
    group=OUTPUT,
    help="The last N are kept; 0 keeps all.",
)
@_named(
    "--log-iters",
    type=COUNT,
    metavar="N",
    default=10,
    show_default=True,
    group=OUTPUT,
    help="A line of the log every N.",
)
@option("--tensorboard", formerly=["--use_vdl"], is_flag=True, group=OUTPUT, help="Write TensorBoard's files.")
@force_option("another run in --save-dir")
def train(config: Path, **options: Any) -> None:
    """Train the model of CONFIG, PaddleSeg's own with its _base_, as PaddleSeg's train.py does.

    The options of train.py keep their names, with a dash or an underscore. A run that was killed goes on with --resume
    DIR to the same bits. In several processes: torchrun --nproc-per-node N --no-python ppls train ...
    """
    from ppls.cli.progress import progress_bar

    with progress_bar("reading the config", "training") as progress:
        from ppls.inference.evaluation import is_first_process
        from ppls.training.options import TrainingOptions
        from ppls.training.train import train as run

        done = run(config, TrainingOptions(**options), say=progress.say, progress=progress)
    if is_first_process():
        show(done, _print, summary=True)


def _print(done: Trained) -> None:
    if done.checkpoint is None:
        echo(f"{done.folder}: nothing was left to do after {done.iteration} iterations")
        return
    best = "" if done.best is None else f"; the best mIoU is {done.best['miou']:.4f}, of {done.best['iteration']}"
    echo(f"trained {done.iteration} iterations; the last checkpoint is {done.checkpoint}{best}")
