"""`ppls.evaluate`: a model's figures on a data set, as PaddleSeg's val.py prints them; across processes too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.distributed as dist

from ppls.converter.run_config import load_run
from ppls.errors import InputError, UsageError
from ppls.images import read_rgb
from ppls.images.transforms import Side, Transforms, restore
from ppls.inference.datasets import Sample, read_label, read_samples
from ppls.inference.devices import find_device, in_use
from ppls.inference.inference import Inference
from ppls.inference.metrics import Areas, Metrics
from ppls.inference.preprocessing import Preprocessing
from ppls.inference.usage import ImageUse, Say
from ppls.schema import Node, Part, Word, at_most, between, build, not_empty

# PaddleSeg's data sets
_LAYOUTS = {"Dataset": "list", "Cityscapes": "cityscapes", "PascalVOC": "voc"}
_MOST_SCALE = 16.0


def _file_name(text: str) -> str:
    if "\0" in text:
        raise ValueError("a file's name has no NUL in it")
    return text


FileName = Annotated[str, at_most(4096), _file_name]
Scale = Annotated[float, between(1 / _MOST_SCALE, _MOST_SCALE)]


@dataclass(frozen=True)
class _Dataset(Part):
    type: Word | None = None
    dataset_root: FileName | None = None
    val_path: FileName | None = None
    separator: Annotated[str, not_empty] | None = None
    ignore_index: Annotated[int, between(-(1 << 31), 1 << 31)] | None = None


@dataclass(frozen=True)
class _TestConfig(Part):
    """How PaddleSeg evaluates: with `scales` and flips only under `aug_eval`, by windows under `is_slide`."""

    aug_eval: bool = False
    scales: Scale | Annotated[tuple[Scale, ...], not_empty, at_most(20)] = 1.0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    is_slide: bool = False
    crop_size: tuple[Side, Side] | None = None  # width, height
    stride: tuple[Side, Side] | None = None

    def __post_init__(self) -> None:
        if self.is_slide and (self.crop_size is None or self.stride is None):
            raise ValueError("`is_slide` needs a `crop_size` and a `stride`")


@dataclass(frozen=True)
class _Run(Part):
    val_dataset: _Dataset | None = None
    test_config: _TestConfig | None = None


def evaluate(
    model: str | Path | torch.nn.Module,
    samples: Sequence[Sample],
    *,
    preprocessing: Transforms | None = None,
    config: str | Path | None = None,
    conversion: Mapping[str, Any] | None = None,
    inference: Inference | None = None,
    ignore_label: int = 255,
    max_pixels: int | None = None,
    device: str | torch.device = "cpu",
    say: Say | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Metrics:
    """The figures of a model on `samples` (see `ppls.read_samples`), one image at a time.

    Under `torchrun` each process takes its share, each image is counted once, and all return the same figures.

    Args:
        model: a converted file, anything that `ppls.load` takes, or a module that gives logits (N, C, H, W).
        preprocessing: what happens to an image first. Default: what `config` says, else the model's own file, else
            `Normalize` with 0.5.
        config: PaddleSeg's config of the run.
        conversion: further options of `ppls.convert` where `model` is a Paddle file: architecture, map, overrides.
        inference: scales, flips, a sliding window. Default: the image as a whole.
        ignore_label: pixels with this label do not count.
        max_pixels: larger images and labels are refused before they are decoded; see `ppls.images.read_rgb`.
        say: called with a line for each thing that is used and was not asked for, and who said it. Default: what is
            assumed is warned of.
        progress: called with the number of images done and of all.

    Raises:
        InputError: an image or label that cannot be read, of different sizes, or a label that is no class.
        UsageError: no such device, or no samples.
        Error: the memory does not suffice; the message says which size does.
    """
    if not samples:
        raise UsageError("there are no samples to evaluate")
    preprocessing = Preprocessing.asked(preprocessing, config)
    run = inference or Inference()
    with _processes() as (rank, count), ExitStack() as stack:
        place = find_device(_own_device(device))
        loaded = stack.enter_context(in_use(model, place, config, conversion))
        use = ImageUse.of(loaded, preprocessing, say=say)
        areas: Areas | None = None
        own = samples[rank::count]
        for done, sample in enumerate(own, 1):
            prediction, classes = _predicted(loaded, sample, use.preprocessing, run, place, max_pixels)
            areas = areas or Areas.zero(classes)
            try:
                label = torch.from_numpy(read_label(sample.label, max_pixels))
                if sample.first:
                    label = torch.where(label < sample.first, ignore_label, label - sample.first)
                areas.add(prediction, label.to(place), ignore_label)
            except InputError as error:
                raise _named(error, sample) from None
            if progress is not None:
                progress(done, len(own))
        summed = _summed(areas, count)
        return Metrics.of(summed, use.classes(len(summed.intersect)))


def is_first_process() -> bool:
    """Whether this is the process of torchrun that prints; always so without torchrun."""
    return os.environ.get("RANK", "0") == "0"


def run_settings(config: str | Path | Node) -> dict[str, Any]:
    """What PaddleSeg's config of a run says about its evaluation, in the words of ppls.

    Returns:
        Of `layout`, `data`, `root`, `separator`, `ignore_label`, and the options of `Inference`, those that it says;
        nothing of a data set that ppls has no reader for. Names stay relative to where PaddleSeg was run.

    Raises:
        ConversionError: the file is missing, no config, or says something that cannot be.
    """
    run: _Run = build(config if isinstance(config, Node) else load_run(Path(config)), _Run)
    found: dict[str, Any] = {}
    dataset, test = run.val_dataset, run.test_config
    if dataset is not None and dataset.type in _LAYOUTS:
        found["layout"] = _LAYOUTS[dataset.type]
        said = {
            "root": dataset.dataset_root,
            "data": dataset.val_path,
            "separator": dataset.separator,
            "ignore_label": dataset.ignore_index,
        }
        found |= {option: value for option, value in said.items() if value is not None}
    if test is not None and test.aug_eval:
        found["scales"] = test.scales if isinstance(test.scales, tuple) else (test.scales,)
        found["flip"], found["flip_vertical"] = test.flip_horizontal, test.flip_vertical
    if test is not None and test.crop_size and test.stride and test.is_slide:
        found["window"], found["stride"] = test.crop_size[::-1], test.stride[::-1]
    return found


def samples_of_run(
    told: Mapping[str, Any],
    root: str | Path | None = None,
    data: str | Path | None = None,
    *,
    layout: str | None = None,
    split: str = "val",
    separator: str | None = None,
) -> list[Sample]:
    """What `read_samples` reads; what is left open is as the run's own evaluation had it, `told` by `run_settings`.

    Raises:
        UsageError: neither says where the data set is. Whatever `read_samples` raises.
    """
    root = root or told.get("root")
    if root is None:
        raise UsageError("--root DIR is needed: the folder of the data set")
    layout = layout or ("list" if data is not None else told.get("layout", "list"))
    if layout == told.get("layout", "list"):
        data = data or told.get("data")
    return read_samples(root, data, layout=layout, split=split, separator=separator or told.get("separator", " "))


def _predicted(
    model: torch.nn.Module,
    sample: Sample,
    prepare: Transforms,
    run: Inference,
    device: torch.device,
    max_pixels: int | None,
) -> tuple[torch.Tensor, int]:
    try:
        prepared = prepare(read_rgb(sample.image, max_pixels))
    except InputError as error:
        raise _named(error, sample) from None
    with torch.inference_mode():
        logits = restore(run(model, prepared.tensor.to(device)), prepared.undo)
    return logits.argmax(1)[0], logits.shape[1]


def _named(error: InputError, sample: Sample) -> InputError:
    text = str(error)
    known = [str(path) for path in (sample.image, sample.label) if str(path) in text]
    return InputError(f"{sample.listed}: {text}" if known else f"{sample.listed}: {sample.label}: {text}")


def _own_device(device: str | torch.device) -> str | torch.device:
    """Under torchrun, `cuda` is the process's own."""
    if str(device) == "cuda" and "LOCAL_RANK" in os.environ:
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return device


@contextmanager
def _processes() -> Iterator[tuple[int, int]]:
    """This process's rank and how many there are: those of torchrun, who may work together already, or one."""
    if dist.is_available() and dist.is_initialized():
        yield dist.get_rank(), dist.get_world_size()
    elif int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group("gloo")  # only counts are sent, from the CPU
        try:
            yield dist.get_rank(), dist.get_world_size()
        finally:
            dist.destroy_process_group()
    else:
        yield 0, 1


def _summed(areas: Areas | None, count: int) -> Areas:
    """The areas of all processes; one that had no image takes the number of classes from the others."""
    if count == 1:
        assert areas is not None
        return areas
    classes = torch.tensor([0 if areas is None else len(areas.intersect)])
    dist.all_reduce(classes, op=dist.ReduceOp.MAX)
    packed = (areas or Areas.zero(int(classes))).packed()
    dist.all_reduce(packed)
    return Areas.unpacked(packed)
