"""`ppls.benchmark_chain`: how long an image takes from its file to its label map, stage by stage."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ppls.deploy.benchmark import TIMEOUT, Failure, Progress, Say, device_name, threads_set
from ppls.deploy.export import export
from ppls.deploy.optimize import logits_of, optimize
from ppls.deploy.paddle_predict import PaddlePredict, paddle_predict
from ppls.deploy.runtimes import open_onnxruntime, open_openvino, require_packages
from ppls.deploy.timing import take_turns
from ppls.errors import Error, UsageError, first_line
from ppls.images import read_rgb
from ppls.images.transforms import Transforms, restore
from ppls.inference.devices import find_device, in_use
from ppls.inference.palettes import palette
from ppls.inference.pictures import overlay, write_labels, write_picture
from ppls.inference.prediction import find_images
from ppls.inference.preprocessing import Preprocessing
from ppls.inference.usage import ImageUse
from ppls.temporary import temporary_folder
from ppls.version import versions

Array = np.ndarray[Any, Any]
Network = Callable[[Tensor], Tensor]  # from a prepared image (1, 3, H, W) to logits

STAGES = ("decode", "prepare", "network", "labels", "write")
_DEFAULT_MODES = ("eager", "optimized")


@dataclass(frozen=True)
class ChainTiming:
    """How long an image takes in one mode, in milliseconds.

    Attributes:
        stages: the median of each stage; None of PaddleSeg's predict.py, which is timed as a whole.
        milliseconds: of all of them, the median of the passes.
        low, high: the shortest and the longest pass, per image.
        ratio: of the median by that of the baseline.
        agreement: the share of pixels that have the class that PyTorch's own run gives; None of predict.py.
    """

    mode: str
    stages: dict[str, float] | None
    milliseconds: float
    low: float
    high: float
    images_per_second: float
    ratio: float | None
    agreement: float | None


@dataclass(frozen=True)
class ChainBenchmark:
    """What was measured, on how many images, and on what machine."""

    source: str
    images: int
    device: str
    threads: int
    versions: dict[str, str]
    baseline: str
    timings: tuple[ChainTiming, ...]
    failures: tuple[Failure, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def benchmark_chain(
    model: str | Path | nn.Module,
    images: str | Path | Sequence[str | Path],
    *,
    modes: Sequence[str] = _DEFAULT_MODES,
    preprocessing: Transforms | None = None,
    config: str | Path | None = None,
    conversion: Mapping[str, Any] | None = None,
    device: str | torch.device = "cpu",
    threads: int | None = None,
    rounds: int = 8,
    against: str | None = None,
    paddle_pythons: Sequence[str | Path] = (),
    timeout: float = TIMEOUT,
    max_pixels: int | None = None,
    say: Say = lambda line: None,
    progress: Progress | None = None,
) -> ChainBenchmark:
    """Times a model from image files to label maps: all stages of `ppls.predict`, one image at a time.

    The stages: `decode` the file to RGB, `prepare` (PaddleSeg's transforms), `network`, `labels` (logits at the size of
    the image, and their argmax), `write` (label map and overlay, as predict.py writes them, into a temporary folder).
    The files are read anew each time, from the system's cache.

    Args:
        model: a converted file, anything that `ppls.load` takes, or a module that gives a list of logits.
        images: files and folders.
        modes: of `NETWORKS`: `eager`, `channels-last`, `optimized`, `onnxruntime`, `openvino`.
        preprocessing: what happens to an image first. Default: what `config` says, else the model's own file, else
            `Normalize` with 0.5.
        config: PaddleSeg's config of the run.
        conversion: further options of `ppls.convert` for a Paddle file: architecture, map, overrides.
        device: where PyTorch runs.
        threads: on the CPU; default: as many as PyTorch uses.
        rounds: in each of which every mode does all images once.
        against: `paddle` times PaddleSeg's own predict.py on the same images too, as a whole.
        paddle_pythons: the interpreter that has paddlepaddle and paddleseg; default: the running one.
        timeout: seconds that one pass of Paddle may take.
        max_pixels: larger images are refused; see `ppls.images.read_rgb`.
        say: called with one line of progress at a time.
        progress: called with how many rounds are done, and of how many.

    Raises:
        UsageError: an unknown mode or device; a module to be run against Paddle.
        InputError: an image is missing or cannot be read.
        Error: any of `ppls.load`. A mode that fails is listed in the result.
    """
    for mode in modes:
        if mode not in NETWORKS:
            raise UsageError(f"--mode {mode}: of the whole chain it is one of {', '.join(NETWORKS)}")
    if against not in (None, "paddle"):
        raise UsageError(f"--against {against}: it is paddle")
    if against is not None and isinstance(model, nn.Module):
        raise UsageError("only a file can be run against Paddle, which takes its weights")
    where = find_device(device)
    paths = find_images([images] if isinstance(images, (str, Path)) else images)
    asked = Preprocessing.asked(preprocessing, config)
    with ExitStack() as stack:
        threads = stack.enter_context(threads_set(threads))
        loaded = stack.enter_context(in_use(model, where, config, conversion))
        folder = stack.enter_context(temporary_folder())
        prepare = ImageUse.of(loaded, asked, say=say).preprocessing
        course = _Course(paths, prepare, where, folder, max_pixels, say)
        for mode in dict.fromkeys(modes):
            course.enter(mode, loaded, threads)
        if against is not None:
            assert not isinstance(model, nn.Module)
            python, cuda = (paddle_pythons[0] if paddle_pythons else None), where.type == "cuda"
            start = partial(
                paddle_predict,
                Path(model),
                paths,
                prepare,
                folder,
                config=config,
                conversion=conversion or {},
                python=python,
                threads=threads,
                cuda=cuda,
                timeout=timeout,
            )
            course.enter_paddle(lambda: stack.enter_context(start()))
        course.run(rounds, progress)
    baseline = "predict.py" if against is not None else next(iter(modes))
    return ChainBenchmark(
        type(model).__name__ if isinstance(model, nn.Module) else str(model),
        len(paths),
        device_name(where),
        threads,
        versions("torch", *(mode for mode in modes if mode in _PACKAGES)),
        baseline,
        tuple(course.timings(baseline)),
        tuple(course.failures),
    )


class _Course:
    """The modes on one list of images: each is entered, all do it in turns, and those that fail are noted."""

    def __init__(
        self,
        paths: Sequence[Path],
        prepare: Transforms,
        device: torch.device,
        folder: Path,
        max_pixels: int | None,
        say: Say,
    ) -> None:
        self.failures: list[Failure] = []
        self._paths, self._prepare, self._device, self._say = paths, prepare, device, say
        self._folder, self._max_pixels = folder, max_pixels
        self._expected: list[Array] = []
        self._turns: dict[str, Callable[[], list[float]]] = {}
        self._stages: dict[str, list[list[float]]] = {}  # seconds of each image and pass
        self._agreement: dict[str, float] = {}
        self._seconds: list[list[float]] = []

    def enter(self, mode: str, model: nn.Module, threads: int) -> None:
        """Prepares a mode, and has it do every image once."""
        self._say(f"preparing {mode}")
        if not self._expected:
            self._expected = [self._image(path, lambda image: logits_of(model(image)), []) for path in self._paths]
        example = self._prepare(read_rgb(self._paths[0], self._max_pixels)).tensor.to(self._device)
        with self._noting_failure(mode):
            network = NETWORKS[mode](model, example, threads)
            found = [self._image(path, network, []) for path in self._paths]
            same = sum(int((a == b).sum()) for a, b in zip(found, self._expected, strict=True))
            self._agreement[mode] = same / sum(labels.size for labels in found)
            self._stages[mode] = []
            self._turns[mode] = partial(self._pass, mode, network)

    def enter_paddle(self, start: Callable[[], PaddlePredict]) -> None:
        """Has PaddleSeg prepare its predict.py."""
        self._say("preparing PaddleSeg's predict.py")
        with self._noting_failure("predict.py"):
            predict = start()
            self._turns[predict.name] = lambda: [seconds / len(self._paths) for seconds in predict.turn()]

    def run(self, rounds: int, progress: Progress | None) -> None:
        """All that was entered, in turns."""
        self._say(f"timing {len(self._turns)} modes on {len(self._paths)} images")
        self._seconds = take_turns(list(self._turns.values()), rounds, progress)

    def timings(self, baseline: str) -> list[ChainTiming]:
        """The fastest first."""
        medians = {mode: statistics.median(found) for mode, found in zip(self._turns, self._seconds, strict=True)}
        base = min((median for mode, median in medians.items() if mode.startswith(baseline)), default=None)
        return [
            ChainTiming(
                mode,
                self._medians(mode),
                medians[mode] * 1000,
                min(seconds) * 1000,
                max(seconds) * 1000,
                1 / medians[mode],
                None if base is None else medians[mode] / base,
                self._agreement.get(mode),
            )
            for mode, seconds in sorted(
                zip(self._turns, self._seconds, strict=True), key=lambda entry: medians[entry[0]]
            )
        ]

    def _medians(self, mode: str) -> dict[str, float] | None:
        if mode not in self._stages:
            return None
        columns = zip(*self._stages[mode], strict=True)
        return {stage: statistics.median(column) * 1000 for stage, column in zip(STAGES, columns, strict=True)}

    def _pass(self, mode: str, network: Network) -> list[float]:
        """Seconds of an image, over all of them."""
        begin = time.perf_counter()
        for path in self._paths:
            seconds: list[float] = []
            self._image(path, network, seconds)
            self._stages[mode].append(seconds)
        return [(time.perf_counter() - begin) / len(self._paths)]

    @torch.inference_mode()
    def _image(self, path: Path, network: Network, seconds: list[float]) -> Array:
        """The labels of one image; appends the seconds of each stage."""
        begin = time.perf_counter()

        def lap() -> None:
            nonlocal begin
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            now = time.perf_counter()
            seconds.append(now - begin)
            begin = now

        pixels = read_rgb(path, self._max_pixels)
        lap()
        prepared = self._prepare(pixels)
        image = prepared.tensor.to(self._device)
        lap()
        logits = network(image)
        lap()
        classes = logits.shape[1]
        labels = restore(logits, prepared.undo).argmax(1)[0].cpu().numpy()
        labels = labels.astype(np.uint8 if classes <= 256 else np.uint16)
        lap()
        colours = palette("paddleseg", classes)
        write_labels(self._folder / "labels.png", labels, colours, force=True)
        write_picture(self._folder / "overlay.jpg", overlay(pixels, labels, colours), force=True)
        lap()
        return labels

    @contextmanager
    def _noting_failure(self, mode: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the runtimes raise what they like
            self.failures.append(Failure(mode, None, first_line(error)))


def _eager(model: nn.Module, example: Tensor, threads: int) -> Network:
    return lambda image: logits_of(model(image))


def _channels_last(model: nn.Module, example: Tensor, threads: int) -> Network:
    return lambda image: logits_of(model(image.contiguous(memory_format=torch.channels_last)))


def _optimized(model: nn.Module, example: Tensor, threads: int) -> Network:
    fast = optimize(model, example)
    return lambda image: logits_of(fast(image))


def _exported(mode: str, model: nn.Module, example: Tensor, threads: int) -> Network:
    """By an ONNX file of any size."""
    if example.device.type != "cpu":
        raise Error(f"the whole chain is timed in {mode} on the CPU only")
    require_packages("onnx", "onnxscript", "onnxruntime", _PACKAGES[mode])
    with temporary_folder() as folder:
        path = folder / "model.onnx"
        export(model, path)
        run = (open_onnxruntime if mode == "onnxruntime" else open_openvino)(path, threads)
    return lambda image: torch.from_numpy(run(image.numpy()))


_PACKAGES = {"onnxruntime": "onnxruntime", "openvino": "openvino"}
NETWORKS: dict[str, Callable[[nn.Module, Tensor, int], Network]] = {
    "eager": _eager,
    "channels-last": _channels_last,
    "optimized": _optimized,
    "onnxruntime": partial(_exported, "onnxruntime"),
    "openvino": partial(_exported, "openvino"),
}
