"""`ppls.verify`: runs PaddleSeg's model and the torch module on the same inputs and reports how far apart they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ppls.converter.conversion import Conversion
from ppls.converter.given import recorded_in
from ppls.converter.published import located
from ppls.errors import UsageError
from ppls.inference.loading import load
from ppls.mappings.map_file import open_map
from ppls.mappings.maps import Map
from ppls.parity.candidate import ModelCallable, import_callable, make_candidate
from ppls.parity.dump import open_dump
from ppls.parity.exported import RecordedExport
from ppls.parity.files.candidate import FileCandidate, open_candidate
from ppls.parity.files.judge import judge_file
from ppls.parity.jobs import Upsample
from ppls.parity.judge import judge
from ppls.parity.program.verify import is_program, verify_program
from ppls.parity.progress import Progress, not_shown
from ppls.parity.reference_run import RecordedTraining, Recording
from ppls.parity.report.data import Report
from ppls.parity.session import input_channels, session
from ppls.parity.source import TIMEOUT, Request, Say, Source
from ppls.parity.tolerance import TOLERANCE, Tolerances
from ppls.temporary import temporary_folder


def verify(
    checkpoint: str | Path | None = None,
    converted: str | Path | None = None,
    *,
    model: str | ModelCallable | None = None,
    candidate: str | Path | None = None,
    tolerance: float | Mapping[str, float] = TOLERANCE,
    architecture: str | None = None,
    map: str | Path | Map | None = None,
    allow_import: Sequence[str] = (),
    config: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    sizes: Sequence[tuple[int, int]] = (),
    images: Iterable[str | Path] = (),
    only: bool = False,
    max_pixels: int | None = None,
    seed: int = 0,
    layers: bool = True,
    float64: bool = False,
    train_steps: int = 0,
    upsample: Upsample | None = None,
    timeout: float = TIMEOUT,
    reference_python: str | Path | None = None,
    paddleseg: str | Path | None = None,
    reference: str | Path | None = None,
    strict: bool = False,
    program: bool = False,
    say: Say = lambda line: None,
    progress: Progress = not_shown,
) -> Report:
    """Verifies that a converted model is the same function as PaddleSeg's.

    Args:
        checkpoint: the file that PaddleSeg wrote; by default a PP-LiteSeg-T that PaddleSeg builds on the spot.
        converted: the `.safetensors` to verify, whose own config decides what nothing else tells; by default the
            checkpoint is converted anew.
        model: a callable that takes the path of the converted file and returns the torch module to be judged in place
            of ppls's own, or its name as `MODULE:CALLABLE`.
        candidate: an exported file (ONNX, OpenVINO IR, torch.export, TorchScript, a TensorRT engine) to be judged by
            its outputs in place of a module. All but the first two are code in effect, and trusted as `model` is.
        tolerance: the largest scaled error allowed, `max|a - b| / max|a|`; or that of single outputs by name, and the
            `default`: `{"default": 1e-4, "head 1": 1e-3}`.
        architecture: as for `ppls.convert`; so are `map`, `allow_import`, `config` and `overrides`.
        sizes: (height, width) of inputs, in pixels: a photograph and noise of each, beside the default inputs.
        images: image files to run on, beside the default inputs.
        only: run on those sizes and images alone; the report says what was left out.
        max_pixels: larger images are refused before they are decoded; see `ppls.images.read_rgb`.
        seed: of the noise, and of the embedded default.
        layers: compare layer by layer too, on the first input.
        float64: run both in double precision; the tolerance is then at most 1e-9.
        train_steps: train both for so many steps too, on the same batches. In float64 losses, gradients, parameters,
            buffers and the outputs after training must agree to 1e-6; in float32 losses and the gradient's norm must
            not part by more than the reference does from itself.
        upsample: `nearest` makes the reference resize as `ppls.convert(upsample="nearest")` makes the model.
        timeout: seconds that each run of the reference may take.
        reference_python: the interpreter that has paddlepaddle and paddleseg; by default the running one.
        paddleseg: a folder with the `paddleseg` package to use in place of the installed one.
        reference: a file that `ppls-verify --dump` wrote, in place of a run of PaddleSeg; the inputs and the training
            steps are its own.
        strict: what was assumed, a stage that did not run, and what was not compared leave the verdict inconclusive.
        program: verify an export by its program, run in torch and, where it is installed, in Paddle; unasked where no
            map knows the export. `converted` is then a folder of `ppls.convert_program`; or `model`, filled from
            `converted` or by `map`, stands beside the program.
        say: called with one line of progress at a time.
        progress: called with how many are done, of how many, and of what: inputs, layers, training steps.

    Raises:
        MissingDependencyError: Paddle or paddleseg is missing or too old, or the runtime of `candidate` is missing.
        ParityError: the two could not be compared: the reference died, the candidate could not be made.
        UsageError: an option's value cannot be understood.
        Error: any of `ppls.convert` and `ppls.load`.
    """
    Tolerances.given(tolerance)
    if candidate is not None:
        if model is not None:
            raise UsageError("--candidate and --model: one of them is judged")
        if float64 or train_steps:
            what = "--float64" if float64 else "--train-steps"
            raise UsageError(f"{what}: an exported file computes in its own type, and cannot be trained")
        if checkpoint is None and reference is None:
            raise UsageError("--candidate: give the CHECKPOINT that the file was exported from, or --reference")
    others = {
        "--candidate": candidate, "--arch": architecture, "--config": config, "--set": overrides,
        "--train-steps": train_steps, "--upsample": upsample, "--reference": reference, "--paddleseg": paddleseg,
    }  # fmt: skip
    asked = [name for name, value in others.items() if value]
    if model is None and map is not None:
        asked.append("--map")
    if program and asked:
        raise UsageError(f"{', '.join(asked)}: a program is verified as it is")
    if program and checkpoint is None:
        raise UsageError("--program: give the export to verify")
    make = import_callable(model) if isinstance(model, str) else model
    written = converted if make is None else None
    if checkpoint is not None and (program or (not asked and is_program(checkpoint, written))):
        request = Request(
            sizes, tuple(images), seed, layers, float64, 0, timeout, reference_python, None, max_pixels, only
        )
        return verify_program(
            checkpoint,
            converted,
            port=make,
            port_name=_describe(model, converted),
            map=open_map(map, allow_import),
            request=request,
            tolerance=tolerance,
            strict=strict,
            say=say,
            progress=progress,
        )
    file = None if candidate is None else open_candidate(candidate)
    recorded = None if converted is None else recorded_in(Path(converted))
    checkpoint = None if checkpoint is None else located(checkpoint)
    source = Source(checkpoint, architecture, open_map(map, allow_import), config, overrides, upsample, recorded)

    def judged(
        recording: Recording,
        conversion: Conversion,
        module: nn.Module,
        training: RecordedTraining | None = None,
        export: RecordedExport | None = None,
        name: str | None = None,
    ) -> Report:
        if isinstance(module, FileCandidate):
            return judge_file(
                recording,
                module,
                conversion,
                converted=None if converted is None else Path(converted),
                export=export,
                tolerance=tolerance,
                strict=strict,
                embedded=source.checkpoint is None,
                say=say,
                progress=progress,
                checkpoint_name=name or source.name,
            )
        return judge(
            recording,
            module,
            conversion,
            training=training,
            export=export,
            tolerance=tolerance,
            own=make is None,
            mapped=source.map is not None,
            strict=strict,
            embedded=source.checkpoint is None,
            say=say,
            progress=progress,
            checkpoint_name=name or source.name,
            candidate_name=_describe(model, converted),
        )

    if reference is not None:
        if sizes or images or only:
            raise UsageError("--reference has its own inputs; --size and --image belong to --dump, and so does --only")
        with temporary_folder() as temporary:
            dump = open_dump(Path(reference), temporary, source, train_steps)
            fresh = None if converted is not None else temporary / "converted.safetensors"
            conversion = source.convert(dump.checkpoint, fresh)
            dump.check_channels(input_channels(conversion))
            module = file or _candidate(make, Path(converted or fresh or ""))
            return judged(dump.recording, conversion, module, dump.training, dump.export, dump.name)
    request = Request(
        sizes,
        tuple(images),
        seed,
        layers,
        float64,
        train_steps,
        timeout,
        reference_python,
        paddleseg,
        max_pixels,
        only,
        None if file is None else file.shape,
    )
    with session(source, request, say, progress) as on:
        fresh = None if converted is not None else on.folder / "converted.safetensors"
        conversion = on.convert(fresh)
        on.start()
        module = file or _candidate(make, Path(converted or fresh or ""))  # while the reference runs
        recording, training = on.finish(), on.train()
        export = on.export(recording)  # last: whatever becomes of the process, all else is done
        report = judged(recording, conversion, module, training, export)
        elsewhere = report.unexplained_input if layers and file is None else None
        if elsewhere is None:
            return report
        again = judged(on.run_layers_on(elsewhere), conversion, module)
        return report.explained_by(again)


def _candidate(make: ModelCallable | None, converted: Path) -> nn.Module:
    return load(converted) if make is None else make_candidate(make, converted)


def _describe(model: str | ModelCallable | None, converted: str | Path | None) -> str:
    if model is None:
        return "ppls's model, converted anew" if converted is None else str(converted)
    return model if isinstance(model, str) else getattr(model, "__qualname__", type(model).__name__)
