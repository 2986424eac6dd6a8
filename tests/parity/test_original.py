"""What Paddle is given to load: the weights as ppls read them; and the user's file too, where it means one thing."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest

from ppls.checkpoint.paddle_file import write_paddle_file
from ppls.checkpoint.plain_form import check_plain_form
from ppls.checkpoint.reader import read
from ppls.converter.convert import convert
from ppls.errors import ParityError
from ppls.parity.inputs import noise
from ppls.parity.session import run_job
from tests.checkpoint import pickles
from tests.checkpoint.pickles import of_two_meanings
from tests.checkpoints import arrays_of, save
from tests.fuzz.test_differential import old_memo


@pytest.fixture
def job(embedded, folder):
    return run_job(embedded.conversion, [noise(32, 32)], folder, layers=False)


def test_a_plain_state_dict_is_loaded_beside_what_ppls_wrote(job, embedded, reference):
    assert job.original == str(embedded.checkpoint)
    assert job.rewritten is None
    assert check_plain_form(job.checkpoint) == read(job.checkpoint).sha256
    assert read(job.checkpoint).shapes == read(job.original).shapes
    assert reference.run(job, 120).outputs


BIAS, KERNEL = "backbone.features.0.bn.bias", "backbone.features.1.conv.weight"


def test_a_fault_of_ppls_in_reading_is_found(embedded, reference, folder):
    right = {**arrays_of(embedded.checkpoint), BIAS: np.zeros(32, np.float32)}
    job = run_job(convert(save(folder / "x.pdparams", right)), [noise(32, 32)], folder, layers=False)
    assert job.original

    for name, wrong in [
        (BIAS, np.full(32, -0.0, np.float32)),
        (BIAS, right[BIAS].astype(np.float64)),
        (BIAS, right[BIAS][:31]),
        (BIAS, None),
        (KERNEL, right[KERNEL].transpose(0, 1, 3, 2).copy()),
        ("another", np.zeros(1, np.float32)),
    ]:
        arrays = {key: array for key, array in {**right, name: wrong}.items() if array is not None}
        misread = read(save(folder / "misread.pdparams", arrays))
        write_paddle_file(folder / "as_read.pdparams", misread.tensors, {}, force=True)
        with pytest.raises(ParityError, match="ppls reads other weights in it than") as caught:
            reference.run(job, 120)
        assert str(caught.value).count("\n") == 1
        assert name in str(caught.value)


def test_a_file_that_changed_after_it_was_checked_is_not_loaded(job, embedded, reference, folder):
    original = folder / "original.pdparams"
    original.write_bytes(embedded.checkpoint.read_bytes()[:-1] + b"0.")
    with pytest.raises(ParityError, match="changed while it was being verified"):
        reference.run(replace(job, original=str(original)), 120)


@pytest.mark.parametrize("form", ["ordered", "nested", "more", "big-endian"])
def test_another_form_is_not_loaded_and_the_report_says_why(embedded, tmp_path, form):
    arrays = arrays_of(embedded.checkpoint)
    path = tmp_path / "x.pdparams"
    if form == "ordered":
        pickles.save(path, OrderedDict(arrays))
    elif form == "nested":
        pickles.save(path, {"model": arrays, "epoch": 3})
    elif form == "more":
        path.write_bytes(embedded.checkpoint.read_bytes() + b"more")
    else:
        pickles.save(path, {name: array.astype(">f4") for name, array in arrays.items()})
    job = run_job(convert(path), [noise(32, 32)], tmp_path, layers=False)
    assert job.original == ""
    assert "Paddle state dict" in job.rewritten
    assert form == "nested" or "not of the plain form that paddle.save writes" in job.rewritten
    assert {name: value.tobytes() for name, value in read(job.checkpoint).items()} == {
        name: value.tobytes() for name, value in arrays.items()
    }


def test_a_file_of_two_meanings_is_not_loaded_even_where_the_reader_takes_it(embedded, reference, folder, monkeypatch):
    old_memo(monkeypatch)
    pwned = folder / "pwned"
    items = {name: pickles.array_of(array) for name, array in arrays_of(embedded.checkpoint).items()}
    attack = of_two_meanings(f"open({str(pwned)!r}, 'w')", BIAS, items.pop(BIAS), **items)
    path = folder / "attack.pdparams"
    path.write_bytes(attack)
    job = run_job(convert(path), [noise(32, 32)], folder, layers=False)
    assert job.original == ""
    assert reference.run(job, 120).outputs
    assert not pwned.exists()


def test_weights_in_bfloat16_reach_the_reference_as_their_values(embedded, reference, folder):
    arrays = arrays_of(embedded.checkpoint)
    rounded = {name: array.view(np.uint32) >> 16 for name, array in arrays.items()}
    path = save(folder / "x.pdparams", {name: bits.astype(np.uint16) for name, bits in rounded.items()})
    job = run_job(convert(path), [noise(32, 32)], folder, layers=False)
    assert job.original == str(path)
    answer = reference.run(job, 120)
    bfloat16 = np.load(folder / answer.outputs[0].file)
    full = {name: (bits << 16).astype(np.uint32).view(np.float32) for name, bits in rounded.items()}
    job = run_job(convert(save(folder / "y.pdparams", full)), [noise(32, 32)], folder, layers=False)
    answer = reference.run(job, 120)
    np.testing.assert_array_equal(bfloat16, np.load(folder / answer.outputs[0].file))
