"""Training steps, in both frameworks: what eval mode cannot show."""

import copy
import dataclasses
from collections import Counter
from functools import partial

import numpy as np
import pytest
from torch import nn
from torch.nn.utils import prune

import ppls
from ppls.parity.candidate import run as outputs_of
from ppls.parity.embedded import ARCHITECTURE
from ppls.parity.figures import TrainingFigures
from ppls.parity.inputs import noise
from ppls.parity.judge import judge
from ppls.parity.reference.uniform import uniform
from ppls.parity.reference_run import RecordedTraining
from ppls.parity.session import run_job, session
from ppls.parity.source import Request, Source
from ppls.parity.stages.stage import Stage
from ppls.parity.stages.training import compare_training
from ppls.parity.stages.weights import compare_weights
from ppls.parity.tolerance import TRAINING_TOLERANCE
from ppls.parity.training_job import RATES, SIZE, train_job, write_batches
from tests.architectures import map_of, smallest_recipes
from tests.material import SHARED

from .conftest import build, build_recipe
from .faults import TRAINING_FAULTS, put_into
from .faults.dropouts import DROPOUT_FAULTS, RIGHT_DROPOUTS

# normalise over batches at a 1/16 of the side at most, so that small crops leave as many values per channel
NOWHERE_COARSE = ("DeepLabV3P", "PSANet", "PSPNet", "SegFormer", "UNet")


@pytest.fixture(scope="module")
def right(embedded):
    return embedded.candidate()


def figures_of(trained: Stage) -> list[TrainingFigures]:
    """Those of the steps that decide in float64, and all of float32."""
    found = [figures for figures in trained.figures if isinstance(figures, TrainingFigures)]
    undecided = {figures.step for figures in found if figures.undecided and figures.dtype == "float64"}
    return [figures for figures in found if figures.dtype != "float64" or figures.step not in undecided]


def test_the_right_model_trains_as_paddles_does_and_keeps_its_weights_and_its_mode(embedded, right):
    before = {name: tensor.clone() for name, tensor in right.state_dict().items()}
    trained = compare_training(embedded.training, right, embedded.conversion)
    assert all(tensor.equal(before[name]) for name, tensor in right.state_dict().items())
    assert not any(module.training for module in right.modules())
    figures = figures_of(trained)
    assert trained.failures == trained.warnings == ()
    assert all(found.passed for found in figures)
    counts = Counter(found.what for found in figures)
    # three heads and two steps in two types; 151 trained parameters, 96 statistics and three constants in each step;
    # after them the output of eval mode and three heads
    assert counts == {
        "loss": 12,
        "gradient norm": 4,
        "gradient": 302,
        "parameter": 302,
        "statistic": 198,
        "output after training": 4,
    }
    assert max(found.scaled for found in figures if found.what == "statistic") < 1e-9


@pytest.mark.parametrize(
    ("wrong", "apart"), [(1, ()), (1, (1e-16, 1e-9)), (1, (1e-16, 1e-3)), (0, (1e-3, 1e-3))]
)  # which step, and how far the reference parts from itself at each
def test_a_later_step_at_which_paddle_parts_from_itself_is_no_judge(embedded, right, wrong, apart):
    result = embedded.training.result
    steps = list(result.steps)
    steps[wrong] = dataclasses.replace(steps[wrong], gradient_norm=steps[wrong].gradient_norm * (1 + 1e-5))
    recorded = dataclasses.replace(
        embedded.training, result=dataclasses.replace(result, steps=tuple(steps), apart=apart)
    )
    trained = compare_training(recorded, right, embedded.conversion)
    chaotic = wrong == 1 and apart[1:] == (1e-3,)
    assert trained.verdict == ("pass" if chaotic else "fail")
    assert any("1.0e-03 when its weights are moved by a rounding" in line for line in trained.warnings) == chaotic


@pytest.mark.slow
def test_how_far_paddle_parts_from_itself_in_float64_is_recorded_where_it_is_asked_for(reference, embedded, folder):
    job = dataclasses.replace(embedded.training.job, chaotic=0.0)
    batches = write_batches(2, 0, embedded.conversion.config["num_classes"], 3, folder)
    job = dataclasses.replace(job, steps=tuple(batches), checkpoint=embedded.training.job.checkpoint)
    apart = reference.run(job, 600).apart
    assert len(apart) == 2
    assert 0 < apart[0] < 1e-12
    assert apart[0] < apart[1] < 1e-7
    assert embedded.training.result.apart == ()


def every(faults):
    """Those with a twin in the slow runs alone."""
    return [pytest.param(fault, marks=pytest.mark.slow if fault.twin else (), id=fault.name) for fault in faults]


def test_the_twin_of_a_fault_is_judged_in_every_run_and_found_by_the_same_means():
    by_name = {fault.name: fault for fault in TRAINING_FAULTS}
    for fault in TRAINING_FAULTS:
        if fault.twin:
            twin = by_name[fault.twin]
            assert twin.twin is None
            assert (twin.what, twin.step, twin.dtype, twin.failure) == (
                fault.what,
                fault.step,
                fault.dtype,
                fault.failure,
            )


@pytest.mark.parametrize("fault", every(TRAINING_FAULTS))
def test_a_fault_that_outputs_and_weights_do_not_show_is_found_in_training(embedded, right, fault):
    faulty = put_into(right, fault)
    image = embedded.recording.input("rocket 32x32")
    expected = outputs_of(right, image)
    assert all(np.array_equal(a, b) for a, b in zip(outputs_of(faulty, image), expected, strict=True))
    assert compare_weights(embedded.conversion, faulty).verdict == "pass"
    trained = compare_training(embedded.training, faulty, embedded.conversion)
    if fault.failure:
        assert fault.failure in trained.failures[0]
        return
    first = next(found for found in figures_of(trained) if not found.passed)
    assert (first.what, first.step, first.dtype) == (fault.what, fault.step, fault.dtype)
    assert first.name.startswith(fault.where)


@pytest.mark.parametrize("fails", [True, False])
def test_what_training_shows_decides_the_report(embedded, right, fails):
    # of a gradient no cause is looked for, by training again
    fault = next(fault for fault in TRAINING_FAULTS if (fault.failure if fails else fault.what == "gradient"))
    report = judge(embedded.recording, put_into(right, fault), embedded.conversion, training=embedded.training)
    assert report.verdict == "fail"
    assert bool(report.failures) == fails
    assert all(found.passed for found in report.training) == fails


@pytest.fixture(scope="module")
def dropping(reference, folder, tmp_path_factory):
    """A training step of a SegFormer, which drops channels, and samples of residuals; and how to load the model."""
    checkpoint = build(reference, folder, map_of("SegFormer"))
    converted = tmp_path_factory.mktemp("dropping") / "segformer.safetensors"
    conversion = ppls.convert(checkpoint, converted)
    run = run_job(conversion, [noise(32, 64)], folder, layers=False)
    batches = write_batches(1, 0, conversion.config["num_classes"], 3, folder, size=(32, 64))
    job = train_job(run, batches)
    recorded = RecordedTraining(folder, job, reference.run(job, 300))
    return recorded, conversion, partial(ppls.load, converted)


def test_what_a_model_drops_is_the_same_on_both_sides(dropping):
    recorded, conversion, right = dropping
    trained = compare_training(recorded, right(), conversion)
    assert (trained.verdict, trained.warnings) == ("pass", ())
    shapes = Counter(recorded.result.steps[0].draws)
    assert set(shapes) == {(4, 1, 1), (4, 256, 1, 1)}  # stochastic depth in all blocks but the first; the head
    assert shapes[4, 256, 1, 1] == 1


@pytest.mark.parametrize("fault", DROPOUT_FAULTS)
def test_another_dropout_is_found(dropping, fault):
    recorded, conversion, right = dropping
    change, message = DROPOUT_FAULTS[fault]
    model = right()
    change(model)
    trained = compare_training(recorded, model, conversion)
    assert next(found for found in figures_of(trained) if not found.passed).what == "loss"
    assert bool(trained.failures) == (message is not None)
    assert message is None or message in trained.failures[0]


@pytest.mark.parametrize("written", RIGHT_DROPOUTS)
def test_a_right_dropout_may_be_written_otherwise(dropping, written):
    recorded, conversion, right = dropping
    model = right()
    RIGHT_DROPOUTS[written](model)
    trained = compare_training(recorded, model, conversion)
    assert (trained.verdict, trained.warnings) == ("pass", ())


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 256, 1, 1), (4, 3, 8, 16)])
def test_something_is_dropped_at_any_rate_and_in_every_step_something_else(shape):
    drawn = uniform(shape, 0)
    assert drawn.shape == shape
    assert drawn.min() < 0.001
    assert drawn.max() < 1
    assert abs(drawn.mean() - 0.5) <= 0.5 / drawn.size
    assert not np.array_equal(drawn, uniform(shape, 1))
    assert np.array_equal(drawn.ravel(), uniform((*shape, 1), 0).ravel())


class Renamed(nn.Module):
    """A port whose names no map knows."""

    def __init__(self, model):
        super().__init__()
        self.inner = model

    def forward(self, x):
        return self.inner(x)


def test_a_port_without_a_map_is_compared_by_what_it_computes_and_says_what_is_not(embedded, right):
    trained = compare_training(embedded.training, Renamed(right), embedded.conversion, own=False)
    assert trained.verdict == "pass"
    (warning,) = trained.warnings
    assert "250 tensors are not compared in training" in warning
    assert trained.gap is not None
    assert {found.what for found in figures_of(trained)} == {"loss", "gradient norm", "output after training"}


@pytest.mark.parametrize("name", ["one layer's momentum 0.01", "an auxiliary head's momentum 0.2", "maximum detached"])
def test_a_wrong_port_without_a_map_is_found_too(embedded, right, name):
    fault = next(fault for fault in TRAINING_FAULTS if fault.name == name)
    faulty = Renamed(put_into(right, fault))
    assert compare_training(embedded.training, faulty, embedded.conversion, own=False).verdict == "fail"


def test_the_rate_is_the_largest_at_which_a_moved_run_stays_with_the_unmoved(embedded):
    result, job = embedded.training.result, embedded.training.job
    assert result.rate in job.rates
    assert max(max(step.loss_floors) for step in result.float32) <= job.apart


def test_a_module_that_cannot_be_copied_is_trained_and_stays_as_it_was(embedded, right):
    pruned = copy.deepcopy(right)
    prune.identity(pruned.decoder[2].conv_out.conv, "weight")
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(pruned)
    before = {name: tensor.clone() for name, tensor in pruned.state_dict().items()}
    trained = compare_training(embedded.training, Renamed(pruned), embedded.conversion, own=False)
    assert trained.verdict == "pass"
    after = pruned.state_dict()
    assert all(tensor.dtype == after[name].dtype and tensor.equal(after[name]) for name, tensor in before.items())
    assert not any(module.training for module in pruned.modules())


def test_a_late_step_beyond_the_floor_is_left_to_float64(embedded, right, monkeypatch):
    monkeypatch.setattr("ppls.parity.stages.training.FIRST_STEPS", 1)
    training = embedded.training
    last = training.result.float32[-1]
    shaken = dataclasses.replace(last, losses=tuple(loss * 1.01 for loss in last.losses))
    first = dataclasses.replace(training.result.float32[0], losses=shaken.losses)
    for step, verdict, warnings in ((shaken, "pass", 1), (first, "fail", 0)):
        steps = (training.result.float32[0], step) if verdict == "pass" else (step, last)
        result = dataclasses.replace(training.result, float32=steps)
        trained = compare_training(dataclasses.replace(training, result=result), right, embedded.conversion)
        assert (trained.verdict, len(trained.warnings)) == (verdict, warnings)


@pytest.mark.parametrize(("floor", "verdict", "warnings"), [(0.05, "fail", 0), (0.2, "pass", 1)])
def test_a_step_at_which_the_reference_parts_from_itself_is_left_to_float64(embedded, right, floor, verdict, warnings):
    training = embedded.training
    first, second = training.result.float32
    shaken = dataclasses.replace(second, losses=tuple(loss * 1.01 for loss in second.losses), norm_floor=floor)
    result = dataclasses.replace(training.result, float32=(first, shaken))
    trained = compare_training(dataclasses.replace(training, result=result), right, embedded.conversion)
    assert (trained.verdict, len(trained.warnings)) == (verdict, warnings)


def worst_of(trained: Stage) -> dict[str, tuple[float, float | None]]:
    """The largest scaled error of each kind, with its floor; of losses in float32 of each step."""
    worst: dict[str, tuple[float, float | None]] = {}
    for found in figures_of(trained):
        kind = f"{found.dtype} {found.what}" + (f" {found.step}" if found.dtype == "float32" else "")
        scaled = np.inf if found.scaled is None else found.scaled
        worst[kind] = max(worst.get(kind, (-1.0, None)), (scaled, found.floor), key=lambda each: each[0])
    return worst


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "recipe"), smallest_recipes())
def test_every_architecture_trains_as_paddles_does(reference, folder, tmp_path, record_property, architecture, recipe):
    checkpoint = build_recipe(reference, folder, architecture, recipe)
    converted = tmp_path / "converted.safetensors"
    conversion = ppls.convert(checkpoint, converted)
    run = run_job(conversion, [noise(32, 64)], folder, layers=False)
    size = (32, 64) if architecture in NOWHERE_COARSE else SIZE
    rates = RATES
    for steps in (1, 2, 8, 20) if architecture == ARCHITECTURE else (2,):
        batches = write_batches(steps, 0, conversion.config["num_classes"], 3, folder, size)
        job = dataclasses.replace(train_job(run, batches), rates=rates)
        recorded = RecordedTraining(folder, job, reference.run(job, 3600))
        trained = compare_training(recorded, ppls.load(converted), conversion)
        record_property(f"{steps} steps", {"rate": recorded.result.rate, **worst_of(trained)})
        assert (steps, trained.verdict, trained.gap, trained.failures) == (steps, "pass", None, ())
        assert max(found.scaled for found in figures_of(trained) if found.dtype == "float64") <= TRAINING_TOLERANCE / 10
        rates = rates[rates.index(recorded.result.rate) :]  # runs that part in so many steps part in more


@pytest.mark.slow
def test_a_file_is_trained_at_the_rate_of_the_embedded_default_with_the_same_bytes(embedded, tmp_path):
    copied = tmp_path / "the same.pdparams"
    copied.write_bytes(embedded.checkpoint.read_bytes())
    given = Request(sizes=[(32, 64)], layers=False, train_steps=1)
    rates = []
    for source in (Source(), Source(copied)):
        with session(source, given, lambda line: None) as on:
            on.convert(None)
            on.start()
            on.finish()
            rates.append(on.train().result.rate)
    assert rates[0] == rates[1]


def test_the_batches_hold_one_image_by_turns_and_every_class(tmp_path):
    files = write_batches(4, 0, 5, 3, tmp_path)
    labels = [np.load(tmp_path / batch.labels) for batch in files]
    assert [len(array) for array in labels] == [4, 1, 4, 1]
    assert set(np.unique(np.concatenate(labels))) == {0, 1, 2, 3, 4}


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared checkpoints")
def test_a_checkpoint_trained_by_paddleseg_trains_on_alike(reference, folder, tmp_path):
    conversion = ppls.convert(SHARED / "paddleseg_run/model.pdparams", tmp_path / "converted.safetensors")
    run = run_job(conversion, [noise(32, 64)], folder, layers=False)
    batches = write_batches(2, 0, conversion.config["num_classes"], 3, folder, size=(64, 64))
    job = train_job(run, batches)
    recorded = RecordedTraining(folder, job, reference.run(job, 300))
    trained = compare_training(recorded, ppls.load(tmp_path / "converted.safetensors"), conversion)
    assert (trained.verdict, trained.compared, trained.gap) == ("pass", 2, None)
