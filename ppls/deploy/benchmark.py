"""`ppls.benchmark`: how fast a model is, in each way to run it, beside PaddleSeg on Paddle Inference."""

from __future__ import annotations

import importlib.util
import itertools
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppls.deploy.modes import MODES, open_mode
from ppls.deploy.optimize import scaled_error
from ppls.deploy.paddle_inference import PaddleMode, job_of_export, job_of_model, paddle_modes
from ppls.deploy.runtimes import onnx_file_on_demand
from ppls.deploy.timing import Turn, take_turns, time_turn
from ppls.errors import Error, UsageError, first_line
from ppls.images.transforms import Size
from ppls.inference.devices import find_device, in_use
from ppls.inference.inference import is_out_of_memory
from ppls.models.images import channels_of
from ppls.programs.module import ProgramModule
from ppls.temporary import temporary_folder
from ppls.version import versions

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_DEFAULT_MODES = ("eager", "channels-last", "compiled", "optimized")
_RUNTIMES = ("onnxruntime", "openvino")  # modes by the name of the package that they need
SIZE: Size = (512, 1024)
TIMEOUT = 600.0  # seconds
OUT_OF_MEMORY = "out of memory; give a smaller --size or --batch"

Say = Callable[[str], None]
Progress = Callable[[int, int], None]  # how many are done, and of how many


@dataclass(frozen=True)
class Point:
    """What is run: `batch` images of `size` (height, width), in the precision `dtype`."""

    size: Size
    batch: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.batch}x3x{self.size[0]}x{self.size[1]}, {self.dtype}"


@dataclass(frozen=True)
class Timing:
    """How fast one mode is at one point.

    Attributes:
        milliseconds: of one run, the median.
        low, high: the shortest and the longest run.
        images_per_second: by the median.
        ratio: of the median by that of the baseline at the same point; None where it has none.
        scaled_error: from the eager model in float32, max|a - b| / max|a|.
    """

    mode: str
    point: Point
    milliseconds: float
    low: float
    high: float
    images_per_second: float
    ratio: float | None
    scaled_error: float


@dataclass(frozen=True)
class Failure:
    """A mode that did not run at a point (of the whole chain: none), and why."""

    mode: str
    point: Point | None
    reason: str


@dataclass(frozen=True)
class Benchmark:
    """What was measured, and on what.

    Attributes:
        device: its name.
        threads: that each mode may use on the CPU.
        versions: of Python and the packages.
        baseline: what ratios are against: `Paddle`, its fastest mode at the same point, or a mode.
    """

    source: str
    device: str
    threads: int
    versions: dict[str, str]
    baseline: str
    timings: tuple[Timing, ...]
    failures: tuple[Failure, ...]

    @property
    def machine(self) -> str:
        """The device and the threads, for a heading."""
        return f"{self.device}, {self.threads} thread{'' if self.threads == 1 else 's'}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def benchmark(
    model: str | Path | nn.Module,
    *,
    sizes: Sequence[Size] = (),
    batches: Sequence[int] = (1,),
    dtypes: Sequence[str] = ("float32",),
    modes: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
    threads: int | None = None,
    rounds: int = 8,
    against: str | None = None,
    paddle_pythons: Sequence[str | Path] = (),
    config: str | Path | None = None,
    conversion: Mapping[str, Any] | None = None,
    timeout: float = TIMEOUT,
    say: Say = lambda line: None,
    progress: Progress | None = None,
) -> Benchmark:
    """Times a model at every combination of sizes, batches and precisions, the modes of one in turns.

    What is timed is the model alone, from an image in memory to logits of its size; of Paddle too.

    Args:
        model: a converted file, anything that `ppls.load` takes, or a module that gives a list of logits.
        sizes: (height, width) of the images. Default: `SIZE`; of a program that takes a single size, that.
        dtypes: of `DTYPES`.
        modes: of `ppls.deploy.modes.MODES`. Default: those of PyTorch, and the exports whose runtime is installed.
        device: where to run.
        threads: on the CPU; default: as many as PyTorch uses.
        rounds: in each of which every mode runs once untimed and twice timed.
        against: `paddle` runs PaddleSeg's model on Paddle Inference too, in each of its modes; of a model made from its
            program the export.
        paddle_pythons: interpreters that have paddlepaddle and paddleseg; default: the running one.
        config: PaddleSeg's config of the run, where `model` is a Paddle file.
        conversion: further options of `ppls.convert` for such a file: architecture, map, overrides.
        timeout: seconds that one answer of Paddle may take.
        say: called with one line of progress at a time.
        progress: called with how many rounds are done, and of how many.

    Raises:
        UsageError: an unknown mode, precision or device; a module to be run against Paddle.
        Error: any of `ppls.load`. A mode that fails is listed in the result.
    """
    chosen = _check(modes, dtypes, against, model)
    where = find_device(device)
    with ExitStack() as stack:
        threads = stack.enter_context(threads_set(threads))
        loaded = stack.enter_context(in_use(model, where, config, conversion))
        sizes = sizes or [getattr(loaded, "only_size", None) or SIZE]
        points = [Point(size, batch, dtype) for size, batch, dtype in itertools.product(sizes, batches, dtypes)]
        paddle: Callable[[str], list[PaddleMode]] | None = None
        if against is not None:
            assert not isinstance(model, nn.Module)
            folder = stack.enter_context(temporary_folder())
            if isinstance(loaded, ProgramModule):
                job = job_of_export(Path(model), loaded.program.outputs[0], folder)
            else:
                job = job_of_model(Path(model), config, conversion or {}, folder)
            cuda = where.type == "cuda"
            paddle = stack.enter_context(
                paddle_modes(job, pythons=paddle_pythons, threads=threads, cuda=cuda, timeout=timeout)
            )
        timings: list[Timing] = []
        failures: list[Failure] = []
        for number, point in enumerate(points):
            try:
                course = _Course(point, loaded, where, threads, say)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                failures += [Failure(mode, point, OUT_OF_MEMORY) for mode in chosen]
                continue
            with onnx_file_on_demand(loaded, course.image) as onnx:
                for mode in chosen:
                    course.enter(mode, onnx)
            for paddle_mode in paddle(point.dtype) if paddle else []:
                course.enter_paddle(paddle_mode)
            course.run(rounds, progress and partial(_part_of, progress, number * rounds, len(points) * rounds))
            timings += course.timings("Paddle" if against else chosen[0])
            failures += course.failures
    return Benchmark(
        type(model).__name__ if isinstance(model, nn.Module) else str(model),
        device_name(where),
        threads,
        versions("torch", *_RUNTIMES),
        "Paddle" if against else chosen[0],
        tuple(timings),
        tuple(failures),
    )


def _part_of(progress: Progress, before: int, total: int, done: int, _rounds: int) -> None:
    progress(before + done, total)


@dataclass
class _Contender:
    name: str
    turn: Turn
    scaled_error: float
    failed: bool = False


class _Course:
    """The modes at one point: each is entered, all are run, and those that fail are noted."""

    def __init__(self, point: Point, model: nn.Module, device: torch.device, threads: int, say: Say) -> None:
        self.failures: list[Failure] = []
        self._point, self._model, self._threads, self._say = point, model, threads, say
        noise = torch.randn(point.batch, channels_of(model), *point.size, generator=torch.Generator().manual_seed(0))
        self.image = noise.to(device)
        with torch.inference_mode():
            self._expected: Tensor = model(self.image)[0].cpu()
        self._contenders: list[_Contender] = []
        self._seconds: list[list[float]] = []

    def enter(self, mode: str, onnx: Callable[[], Path]) -> None:
        """Prepares a mode of `MODES`."""
        self._say(f"{self._point}: preparing {mode}")
        with self._noting_failure(mode):
            run = open_mode(mode, self._model, self.image.to(DTYPES[self._point.dtype]), self._threads, onnx)
            with torch.inference_mode():
                error = self._error_of(run().float().cpu())
            self._contenders.append(_Contender(mode, partial(time_turn, run, self.image.device), error))

    def enter_paddle(self, mode: PaddleMode) -> None:
        """Has Paddle prepare one of its modes."""
        self._say(f"{self._point}: preparing {mode.name}")
        with self._noting_failure(mode.name):
            logits = torch.from_numpy(mode.open(self.image.cpu().numpy()))
            self._contenders.append(_Contender(mode.name, mode.turn, self._error_of(logits)))

    def run(self, rounds: int, progress: Progress | None) -> None:
        """Runs what was entered, in turns."""
        self._say(f"{self._point}: timing {len(self._contenders)} modes")
        self._seconds = take_turns([partial(self._take_turn, each) for each in self._contenders], rounds, progress)

    def timings(self, baseline: str) -> list[Timing]:
        """The fastest first."""
        found = []
        for contender, seconds in zip(self._contenders, self._seconds, strict=True):
            if not contender.failed:
                found.append((statistics.median(seconds), min(seconds), max(seconds), contender))
        based = (median for median, *_, contender in found if baseline in (contender.name, contender.name.split()[0]))
        base = min(based, default=None)
        return [
            Timing(
                contender.name,
                self._point,
                median * 1000,
                low * 1000,
                high * 1000,
                self._point.batch / median,
                None if base is None else median / base,
                contender.scaled_error,
            )
            for median, low, high, contender in sorted(found, key=lambda entry: entry[0])
        ]

    def _take_turn(self, contender: _Contender) -> list[float]:
        if not contender.failed:
            contender.failed = True
            with self._noting_failure(contender.name):
                seconds = contender.turn()
                contender.failed = False
                return seconds
        return []

    @contextmanager
    def _noting_failure(self, mode: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the runtimes raise what they like
            reason = OUT_OF_MEMORY if is_out_of_memory(error) else first_line(error)
            self.failures.append(Failure(mode, self._point, reason))

    def _error_of(self, logits: Tensor) -> float:
        if logits.shape != self._expected.shape:
            raise Error(f"gives logits of {list(logits.shape)} instead of {list(self._expected.shape)}")
        return scaled_error(self._expected, logits)


def _check(
    modes: Sequence[str] | None, dtypes: Sequence[str], against: str | None, model: str | Path | nn.Module
) -> list[str]:
    for kind, given, known in (("mode", modes or (), MODES), ("dtype", dtypes, DTYPES)):
        for name in given:
            if name not in known:
                raise UsageError(f"--{kind} {name}: it is one of {', '.join(known)}")
    if against not in (None, "paddle"):
        raise UsageError(f"--against {against}: it is paddle")
    if against is not None and isinstance(model, nn.Module):
        raise UsageError("only a file can be run against Paddle, which takes its weights")
    if modes:
        return list(dict.fromkeys(modes))
    return [*_DEFAULT_MODES, *(mode for mode in _RUNTIMES if importlib.util.find_spec(mode))]


@contextmanager
def threads_set(threads: int | None) -> Iterator[int]:
    """So many threads of PyTorch within; None for as many as there are. Yields their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield threads or before
    finally:
        torch.set_num_threads(before)


def device_name(device: torch.device) -> str:
    """What a device is called by who made it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
