"""Makes the table of all faults: `python -m tests.parity.fault_table > docs/faults.md`.

Each fault is judged on the embedded default, beside the verdict of PaDiff and reprod_log where those can be imported
(`pip install --no-deps padiff reprod_log`). Their own comparison functions see the same arrays: every layer's output
for PaDiff, the model's outputs for reprod_log. At their default thresholds (a relative 1e-7 between means; a mean
difference of 1e-6) they reject the right model too, so they get ppls's tolerance, 1e-4.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ppls.parity.candidate import CandidateError, observed, run
from ppls.parity.embedded import build_embedded_default
from ppls.parity.judge import judge
from ppls.parity.process import ReferenceProcess
from ppls.parity.randomness import all_heads, find_quiet, small_inputs
from ppls.parity.reference_run import RecordedTraining
from ppls.parity.report.data import Report
from ppls.parity.report.terminal import number, percent
from ppls.parity.training_job import train_job, write_batches
from tests.parity.conftest import SMALL_INPUTS, record
from tests.parity.faults import FAULTS, TRAINING_FAULTS, put_into

TOLERANCE = 1e-4
HEADER = """# Faults, one by one

Made by `python -m tests.parity.fault_table > docs/faults.md` on the embedded default, at 128x256, 65x129 and 32x32,
on a batch of two and on strong noise. The peers are not given strong noise: no absolute difference suits its logits.
The tests put more faults in than stand here: those that are younger than the table are in `tests/parity/faults/` alone.
[What this shows](parity.md#the-verifier-verified). *stops*: the candidate raises, and so does the peer's run.
"""


def pairs_of_arrays(recorded, model: nn.Module) -> tuple[list, list]:
    """(reference, candidate) of every output in eval mode, and of every layer's output.

    Strong noise is left out: its logits are so large that an absolute difference means nothing.
    """
    recording = recorded.recording
    outputs = []
    for name in (name for name in recording.inputs if not recording.is_strong(name)):
        expected = [output.stored.load() for output in recording.outputs if output.input == name]
        outputs += list(zip(expected, run(model, recording.input(name)), strict=False))
    layers = []
    modules = dict(model.named_modules())
    calls = {call.module: call.output.load() for call in recording.calls}
    pairs = {pair.target: pair.source for pair in recorded.conversion.map.pair_modules(calls)}
    watched = {target: modules[target] for target in pairs if target in modules}
    see = lambda name, call, value, result: layers.append((calls[pairs[name]], result[0]))  # noqa: E731
    with observed(watched, see), all_heads(model, find_quiet(model, small_inputs(recording))):
        run(model, recording.input(recording.layers_input))
    return outputs, layers


def peers_verdict(recorded, model: nn.Module) -> tuple[str, str]:
    """What PaDiff (means) and reprod_log (mean difference) say: found, not found, or an error of theirs."""
    try:
        from padiff.utils import assert_tensor_equal
        from reprod_log.compare import compute_diff
        from reprod_log.utils import check_print_diff
    except ImportError:
        return "", ""
    try:
        outputs, layers = pairs_of_arrays(recorded, model)
    except CandidateError:
        return "stops", "stops"
    options = {"atol": 0, "rtol": TOLERANCE, "compare_mode": "mean"}
    try:
        for reference, candidate in [*outputs, *layers]:
            # a layer whose mean is rounding noise would differ relatively whatever the model
            if abs(reference.mean()) > 1e-3 * np.abs(reference).max():
                assert_tensor_equal(reference, candidate, options)
        padiff = "not found"
    except AssertionError:
        padiff = "found"
    try:
        a, b = ({str(i): np.array(arrays[side]) for i, arrays in enumerate(outputs)} for side in (0, 1))
        passed = check_print_diff(compute_diff(a, b), "mean", TOLERANCE, print_func=lambda *_: None)
        reprod_log = "not found" if passed else "found"
    except Exception as error:
        reprod_log = f"stops: {type(error).__name__}"
    return padiff, reprod_log


def row(name: str, report: Report, padiff: str, reprod_log: str) -> str:
    first = report.first_divergence
    figures = [output.comparison.scaled for output in report.outputs if output.comparison.scaled is not None]
    agreement = [output.argmax_agreement for output in report.outputs if output.argmax_agreement is not None]
    if report.failures and first is None:
        where = report.failures[0].split(";")[0].split(" (")[0]
    elif first is None:
        where = ""
    else:
        where = f"{'before ' if first.at == 'input' else ''}`{first.source}`"
    weights = "found" if report.different_tensors else "equal"
    found = "found" if report.verdict == "fail" else "**passes**"
    worst = number(max(figures)) if figures else ""
    changed = "" if not agreement else percent(1 - min(agreement))
    cause = first.cause or "" if first is not None else ""
    return f"| {name} | {found} | {weights} | {where} | {worst} | {changed} | {cause} | {padiff} | {reprod_log} |"


def main() -> None:
    torch.set_num_threads(1)
    print(HEADER)
    with tempfile.TemporaryDirectory() as temporary, ReferenceProcess(Path(temporary)) as process:
        folder = Path(temporary)
        recorded = record(process, build_embedded_default(process, folder), folder, SMALL_INPUTS)
        right = recorded.candidate()
        print("| fault | ppls-verify | weights | first divergence | output, scaled | classes changed | suspected cause "
              "| PaDiff | reprod_log |")  # fmt: skip
        print("| --- " * 9 + "|")
        report = judge(recorded.recording, right, recorded.conversion)
        print(row("none", report, *peers_verdict(recorded, right)).replace("**passes**", "passes"))
        for fault in FAULTS:
            model = put_into(right, fault)
            report = judge(recorded.recording, model, recorded.conversion)
            print(row(fault.name, report, *peers_verdict(recorded, model)), flush=True)
        print("\n| fault that only training shows | ppls-verify --train-steps 2 | differs first | step | scaled |")
        print("| --- " * 5 + "|")
        job = train_job(recorded.recording.job, write_batches(2, 0, 19, 3, folder))
        training = RecordedTraining(folder, job, process.run(job))
        for fault in TRAINING_FAULTS:
            report = judge(recorded.recording, put_into(right, fault), recorded.conversion, training=training)
            found = "found" if report.verdict == "fail" else "**passes**"
            first = next((figures for figures in report.training if not figures.passed), None)
            where = report.failures[0] if first is None else f"{first.what} of `{first.name}`"
            step, scaled = ("", "") if first is None else (first.step, number(first.scaled))
            print(f"| {fault.name} | {found} | {where} | {step} | {scaled} |", flush=True)


if __name__ == "__main__":
    main()
