"""The reference's side: strict, and honest about its own rounding."""

from dataclasses import replace

import numpy as np
import pytest

from ppls.errors import ParityError
from ppls.parity.embedded import build_embedded_default
from ppls.parity.inputs import noise, photograph
from ppls.parity.process import ReferenceProcess
from ppls.parity.session import run_job

from .conftest import record


@pytest.fixture
def job(embedded, folder):
    return run_job(embedded.conversion, [noise(32, 32)], folder, layers=False)


def test_a_checkpoint_that_changed_since_it_was_converted_is_refused(job, reference):
    job = replace(job, sha256="0" * 64)
    with pytest.raises(ParityError, match="changed while it was being verified"):
        reference.run(job, 120)


def test_the_reference_is_loaded_strictly_and_lists_every_offender(job, reference):
    job.model["kwargs"]["num_classes"] = 7
    job.model["kwargs"]["arm_type"] = "UAFM_SpAtten_S"
    with pytest.raises(ParityError) as caught:
        reference.run(job, 120)
    message = str(caught.value)
    assert "shape: seg_heads.0.conv_out.weight is [19, 32, 1, 1], the model wants [7, 32, 1, 1]" in message
    assert "unexpected: ppseg_head.arm_list.2._scale" in message
    assert "shape: ppseg_head.arm_list.0.conv_xy_atten.0._conv.weight" in message


def test_a_missing_tensor_is_refused_unless_the_map_says_it_may_be(job, reference):
    job.model["kwargs"]["backbone"]["kwargs"]["layers"] = [2, 2, 3]
    with pytest.raises(ParityError, match=r"missing: backbone\.features\.8\.conv_list\.0\.conv\.weight"):
        reference.run(job, 120)


def test_a_class_that_upstream_does_not_have_is_named(job, reference):
    job.model["class"] = "paddleseg.models.PPHeavySeg"
    with pytest.raises(ParityError, match=r"paddleseg 2\.8\.0 has no paddleseg\.models\.PPHeavySeg"):
        reference.run(job, 120)


def test_a_crash_inside_paddle_is_reported_with_its_message(job, reference, folder):
    np.save(folder / "input0.npy", np.zeros((1, 4, 32, 32), np.float32))
    with pytest.raises(ParityError, match="the reference failed"):
        reference.run(job, 120)


def test_the_same_seed_builds_the_same_embedded_default_and_another_seed_another(embedded, tmp_path):
    with ReferenceProcess(tmp_path) as process:  # a fresh one: Paddle numbers its variables from the first model on
        again = build_embedded_default(process, tmp_path, 0, timeout=120)
        assert again.read_bytes() == embedded.checkpoint.read_bytes()
        other = build_embedded_default(process, tmp_path, 1, timeout=120)
        assert other.read_bytes() != embedded.checkpoint.read_bytes()


def test_no_batch_norm_of_the_embedded_default_has_a_tiny_variance(embedded):
    variances = [
        float(tensor.load().min())
        for name, tensor in embedded.conversion.checkpoint.tensors.items()
        if name.endswith("_variance")
    ]
    assert len(variances) > 40
    assert min(variances) >= 0.01 * (1 - 1e-6)


def test_float64_has_no_floor_and_its_arrays_are_float64(embedded_checkpoint, reference, folder):
    found = record(reference, embedded_checkpoint, folder, [noise(32, 64)], dtype="float64").recording
    assert found.outputs[0].stored.load().dtype == np.float64
    assert found.outputs[0].stored.floor is None
    assert all(call.output.load().dtype == np.float64 for call in found.calls)


def test_the_floor_is_the_reference_in_float32_against_itself_in_float64(
    embedded, embedded_checkpoint, reference, folder
):
    double = record(reference, embedded_checkpoint, folder, [photograph("coffee", 64, 128)], dtype="float64").recording
    single = embedded.recording
    for name in ("backbone.features.0.conv", "ppseg_head.arm_list.0.conv_xy_atten.1._conv", "seg_heads.2.conv_out"):
        a, b = (next(call for call in found.calls if call.module == name).output for found in (double, single))
        expected = np.abs(a.load() - b.load()).max() / np.abs(a.load()).max()
        assert b.floor == pytest.approx(expected, rel=1e-6)
        assert 1e-9 < b.floor < 1e-4


def test_whether_float32_has_the_ratio_of_every_resize_is_noted(embedded):
    exact = {output.input: output.exact for output in embedded.recording.outputs}
    assert exact == {
        "coffee 64x128": True,
        "noise 64x128": True,
        "chelsea 65x129": False,
        "rocket 32x32": True,
        "batch of 2, 96x64": False,
        "strong noise 64x96": False,
    }


def test_layers_of_auxiliary_heads_are_marked_as_run_by_train_mode_alone(embedded):
    train_only = {call.module.rsplit(".", 1)[0] for call in embedded.recording.calls if call.train_only}
    assert train_only == {"seg_heads.1", "seg_heads.2", "seg_heads.1.conv", "seg_heads.2.conv"}


def test_nearest_replaces_the_inner_resizes_and_leaves_that_of_the_logits(
    embedded, embedded_checkpoint, reference, folder
):
    found = record(
        reference, embedded_checkpoint, folder, [photograph("coffee", 64, 128)], upsample="nearest"
    ).recording
    assert found.result.resizes.replaced == 6  # three pooled maps, three fusions
    logits = found.outputs[0].stored.load()
    assert np.abs(logits - embedded.recording.outputs[0].stored.load()).max() > 0.05
    blocks = logits[0, 0].reshape(8, 8, 16, 8)
    assert np.ptp(blocks, axis=(1, 3)).min() > 0  # nearest would repeat each logit 8 x 8 times
