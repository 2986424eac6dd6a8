"""Every architecture's embedded default, and faults that any of them can have: the right one passes, each fault fails.

The default of `ppls-verify` has a suite of its own, with the layer that each fault must be traced to:
tests/parity/test_faults.py. Here every fault is put into two architectures, and every architecture gets one at least;
`-m "slow or not slow"` puts all of them into all. Which architectures are run: `tests.architectures.live`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ppls
from ppls.errors import Error, ParityError
from ppls.mappings.map_file import architectures
from ppls.mappings.patterns import lookup
from ppls.mappings.targets import import_target
from ppls.models.building import without_values
from ppls.models.layers import DropPath
from ppls.parity.embedded import ARCHITECTURE
from ppls.parity.inputs import batch, noise, photograph, strong_noise
from ppls.parity.judge import judge
from ppls.parity.process import ReferenceProcess
from ppls.parity.reference_run import Recording
from ppls.parity.report.data import Report
from ppls.parity.session import run_job
from ppls.parity.stages.behaviour import not_compared
from ppls.parity.tolerance import TOLERANCE
from tests.architectures import CHECKOUT, live, map_of, readable, run_live, small_config
from tests.parity.conftest import Recorded, build, record

from .faults.any_model import FAULTS
from .faults.architectures import ARCHITECTURE_FAULTS
from .faults.found import found_by
from .one_by_one import unseen
from .right_models.architectures import RIGHT_FORMS

INPUTS = [photograph("coffee", 64, 128), noise(64, 128), batch(64, 32), strong_noise(32, 64)]
NAMES = [name for name in architectures() if name != ARCHITECTURE]


class References:
    """Processes of the reference, each with its folder, that serve one architecture after the other."""

    def __init__(self, stack: ExitStack, tmp_path_factory: pytest.TempPathFactory, paddleseg: str | None) -> None:
        folders = [tmp_path_factory.mktemp(what) for what in ("run", "nearest")]
        self.run, self.nearest = (
            (stack.enter_context(ReferenceProcess(folder, paddleseg=paddleseg)), folder) for folder in folders
        )


@pytest.fixture(scope="module")
def references(needs_reference: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[References]]:
    """Of the installed package, and of the checkout where one is named."""
    with ExitStack() as stack:
        checkouts = [None, CHECKOUT] if CHECKOUT else [None]
        yield [References(stack, tmp_path_factory, checkout) for checkout in checkouts]


@pytest.fixture
def without_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what the right model of the architecture has been asked before."""
    monkeypatch.setattr("ppls.parity.judge.compare_behaviour", lambda *_: not_compared("asked of the right model"))


@dataclasses.dataclass(frozen=True)
class Judged:
    """What PaddleSeg did, and the report on the right model; `nearest` runs PaddleSeg with other resizes."""

    recorded: Recorded

    report: Report
    nearest: tuple[ReferenceProcess, Path]


@pytest.fixture(scope="module", params=run_live(NAMES))
def judged(request: pytest.FixtureRequest, references: list[References]) -> Iterator[Judged]:
    map = map_of(request.param)
    for of in references:
        process, folder = of.run
        try:
            checkpoint = build(process, folder, map)
        except ParityError as error:
            if "names a checkout that has it" not in str(error):
                raise
            continue
        found = record(process, checkpoint, folder, INPUTS)
        report = judge(found.recording, found.candidate(), found.conversion)
        yield Judged(found, report, of.nearest)
        found.converted.unlink()
        return
    pytest.skip(f"upstream has no {request.param}, and PPLS_PADDLESEG names no checkout that has it")


def test_the_right_model_passes_and_every_layer_of_its_map_is_compared(judged: Judged) -> None:
    report = judged.report
    assert report.verdict == "pass"
    assert report.failures == ()
    assert not any("dropout" in warning for warning in report.warnings)
    weights = report.stage("weights")
    assert weights is not None
    dead = [each.pattern for each in judged.recorded.conversion.map.dead]
    names = judged.recorded.conversion.checkpoint
    used = [name for name in names if not any(pattern.match_within(name) for pattern in dead)]
    assert weights.compared == weights.expected == len(used)
    compared = {layer.source for layer in report.layers}
    run = {call.module for call in judged.recorded.recording.calls}
    assert compared == {pair.source for pair in judged.recorded.conversion.map.pair_modules(run)}
    assert len(compared) > len(run) / 2


def test_the_rounding_floor_is_at_most_a_fifth_of_the_tolerance(judged: Judged) -> None:
    assert max(output.comparison.floor or 0.0 for output in judged.report.outputs) <= TOLERANCE / 5


def test_a_change_of_any_one_tensor_is_seen_and_no_layer_is_faint(judged: Judged) -> None:
    witness = judged.recorded.recording.result.witness
    assert witness is not None
    dead = [each.pattern for each in judged.recorded.conversion.map.dead]  # it may be run, and nothing taken from it
    faint = [each.name for each in witness.faint if not any(pattern.match_within(each.name) for pattern in dead)]
    assert (witness.why, faint) == (None, [])
    assert unseen(judged.recorded) == []


@pytest.mark.usefixtures("without_questions")
@pytest.mark.parametrize(("which", "rate"), [(0, 0.0), (-1, 0.3)])
def test_another_dropout_rate_is_a_warning(judged: Judged, which: int, rate: float) -> None:
    model = judged.recorded.candidate()
    kinds = (DropPath, nn.Dropout, nn.Dropout2d)
    found = [
        m for m in model.modules() if isinstance(m, kinds) and getattr(m, "rate" if isinstance(m, DropPath) else "p")
    ]
    if not found:
        pytest.skip(f"{type(model).__name__} has no dropout")
    setattr(found[which], "rate" if isinstance(found[which], DropPath) else "p", rate)
    report = judge(judged.recorded.recording, model, judged.recorded.conversion)
    assert report.verdict == "pass"
    (warning,) = (warning for warning in report.warnings if "dropout" in warning)
    assert f"is {rate:g} where" in warning or rate == 0.0


@pytest.mark.usefixtures("without_questions")
def test_a_port_without_auxiliary_head_is_not_asked_for_its_dropouts(judged: Judged) -> None:
    recording = judged.recorded.recording
    if recording.dropout_rates(all_heads=True) == recording.dropout_rates(all_heads=False):
        pytest.skip(f"{judged.recorded.conversion.architecture} has no dropout in an auxiliary head")
    model = judged.recorded.candidate()
    model.auxiliary_head = None
    report = judge(recording, model, judged.recorded.conversion, own=False)
    assert report.verdict == "pass"
    assert not any("dropout" in warning for warning in report.warnings)


@pytest.mark.usefixtures("no_causes", "without_questions")
def test_resized_by_nearest_both_sides_agree_and_one_alone_does_not(judged: Judged, tmp_path: Path) -> None:
    map = judged.recorded.conversion.map
    if not map.upsample:
        pytest.skip(f"{judged.recorded.conversion.architecture} has no resize that --upsample could set")
    process, folder = judged.nearest
    nearest = ppls.convert(judged.recorded.checkpoint, tmp_path / "nearest.safetensors", upsample="nearest")
    model = ppls.load(nearest.destination)
    job = run_job(nearest, [photograph("coffee", *size_of(model))], folder, upsample="nearest")
    assert judge(Recording(folder, job, process.run(job, 300)), model, nearest).verdict == "pass"
    usual = lookup(judged.recorded.conversion.config, map.upsample[0])
    other = "nearest" if usual == "bilinear" else "bilinear"
    model = ppls.load(
        ppls.convert(judged.recorded.checkpoint, tmp_path / "other.safetensors", upsample=other).destination
    )
    assert judge(judged.recorded.recording, model, judged.recorded.conversion).verdict == "fail"


def size_of(model: nn.Module) -> tuple[int, int]:
    """An odd size, where the model takes any."""
    try:
        with torch.no_grad():
            model(torch.from_numpy(np.zeros((1, 3, 65, 97), "float32")))
    except Exception:
        return 96, 160
    return 65, 97


@pytest.mark.usefixtures("no_causes")
def test_faults_are_found_by_what_the_model_computes(judged: Judged) -> None:
    name = str(judged.recorded.conversion.architecture)
    assert passed(judged.recorded, dealt_to(name)) == []


def test_faults_of_an_architecture_are_found_and_by_the_stage_that_is_to_find_them(judged: Judged) -> None:
    faults = ARCHITECTURE_FAULTS.get(str(judged.recorded.conversion.architecture), [])
    found = {}
    for fault in faults:
        model = judged.recorded.candidate()
        fault.change(model)
        found[fault.name] = found_by(judged.recorded, model)
    assert found == {fault.name: fault.by for fault in faults}


@pytest.mark.usefixtures("no_causes", "asked_of_form")
def test_right_models_written_otherwise_pass_and_their_wrong_twins_fail(judged: Judged) -> None:
    recorded = judged.recorded
    for form in RIGHT_FORMS.get(str(recorded.conversion.architecture), []):
        model = form.write(recorded.candidate()).eval()
        report = judge(recorded.recording, model, recorded.conversion, own=False)
        assert report.verdict == "pass", (form.name, report.failures, report.first_divergence)
        assert report.stage("numerics").why is None, form.name
        assert found_by(recorded, form.write(form.fault(recorded.candidate())).eval(), own=False), form.name


@pytest.mark.slow
@pytest.mark.usefixtures("no_causes")
def test_all_the_other_faults_are_found_too(judged: Judged) -> None:
    name = str(judged.recorded.conversion.architecture)
    assert passed(judged.recorded, [fault for fault in possible(name) if fault not in dealt_to(name)]) == []


def test_every_architecture_that_is_run_gets_a_fault() -> None:
    assert deal()
    assert all(deal().values())


@pytest.mark.slow
def test_every_fault_is_put_into_an_architecture() -> None:
    put = {fault for faults in deal().values() for fault in faults}
    for fault in set(FAULTS) - put:  # what only an architecture can have that is not run
        able = {name for name in NAMES if can_be_built(name) and fault in possible(name)}
        assert able
        assert not able & live()


def passed(recorded: Recorded, faults: list[str]) -> list[str]:
    """Those of the faults that are not found, or with no layer that diverges."""
    missed = []
    for fault in faults:
        model = recorded.candidate()
        assert FAULTS[fault](model)
        report = judge(recorded.recording, model, recorded.conversion, weights=False)
        if report.verdict != "fail":
            missed.append(f"{fault}: {report.verdict}")
        elif report.first_divergence is None and fault not in (
            "left in training mode",
            "one normalisation's epsilon doubled",
            "DropPath at work",  # that it draws is told before anything is compared
        ):
            missed.append(f"{fault}: no layer named")
    return missed


@lru_cache
def possible(name: str) -> list[str]:
    """The faults that the architecture has what it takes for."""
    model = without_values(import_target(readable()[name]), small_config(readable()[name]))
    return [fault for fault, put in FAULTS.items() if put(model)]


def dealt_to(name: str) -> list[str]:
    return deal().get(name) or possible(name)[:1]


@lru_cache
def deal() -> dict[str, list[str]]:
    """Which faults are put into which architectures of every run: each into two that can have it and have fewest."""
    names = [name for name in NAMES if name in live() and can_be_built(name)]
    dealt: dict[str, list[str]] = {name: [] for name in names}
    for fault in FAULTS:
        able = sorted((name for name in names if fault in possible(name)), key=lambda name: len(dealt[name]))
        for name in able[:2]:
            dealt[name].append(fault)
    often = Counter(fault for faults in dealt.values() for fault in faults)
    for name in (name for name in names if not dealt[name]):
        rarest = min(possible(name), key=lambda fault: often[fault])
        often[rarest] += 1
        dealt[name].append(rarest)
    return dealt


def can_be_built(name: str) -> bool:
    try:
        return bool(possible(name))
    except Error:
        return False
