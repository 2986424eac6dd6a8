"""The whole verification, against PaddleSeg's own model."""

import hashlib
import json
import os
import shutil
import sys
import tarfile
import tempfile

import pytest
import torch
from torch import nn

import ppls
from ppls.errors import ParityError, UsageError
from ppls.parity.inputs import default_inputs
from ppls.parity.judge import judge
from tests.checkpoints import arrays_of, save
from tests.material import SHARED


@pytest.fixture(scope="module")
def told():
    """How far the verification was, each time that it told."""
    return []


@pytest.fixture(scope="module")
def report(embedded_checkpoint, told):
    return ppls.verify(embedded_checkpoint, progress=lambda *far: told.append(far))


def test_how_far_it_is_is_told_of_either_side(report, told):
    for what in ("PaddleSeg's inputs", "PaddleSeg's layers", "inputs", "layers"):
        counts = [(done, total) for done, total, of in told if of == what]
        assert counts
        assert all(done <= total for done, total in counts)
    assert (len(report.layers), len(report.layers), "layers") in told


def test_the_converted_embedded_default_agrees_on_every_default_input(report):
    assert report.verdict == "pass"
    assert report.failures == report.warnings == ()
    assert {output.input for output in report.outputs} == {given.name for given in default_inputs()}
    assert [output.name for output in report.outputs[-3:]] == ["head 0", "head 1", "head 2"]
    heads = {output.input for output in report.outputs if output.name == "head 2"}
    assert heads == {default_inputs()[0].name, *(given.name for given in default_inputs() if given.heads)}


def test_the_rounding_floor_leaves_four_fifths_of_the_tolerance_on_every_default_input(report):
    floors = {output.input: output.comparison.floor for output in report.outputs}
    assert max(floors.values()) <= report.tolerance / 5
    assert min(floors.values()) > 0


def test_the_right_model_passes_with_room_to_spare(report):
    assert max(output.comparison.scaled for output in report.outputs) < report.tolerance / 4
    assert max(layer.comparison.scaled for layer in report.layers) < report.tolerance / 2


def test_every_layer_is_compared_in_the_order_of_execution(report):
    sources = [layer.source for layer in report.layers]
    # PP-LiteSeg-T: 44 convolutions, 41 batch norms and 3 pools of the encoder, ... and 3 heads, 2 of them train-only
    assert len(sources) == 105
    assert sources[0] == "backbone.features.0.conv"
    assert sources[-1] == "seg_heads.2.conv_out"
    assert {layer.kind for layer in report.layers} == {"conv", "batch_norm", "pool"}


def test_all_tensors_are_compared_bit_for_bit(report):
    assert (report.stage("weights").compared, report.stage("weights").expected) == (250, 250)
    assert report.different_tensors == ()


def test_the_logits_of_the_embedded_default_are_about_one(embedded):
    photographs = [output for output in embedded.recording.outputs if "noise" not in output.input]
    for output in photographs:
        assert 0.2 < float((output.stored.load() ** 2).mean()) ** 0.5 < 2.0


def test_the_json_object_has_the_documented_keys(report):
    found = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert {
        "verdict",
        "tolerance",
        "dtype",
        "inputs",
        "weights",
        "outputs",
        "layers",
        "first_divergence",
        "versions",
    } <= (found.keys())
    assert found["verdict"] == "pass"
    assert found["first_divergence"] is None
    assert found["weights"]["compared"] == 250
    assert found["weights"]["different"] == 0
    assert {"input", "name", "max_abs", "scaled", "floor", "argmax_agreement"} <= found["outputs"][0].keys()
    assert {"input", "source", "target", "kind", "call", "scaled", "floor", "passed"} <= found["layers"][0].keys()
    assert found["versions"]["reference paddleseg"] == "2.8.0"


def test_a_fault_is_named_on_both_sides(embedded):
    model = embedded.candidate()
    pool = next(module for module in model.modules() if isinstance(module, nn.AvgPool2d))
    pool.count_include_pad = True
    report = judge(embedded.recording, model, embedded.conversion)
    assert report.verdict == "fail"
    assert report.first_divergence.source == "backbone.features.2.skip"
    assert report.first_divergence.kind == "pool"
    assert report.first_divergence.at == "output"
    assert report.first_divergence.comparison.scaled > 1e-2


def test_a_changed_weight_is_found_bit_for_bit_and_named(embedded):
    model = embedded.candidate()
    with torch.no_grad():
        model.heads[2].classifier.weight[0, 0] += 1e-7
    report = judge(embedded.recording, model, embedded.conversion)
    assert report.different_tensors == ("seg_heads.2.conv_out.weight",)
    assert report.verdict == "fail"


def test_a_candidate_left_in_training_mode_is_a_failure_and_stays_in_it(embedded):
    model = embedded.candidate().train()
    report = judge(embedded.recording, model, embedded.conversion)
    assert report.verdict == "fail"
    assert "left in training mode" in report.failures[0]
    assert model.training


def test_one_module_left_in_training_mode_is_a_failure(embedded):
    model = embedded.candidate()
    model.backbone.train()
    report = judge(embedded.recording, model, embedded.conversion)
    assert "left in training mode" in report.failures[0]


class Wrapped(nn.Module):
    """The right model, with something done to what goes in or comes out."""

    def __init__(self, model, before=lambda x: x, after=lambda outputs: outputs):
        super().__init__()
        self.inner = model
        self.before, self.after = before, after

    def forward(self, x):
        return self.after(self.inner(self.before(x)))


def raise_error(x):
    raise RuntimeError("no such operator")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"before": raise_error}, "raised RuntimeError: no such operator"),
        ({"before": lambda x: x.mul_(2)}, "changed its input"),
        ({"after": lambda outputs: outputs * 2}, "returned 2 outputs, the reference 1"),
        ({"after": lambda outputs: []}, "returned 0 outputs, the reference 1"),
        ({"after": lambda outputs: "logits"}, "returned 0 outputs"),
    ],
)
def test_a_candidate_that_misbehaves_is_a_failure_with_a_message(embedded, change, message):
    candidate = Wrapped(embedded.candidate(), **change).eval()
    report = judge(embedded.recording, candidate, embedded.conversion, own=False)
    assert report.verdict == "fail"
    assert message in report.failures[0]


@pytest.mark.parametrize(
    ("after", "problem"),
    [
        (lambda outputs: [outputs[0].double()], "dtype float64"),
        (lambda outputs: [outputs[0].bfloat16()], "dtype"),
        (lambda outputs: [outputs[0][:, :, ::2]], "shape"),
        (lambda outputs: [outputs[0].index_fill(3, torch.tensor([5]), float("nan"))], "NaN or infinite on one side"),
    ],
)
def test_another_dtype_or_shape_or_a_nan_is_a_failure(embedded, after, problem):
    candidate = Wrapped(embedded.candidate(), after=after).eval()
    report = judge(embedded.recording, candidate, embedded.conversion, own=False)
    assert report.verdict == "fail"
    assert problem in report.outputs[0].comparison.problem


def test_a_candidate_whose_layers_have_other_names_is_judged_by_its_outputs_with_a_warning(embedded):
    report = judge(embedded.recording, OtherNames(embedded.candidate()).eval(), embedded.conversion, own=False)
    assert report.verdict == "pass"
    assert report.layers == ()
    assert any("outputs alone decide" in warning for warning in report.warnings)


def test_a_candidate_without_auxiliary_heads_is_compared_in_eval_mode(embedded):
    model = embedded.candidate()
    report = judge(embedded.recording, WithoutAuxiliaryHeads(model).eval(), embedded.conversion, own=False)
    assert report.verdict == "pass"
    assert len(report.layers) == 99
    assert any("6 layers of the map have no counterpart" in warning for warning in report.warnings)


def test_a_dropout_that_paddleseg_does_not_have_is_a_warning(embedded):
    model = embedded.candidate()
    model.heads[1].classifier = nn.Sequential(nn.Dropout(0.25), model.heads[1].classifier).eval()
    report = judge(embedded.recording, model, embedded.conversion, own=False)
    assert report.verdict == "pass"
    (warning,) = (warning for warning in report.warnings if "dropout" in warning)
    assert "1 rates differ, the first is 0.25 where the reference's is 0 (0: none)" in warning


def test_training_without_auxiliary_heads_says_what_to_do(embedded):
    candidate = Wrapped(embedded.candidate(), after=lambda outputs: outputs[:1]).eval()
    report = judge(embedded.recording, candidate, embedded.conversion, training=embedded.training, own=False)
    assert report.verdict == "fail"
    assert "returned 1 outputs in training, the reference 3" in report.failures[0]
    assert "or leave out --train-steps" in report.failures[0]


def test_all_heads_are_compared_on_strong_noise_too(embedded):
    model = embedded.candidate()
    report = judge(embedded.recording, model, embedded.conversion)
    names = [output.name for output in report.outputs if output.input == "strong noise 64x96"]
    assert names == ["output 0", "head 0", "head 1", "head 2"]
    model.heads[2].conv.activation = lambda x: x.clamp(0, 6)
    report = judge(embedded.recording, model, embedded.conversion)
    failed = [(output.input, output.name) for output in report.outputs if output.comparison.verdict != "pass"]
    assert failed == [("strong noise 64x96", "head 2")]


class OtherNames(nn.Module):
    """The layers in one list, by number."""

    def __init__(self, model):
        super().__init__()
        self.layers = nn.ModuleList(layer for layer in model.modules() if not list(layer.children()))
        self._model = [model]

    def forward(self, x):
        return self._model[0](x)


class WithoutAuxiliaryHeads(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.backbone, self.context, self.decoder = model.backbone, model.context, model.decoder
        self.heads = model.heads[:1]
        self._model = [model]

    def forward(self, x):
        return self._model[0](x)


def test_a_callable_is_given_the_converted_file_and_nothing_is_left_behind(embedded_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    seen = []

    def build(path):
        seen.append(path)
        return ppls.load(path)

    report = ppls.verify(embedded_checkpoint, model=build, sizes=[(32, 64)], only=True, layers=False)
    assert report.verdict == "pass"
    assert seen[0].suffix == ".safetensors"
    assert os.listdir(tmp_path) == []


def test_a_fault_that_the_first_input_hides_is_located_on_the_input_that_shows_it(embedded_checkpoint):
    def build(path):
        model = ppls.load(path)
        for module in model.modules():
            if getattr(module, "activation", None) is not None:
                module.activation = torch.nn.functional.relu6
        return model

    # of these two inputs the noise alone drives an activation beyond 6
    report = ppls.verify(embedded_checkpoint, model=build, sizes=[(32, 64), (128, 256)], only=True)
    assert report.verdict == "fail"
    assert report.first_divergence.kind != "output"
    assert report.first_divergence.at == "input"
    assert "compared again on noise" in report.warnings[-1]
    assert report.layers[0].input == report.first_divergence.input


def test_a_buffer_that_appears_in_the_first_run_or_holds_nan_is_no_changed_tensor(embedded):
    model = embedded.candidate()
    model.register_buffer("unused", torch.tensor(float("nan")))
    model.register_forward_hook(lambda module, inputs, outputs: module.register_buffer("cache", torch.zeros(1)))
    report = judge(embedded.recording, model, embedded.conversion, own=False)
    assert report.verdict == "pass"


def test_another_momentum_is_a_warning_that_counts_the_layers(embedded):
    model = embedded.candidate()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.9
    report = judge(embedded.recording, model, embedded.conversion)
    assert report.verdict == "pass"
    expected = "backbone.blocks.0.bn has momentum 0.9, not 0.1 as the reference's (and 47 layers more)"
    assert report.warnings == (expected,)


def test_a_callable_of_the_working_folder_is_found(tmp_path, monkeypatch):
    from ppls.parity.candidate import import_callable

    (tmp_path / "my_port_for_the_test.py").write_text("def build(path):\n    return path\n")
    monkeypatch.chdir(tmp_path)
    assert import_callable("my_port_for_the_test:build")("x") == "x"


@pytest.mark.parametrize("specification", ["torch.nn", ":build", "torch:", "torch:__version__"])
def test_a_malformed_callable_is_wrong_usage(specification):
    with pytest.raises(UsageError, match="--model"):
        ppls.verify("absent.pdparams", model=specification)


def test_a_callable_that_cannot_be_imported_is_a_parity_error():
    with pytest.raises(ParityError, match="no_such_module_anywhere"):
        ppls.verify("absent.pdparams", model="no_such_module_anywhere:build")


def test_a_callable_that_returns_no_module_is_a_parity_error(embedded):
    from ppls.parity.candidate import make_candidate

    with pytest.raises(ParityError, match=r"is a str; --model must return a torch\.nn\.Module"):
        make_candidate(lambda path: "model", embedded.converted)
    with pytest.raises(ParityError, match="RuntimeError: no such operator"):
        make_candidate(raise_error, embedded.converted)
    with pytest.raises(ParityError, match="SystemExit: 3"):
        make_candidate(sys.exit, 3)


def test_a_folder_and_an_archive_are_verified_like_the_file_in_them(embedded_checkpoint, tmp_path):
    folder = tmp_path / "best_model"
    folder.mkdir()
    shutil.copy(embedded_checkpoint, folder / "model.pdparams")
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / "model.pdparams", "model.pdparams")
    options = {"sizes": [(32, 64)], "only": True}
    report = ppls.verify(folder, **options)
    assert (report.verdict, report.warnings) == ("pass", ())
    report = ppls.verify(archive, **options, train_steps=1)
    assert report.verdict == "pass"
    assert report.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
    (warning,) = report.warnings
    assert "given the weights as ppls read them" in warning
    assert "in an archive" in warning


def test_a_checkpoint_without_auxiliary_heads_is_not_held_to_them(embedded_checkpoint, tmp_path):
    arrays = arrays_of(embedded_checkpoint)
    exported = {name: arrays[name] for name in arrays if not name.startswith(("seg_heads.1", "seg_heads.2"))}
    source = save(tmp_path / "exported.pdparams", exported)
    report = ppls.verify(source, sizes=[(32, 64)], only=True, overrides={"seg_head_inter_chs": [32, 64, 64]})
    assert (report.verdict, report.failures) == ("pass", ())
    assert len(report.layers) == 105 - 6
    assert report.stage("weights").compared == len(exported)


def test_a_tolerance_that_is_none_is_wrong_usage():
    with pytest.raises(UsageError, match="--tolerance"):
        ppls.verify("absent.pdparams", tolerance=0.0)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared checkpoints")
def test_a_checkpoint_trained_by_paddleseg_agrees():
    report = ppls.verify(SHARED / "paddleseg_run/model.pdparams", sizes=[(128, 256), (65, 129)], only=True)
    assert report.verdict == "pass"
    assert max(output.comparison.scaled for output in report.outputs) < 1e-5
    assert {output.argmax_agreement for output in report.outputs} == {1.0}


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared checkpoints")
@pytest.mark.parametrize(
    "name", ["pp_liteseg_t_base16_written_by_paddleseg_2.6.0", "pp_liteseg_b_base16_written_by_paddleseg_2.5"]
)
def test_checkpoints_of_older_releases_agree(name):
    report = ppls.verify(SHARED / f"eras/{name}.pdparams", sizes=[(96, 160)], only=True)
    assert report.verdict == "pass"


def test_the_counter_of_torchs_own_batch_norms_does_not_keep_the_weights_from_being_compared(embedded):
    from ppls.parity.stages.weights import compare_weights

    port = embedded.candidate()
    port.backbone.blocks[0].bn.register_buffer("num_batches_tracked", torch.tensor(3))
    weights = compare_weights(embedded.conversion, port, own=False)
    assert (weights.compared, weights.expected, weights.failures, weights.warnings) == (250, 250, (), ())
