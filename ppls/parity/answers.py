"""What the reference answers: each answer as a type that JSON is checked against.

Answers are made in `ppls/parity/reference`. A dump carries one to another machine, where it is data from a file.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from ppls.checkpoint.tensors import MOST_DIMENSIONS
from ppls.schema import at_least, not_empty
from ppls.shown import shown

_FILE = re.compile(r"(?:(?:arrays|training|exported|operators)/)?[a-z0-9]{1,40}\.npy")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST_NAME = 4096  # of a layer, or of an input, which may be called by its path
_WORDS = ("nan", "inf", "-inf")  # numbers that JSON does not have


def is_array_file(name: str) -> bool:
    """Whether a file of an array may be called so: in the folder of the run, or in one of its folders."""
    return _FILE.fullmatch(name) is not None


def _file(name: str) -> str:
    if not is_array_file(name):
        raise ValueError(f"'{shown(name, 80)}' is no name of an array's file")
    return name


def _digest(text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise ValueError(f"expected 64 hexadecimal digits, found '{shown(text, 80)}'")
    return text


def _name(text: str) -> str:
    if len(text) > _LONGEST_NAME:
        raise ValueError(f"a name of {len(text):,} characters")
    return text


def _figure(value: Any) -> float:
    if value in _WORDS and isinstance(value, str):
        return float(value)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"expected a number, found {shown(repr(value), 80)}")
    return float(value)


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"{len(shape)} dimensions")
    return shape


File = Annotated[str, _file]
Digest = Annotated[str, _digest]
Name = Annotated[str, _name]
Count = Annotated[int, at_least(0)]
Amount = Annotated[float, at_least(0)]
Figure = Annotated[Any, _figure]  # a float that may also be NaN or infinite: what overflows is to be told, not hidden


@dataclass(frozen=True)
class StoredArray:
    """An array in a file of the run's folder.

    Attributes:
        floor: of rounding: NaN where one precision has what is not finite and the other has not, None in float64.
        unordered: rounding decides in which order the values along the last axis come, as those of points that were
            ordered by a score: they are compared, and their floor was taken, as sorted ones.
    """

    file: File
    shape: Annotated[tuple[Annotated[int, at_least(1)], ...], _shape]
    dtype: Literal["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
    floor: Annotated[Figure, at_least(0)] | None
    unordered: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Versions:
    """Of the reference's side; `paddleseg` where it was needed."""

    python: Name
    numpy: Name
    paddlepaddle: Name
    paddleseg: Name | None = None


@dataclass(frozen=True)
class Failure:
    """Why there is no answer: Paddle cannot be imported, the job cannot be done, or something raised.

    Attributes:
        problems: what is wrong with the job, one line each.
    """

    kind: Literal["import", "job", "crash"]
    message: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failed:
    """What every answer has, of a job that was not done."""

    error: Failure
    replaced: tuple[str, ...] = ()
    versions: Versions | None = None
    peak_memory: Count = 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What every answer has, of a job that was done.

    Attributes:
        replaced: operators of upstream that were replaced, in words.
        peak_memory: of the reference process so far, in bytes.
    """

    error: None = None
    replaced: tuple[str, ...] = ()
    versions: Versions
    peak_memory: Count


@dataclass(frozen=True)
class HeadOutput(StoredArray):
    """One output of the model, of one input, and its place in what the model returned: `[0]`, `['masks'][1]`."""

    input: Name
    index: Count
    place: Name


@dataclass(frozen=True)
class Output(HeadOutput):
    """One output in eval mode.

    Attributes:
        exact: every resize on the way was computed to the last bits of its type.
        undecided: how many pixels may be others, since points are chosen by scores that tie.
    """

    exact: bool
    undecided: Count = 0


@dataclass(frozen=True)
class Numerics:
    """What no tensor shows of a normalisation, in Paddle's terms."""

    epsilon: float | None = None
    momentum: float | None = None


@dataclass(frozen=True)
class LayerCall:
    """One call of one layer."""

    module: Name
    call: Count
    type: Name
    train_only: bool
    numerics: Numerics
    input: StoredArray
    output: StoredArray


@dataclass(frozen=True)
class DropoutCall:
    """One call of a dropout."""

    module: Name
    rate: Amount
    train_only: bool


@dataclass(frozen=True)
class Layers:
    """Every call of a layer in a run of all heads, in order of execution.

    Attributes:
        draws: the model itself draws numbers in train mode: the calls are of eval mode, and no heads were run.
    """

    input: Name
    calls: tuple[LayerCall, ...]
    dropouts: tuple[DropoutCall, ...]
    draws: bool = False


@dataclass(frozen=True)
class Resizes:
    """How many resizes were made nearest, how many computed in float64, and how far Paddle's own are from these."""

    replaced: Count
    recomputed: Count
    rounding: Amount


@dataclass(frozen=True)
class Faint:
    """A layer or a gate of which little shows in a checkpoint.

    Attributes:
        name: of the layer, or of the tensor.
        moves: how far, scaled, anything that is compared moves if what comes out of it is wrong by its own size.
    """

    name: Name
    moves: Amount


@dataclass(frozen=True)
class Witness:
    """Whether what each layer does can be seen: how many layers and gates there are, and the faint ones.

    Attributes:
        why: why it could not be measured; None where it was.
    """

    examined: Count
    faint: tuple[Faint, ...]
    why: str | None


@dataclass(frozen=True)
class Gradient:
    """The gradient of an image, in float64: of its outputs, each value of them times that of `figures.projection`.

    Attributes:
        array: of the image's shape; None where there is no gradient.
        exact: every resize on the way was computed to the last bits of its type.
        why_not: what PaddleSeg's model raised.
    """

    array: StoredArray | None
    exact: bool
    why_not: Name | None


@dataclass(frozen=True, kw_only=True)
class Ran(Answer):
    """The answer to `RunJob`.

    Attributes:
        kept: tensors that kept the value that they were built with.
        heads: the outputs of all heads, on the input of the layers and on those that ask for them.
        gradient: of the image that the job names.
        widened: tensors that PaddleSeg creates as float32 even in float64.
        witness: None where no layers were asked for.
        mixes: how far, scaled, the outputs for an image move with the others of its batch.
        maxima: where the maxima stood, of each pooling that says so.
    """

    kept: tuple[Name, ...]
    outputs: tuple[Output, ...]
    heads: tuple[HeadOutput, ...]
    layers: Layers | None
    gradient: Gradient | None
    widened: tuple[Name, ...]
    resizes: Resizes
    witness: Witness | None = None
    mixes: Amount = 0.0
    maxima: tuple[StoredArray, ...] = ()


@dataclass(frozen=True)
class ExportEnd:
    """How an export ends: which of the arrays that its program returns are an output, and the logits it is made of.

    `ending` is what it makes of them; None where it returns them.
    """

    logits: Count
    itself: Count
    ending: Literal["argmax", "softmax"] | None


@dataclass(frozen=True)
class ExportOutput:
    """One output of an export, of one input; `itself` is None where the export returns its logits."""

    input: Name
    index: Count
    logits: StoredArray
    itself: StoredArray | None


@dataclass(frozen=True, kw_only=True)
class Exported(Answer):
    """The answer to `ExportJob`."""

    outputs: tuple[ExportOutput, ...]


@dataclass(frozen=True, kw_only=True)
class ReturnedArray(StoredArray):
    """What a program returns on one input, by its place among all that it returns."""

    input: Name
    index: Count


@dataclass(frozen=True, kw_only=True)
class ProgramRan(Answer):
    """The answer to `ProgramJob`.

    Attributes:
        refused: inputs that Paddle cannot run it on, with what it says.
        no_floor: why Paddle does not run it in float64; None where it does, or was not to.
    """

    arrays: tuple[ReturnedArray, ...]
    refused: dict[str, str]
    no_floor: str | None


@dataclass(frozen=True)
class TrainingStep:
    """The loss of each head, and the norm of the whole gradient."""

    losses: Annotated[tuple[Figure, ...], not_empty]
    gradient_norm: Figure


@dataclass(frozen=True)
class KeptStep(TrainingStep):
    """With the gradients before the update, and parameters and buffers after it, empty between the first step and the
    last; `draws`: the shapes of what dropouts and others drew."""

    draws: tuple[Annotated[tuple[Annotated[int, at_least(1)], ...], _shape], ...]
    gradients: dict[str, StoredArray]
    parameters: dict[str, StoredArray]
    buffers: dict[str, StoredArray]


@dataclass(frozen=True)
class NarrowStep(TrainingStep):
    """In float32, with the floors: how far the run has parted from itself up to this step, scaled."""

    loss_floors: tuple[Annotated[Figure, at_least(0)], ...]
    norm_floor: Annotated[Figure, at_least(0)]


@dataclass(frozen=True, kw_only=True)
class Trained(Answer):
    """The answer to `TrainJob`.

    Attributes:
        rate: that was taken.
        steps, float32: the steps in float64, and the same in float32.
        apart: how far each float64 step, up to it, parts from itself when the weights are moved by a rounding, scaled;
            empty where float32 gave no reason to ask.
        outputs, heads: what the model trained in float64 computes of the first batch in eval mode, and of all heads.
        draws: the model itself draws numbers in train mode: no heads were run after training.
    """

    rate: Amount
    steps: tuple[KeptStep, ...]
    float32: tuple[NarrowStep, ...]
    outputs: Annotated[tuple[StoredArray, ...], not_empty]
    heads: tuple[StoredArray, ...]
    draws: bool = False
    apart: tuple[Annotated[Figure, at_least(0)], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Opened(Answer):
    """The answer to `OpenPredictorJob` and `OpenExportJob`: the file of the logits."""

    output: File


@dataclass(frozen=True, kw_only=True)
class Timed(Answer):
    """The answer to `TimePredictorJob`: of each run."""

    seconds: tuple[Amount, ...]
