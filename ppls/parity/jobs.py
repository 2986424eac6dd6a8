"""What ppls asks of the reference: each job as a type, which says the type of its answer.

Jobs are written here and done in `ppls/parity/reference`. A dump carries one to another machine, where it is data from
a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from ppls.parity.answers import (
    Amount,
    Answer,
    Count,
    Digest,
    Exported,
    ExportEnd,
    File,
    Name,
    Opened,
    ProgramRan,
    Ran,
    Timed,
    Trained,
)
from ppls.schema import at_least, not_empty

Precision = Literal["float32", "float64"]
Upsample = Literal["bilinear", "nearest"]
AnswerT = TypeVar("AnswerT", bound=Answer)


class Job(Generic[AnswerT]):
    """What the reference is to do; the field `task` names it.

    Attributes:
        answer: the type of what it answers.
    """

    answer: type[AnswerT]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload, no-any-return]  # each job is a dataclass


@dataclass(frozen=True)
class VersionsJob(Job[Answer]):
    """Nothing: every answer tells the versions."""

    task: Literal["versions"] = "versions"
    answer = Answer


@dataclass(frozen=True, kw_only=True)
class BuildJob(Job[Answer]):
    """Builds and saves the embedded default.

    Attributes:
        model: its class, dotted or of upstream's registry, and its `kwargs`, in which another `class` may stand.
        crops: what its statistics are taken on.
        classifiers: regular expressions of the layers that give the logits.
        exponents: of those whose outputs, multiplied with each other, are the exponents of a softmax.
        checkpoint: the file to write.
        constants: regular expressions of tensors that stay as upstream starts them.
    """

    model: dict[str, Any]
    seed: int
    crops: File
    classifiers: tuple[str, ...]
    checkpoint: str
    exponents: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    task: Literal["build"] = "build"
    answer = Answer


@dataclass(frozen=True, kw_only=True)
class ModelOf:
    """The model of a checkpoint, and how it is to be loaded.

    Attributes:
        checkpoint: the file that Paddle loads, written by ppls; empty in a dump, which is for another machine.
        original: the user's file, where Paddle loads that too, to compare the weights; else empty.
        sha256: of the user's file.
        rewritten: the form of the user's file, where Paddle does not load it.
        model: as in `BuildJob`.
        may_be_missing: regular expressions of tensors of the model that the checkpoint need not have.
        may_be_unexpected: tensors of the checkpoint that the model need not have.
        renamed: the names in `checkpoint` of tensors that are called otherwise in the user's file.
    """

    checkpoint: str = ""
    original: str = ""
    sha256: Digest
    rewritten: Name | None
    model: dict[str, Any]
    may_be_missing: tuple[str, ...]
    may_be_unexpected: tuple[str, ...]
    renamed: dict[str, str]


@dataclass(frozen=True)
class JobInput:
    """One input of a run; `strong`: its values are beyond those of any image; `heads`: all heads run on it too."""

    name: Name
    file: File
    strong: bool
    heads: bool


@dataclass(frozen=True, kw_only=True)
class RunJob(ModelOf, Job[Ran]):
    """Runs a checkpoint on inputs.

    Attributes:
        layers: the input on which the layers are recorded, and all heads run; None for none, and no heads.
        gradient: the input whose image's gradient is recorded; None for none.
        left_out: the default inputs that are left out on request.
        dtype: what is computed in, and written.
    """

    inputs: Annotated[tuple[JobInput, ...], not_empty]
    layers: Name | None
    gradient: Name | None
    left_out: tuple[Name, ...]
    dtype: Precision
    upsample: Upsample | None
    task: Literal["run"] = "run"
    answer = Ran


@dataclass(frozen=True)
class Batch:
    """The files of one step: images (N, C, H, W), labels (N, H, W)."""

    images: File
    labels: File


@dataclass(frozen=True, kw_only=True)
class TrainJob(ModelOf, Job[Trained]):
    """Trains a checkpoint, by SGD.

    Attributes:
        rates: of which the first is taken at which every moved run's losses stay within `apart` of the unmoved one's.
        noise: how far the weights of a moved run are moved, in parts of themselves.
        moves: how many runs are moved.
        chaotic: where a moved run's gradient in float32 is farther from the unmoved one's, float64 is run moved too, by
            `exact_noise`.
    """

    steps: Annotated[tuple[Batch, ...], not_empty]
    rates: Annotated[tuple[Amount, ...], not_empty]
    apart: Amount
    noise: Amount
    moves: Annotated[int, at_least(1)]
    chaotic: Amount
    exact_noise: Amount
    momentum: Amount
    weight_decay: Amount
    task: Literal["train"] = "train"
    answer = Trained


@dataclass(frozen=True, kw_only=True)
class ExportJob(Job[Exported]):
    """Runs an export.

    Attributes:
        program, weights: the files that Paddle loads, written by ppls; empty in a dump, which is for another machine.
        sha256: of the user's weights.
        shape: of the images that it takes, (N, C, H, W), -1 where a side may be any.
        outputs: those of the export.
        inputs: those of the run of the network that it takes.
        dtype: what it computes in.
        memory: bytes of address space that it may take beyond what the process has.
    """

    program: str = ""
    weights: str = ""
    sha256: Digest
    shape: tuple[Annotated[int, at_least(-1)], ...]
    outputs: Annotated[tuple[ExportEnd, ...], not_empty]
    inputs: Annotated[tuple[JobInput, ...], not_empty]
    dtype: Precision
    memory: Count
    task: Literal["export"] = "export"
    answer = Exported


@dataclass(frozen=True, kw_only=True)
class ProgramJob(Job[ProgramRan]):
    """Runs a program; in float32, in float64 too, whose difference is the floor.

    Attributes:
        programs, weights: the files that Paddle loads, written by ppls, by the type that they compute in.
        returned: how many arrays it returns.
        store: the folder for what it returns, in that of the process.
        dtype: of what is written.
        memory: as of `ExportJob`.
    """

    programs: dict[Precision, str]
    weights: dict[Precision, str]
    returned: Count
    inputs: Annotated[tuple[JobInput, ...], not_empty]
    store: Literal["exported", "operators"]
    dtype: Precision
    memory: Count
    task: Literal["program"] = "program"
    answer = ProgramRan


@dataclass(frozen=True, kw_only=True)
class OpenPredictorJob(ModelOf, Job[Opened]):
    """Exports a checkpoint for one shape of input and makes a predictor of it."""

    mode: str
    threads: int
    input: File
    task: Literal["open_predictor"] = "open_predictor"
    answer = Opened


@dataclass(frozen=True, kw_only=True)
class OpenExportJob(Job[Opened]):
    """Makes a predictor of a program, whose first result is what it predicts.

    Attributes:
        program, weights: the files that Paddle loads, written by ppls.
    """

    program: str
    weights: str
    mode: str
    threads: int
    input: File
    task: Literal["open_export"] = "open_export"
    answer = Opened


@dataclass(frozen=True)
class TimePredictorJob(Job[Timed]):
    """Times the predictor that was opened last."""

    runs: int
    task: Literal["time_predictor"] = "time_predictor"
    answer = Timed


@dataclass(frozen=True, kw_only=True)
class PredictJob(ModelOf, Job[Timed]):
    """Runs PaddleSeg's predict.py once over images.

    Attributes:
        images: their files.
        steps: the preprocessing, in the words of PaddleSeg's config.
    """

    images: tuple[str, ...]
    steps: tuple[dict[str, Any], ...]
    task: Literal["predict"] = "predict"
    answer = Timed


def model_of(job: ModelOf) -> Mapping[str, Any]:
    """The fields of a job that say which model, for another job on it."""
    return {name: getattr(job, name) for name in ModelOf.__dataclass_fields__}
