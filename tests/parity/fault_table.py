"""Makes the table of all faults: `python -m tests.parity.fault_table > docs/faults.md`.

Those of PP-LiteSeg are judged on the embedded default, beside the verdict of PaDiff and reprod_log where those can be
imported (`pip install --no-deps padiff reprod_log`). Their own comparison functions see the same arrays: every layer's
output for PaDiff, the model's outputs for reprod_log. At their default thresholds (a relative 1e-7 between means; a
mean difference of 1e-6) they reject the right model too, so they get ppls's tolerance, 1e-4. They run in a process of
their own: imported, PaDiff puts itself in the place of functions of torch's. Those of other architectures are held
against PaddleSeg's, PSANet where `PPLS_PADDLESEG` names a checkout that has it.
"""

from __future__ import annotations

import copy
import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ppls.errors import ParityError
from ppls.parity.candidate import CandidateError, observed, run
from ppls.parity.embedded import build_embedded_default
from ppls.parity.judge import judge
from ppls.parity.process import ReferenceProcess
from ppls.parity.randomness import all_heads, find_quiet, small_inputs
from ppls.parity.reference_run import RecordedTraining
from ppls.parity.report.data import Report
from ppls.parity.report.terminal import number, percent
from ppls.parity.training_job import train_job, write_batches
from tests.architectures import CHECKOUT, map_of
from tests.parity.conftest import SMALL_INPUTS, Recorded, build, record
from tests.parity.faults import FAULTS, TRAINING_FAULTS, put_into
from tests.parity.faults.architectures import ARCHITECTURE_FAULTS
from tests.parity.faults.found import found_by
from tests.parity.test_architectures import INPUTS

TOLERANCE = 1e-4
HEADER = """# Faults, one by one

Made by `python -m tests.parity.fault_table > docs/faults.md`. [What this shows](verifying.md#the-verifier-verified).
Faults of what an output may depend on stand [there](verifying.md#what-an-output-may-depend-on); those of dropouts, of
gates, of arrangement, of exports, and those that any architecture can have, in `tests/parity/faults/`.

## PP-LiteSeg

On the embedded default, at 64x128, 65x129 and 32x32, on a batch of two and on strong noise. The peers are not given
strong noise: no absolute difference suits its logits. *stops*: the candidate raises, and so does the peer's run.
"""

Arrays = list[tuple[np.ndarray, np.ndarray]]


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
    quiet = find_quiet(model, small_inputs(recording))  # which runs the model, too
    with observed(watched, see), all_heads(model, quiet):
        run(model, recording.input(recording.layers_input))
    return outputs, layers


def peers_verdict(outputs: Arrays, layers: Arrays) -> tuple[str, str]:
    """What PaDiff (means) and reprod_log (mean difference) say: found, not found, or an error of theirs."""
    try:
        from padiff.utils import assert_tensor_equal
        from reprod_log.compare import compute_diff
        from reprod_log.utils import check_print_diff
    except ImportError:
        return "", ""
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


class Peers(ProcessPoolExecutor):
    """PaDiff and reprod_log, in a process of their own."""

    def __init__(self) -> None:
        super().__init__(1, multiprocessing.get_context("spawn"))

    def ask(self, recorded: Recorded, model: nn.Module) -> tuple[str, str]:
        try:
            outputs, layers = pairs_of_arrays(recorded, model)
        except CandidateError:
            return "stops", "stops"
        return self.submit(peers_verdict, _plain(outputs), _plain(layers)).result()


def _plain(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Arrays:
    """In memory, as they travel."""
    return [(np.array(a), np.array(b)) for a, b in pairs]


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


def table_of_layers(recorded: Recorded, peers: Peers) -> None:
    right = recorded.candidate()
    print("| fault | ppls-verify | weights | first divergence | output, scaled | classes changed | suspected cause "
          "| PaDiff | reprod_log |")  # fmt: skip
    print("| --- " * 9 + "|")
    report = judge(recorded.recording, right, recorded.conversion)
    print(row("none", report, *peers.ask(recorded, right)).replace("**passes**", "passes"))
    for fault in FAULTS:
        model = put_into(right, fault)
        said = peers.ask(recorded, copy.deepcopy(model))
        print(row(fault.name, judge(recorded.recording, model, recorded.conversion), *said), flush=True)


def table_of_training(recorded: Recorded, process: ReferenceProcess, folder: Path) -> None:
    right = recorded.candidate()
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


def table_of_architectures(folder: Path) -> None:
    print("\n## Other architectures\n\nAt 64x128, 64x32 and on strong noise. Of each the cheapest stage that fails.\n")
    print("| architecture | fault | ppls-verify |")
    print("| --- " * 3 + "|")
    for name, faults in ARCHITECTURE_FAULTS.items():
        recorded = record_architecture(name, folder)
        if recorded is None:
            continue
        right = recorded.candidate()
        for fault in faults:
            model = copy.deepcopy(right)
            fault.change(model)
            stage = found_by(recorded, model)
            found = "**passes**" if stage is None else f"found by its {stage}"
            print(f"| {name} | {fault.name} | {found} |", flush=True)


def record_architecture(name: str, folder: Path) -> Recorded | None:
    """None where neither the installed package nor the checkout has it."""
    for checkout in dict.fromkeys([None, CHECKOUT]):
        with ReferenceProcess(folder, paddleseg=checkout) as process:
            try:
                return record(process, build(process, folder, map_of(name)), folder, INPUTS)
            except ParityError:
                continue
    return None


def main() -> None:
    torch.set_num_threads(1)
    print(HEADER)
    with tempfile.TemporaryDirectory() as temporary, Peers() as peers:
        folder = Path(temporary)
        with ReferenceProcess(folder) as process:
            recorded = record(process, build_embedded_default(process, folder), folder, SMALL_INPUTS)
            table_of_layers(recorded, peers)
            table_of_training(recorded, process, folder)
        table_of_architectures(folder)


if __name__ == "__main__":
    main()
