"""The one operator that is replaced on the reference's side, and the architecture that needs another checkout."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ppls import ParityError, UsageError
from ppls.mappings.map_file import architectures
from ppls.parity.embedded import ARCHITECTURE, build_embedded_default, embedded_map, embedded_name
from ppls.parity.reference.operators import (
    CHOSEN,
    CONCATENATED,
    DIVIDED,
    SAMPLED,
    WIDENED,
    adapted,
    psa_mask,
    replace_operators,
)


@pytest.mark.parametrize("psa_type", [0, 1])
def test_the_gather_puts_the_weight_of_every_offset_where_upstreams_operator_does(needs_reference, psa_type):
    import paddle

    (height, width), (mask_h, mask_w) = (3, 4), (3, 5)
    mask = np.random.RandomState(0).rand(2, mask_h * mask_w, height, width).astype("float32")
    found = psa_mask(paddle.to_tensor(mask), psa_type, 2, height, width, mask_h, mask_w, 1, 2).numpy()
    expected = np.zeros((2, height * width, height, width), "float32")
    for y, x, v, u in itertools.product(range(height), range(width), range(height), range(width)):
        row, column = v - y + 1, u - x + 2
        if 0 <= row < mask_h and 0 <= column < mask_w:
            weight = mask[:, row * mask_w + column, y, x]
            if psa_type == 1:
                expected[:, y * width + x, v, u] = weight
            else:
                expected[:, v * width + u, y, x] = weight
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(
    ("before", "after"),
    [((9, 17), (66, 130)), ((50, 63), (400, 500)), ((64, 128), (50, 63)), ((1, 1), (4, 7)), ((3, 5), (1, 1))],
)
def test_a_resize_in_float64_is_the_bilinear_one_and_paddles_is_its_rounding(needs_reference, before, after, aligned):
    import paddle

    from ppls.parity.reference.resize import Resizes

    image = np.random.RandomState(0).randn(2, 3, *before)
    resizes = Resizes(recompute=True)
    with resizes.watched(paddle.nn.Identity(), None):
        resize = paddle.nn.functional.interpolate
        found = resize(paddle.to_tensor(image), size=after, mode="bilinear", align_corners=aligned).numpy()
    options = {"size": after, "mode": "bilinear", "align_corners": aligned}
    expected = torch.nn.functional.interpolate(torch.from_numpy(image), **options).numpy()
    if after == (1, 1):  # where they differ by definition: Paddle takes the first pixel
        expected = image[:, :, :1, :1]
    assert np.abs(found - expected).max() < 1e-13
    assert resizes.recomputed == 1
    assert resizes.exact
    assert resizes.rounding < 1e-4


def test_a_resize_of_paddles_that_is_not_the_bilinear_one_is_no_rounding(needs_reference, monkeypatch):
    import paddle

    from ppls.parity.reference.job_error import JobError
    from ppls.parity.reference.resize import Resizes

    common = paddle.nn.functional.common
    right = common.interpolate
    monkeypatch.setattr(common, "interpolate", lambda x, **options: right(x, **{**options, "align_corners": True}))
    with (
        Resizes(recompute=True).watched(paddle.nn.Identity(), None),
        pytest.raises(JobError, match="is not the bilinear"),
    ):
        paddle.nn.functional.interpolate(paddle.rand([1, 1, 9, 17], dtype="float64"), size=[65, 129], mode="bilinear")


def test_nothing_is_replaced_in_a_checkout_without_the_operator(tmp_path):
    assert replace_operators(tmp_path) == []


def test_an_architecture_that_paddleseg_lacks_is_refused_with_what_to_do(reference, folder, monkeypatch):
    lacking = replace(embedded_map(), source="paddleseg.models.PPHeavySeg")
    monkeypatch.setattr("ppls.parity.embedded.embedded_map", lambda _: lacking)
    with pytest.raises(ParityError, match=r"has no paddleseg\.models\.PPHeavySeg.*--paddleseg PATH names a checkout"):
        build_embedded_default(reference, folder, timeout=120)


def test_the_embedded_default_is_named_by_its_recipe():
    for name, map in architectures().items():
        recipe, config = next(iter(map.recipes.items()))
        assert (
            embedded_name(name) == f"embedded default ({recipe}, {config['num_classes']} classes, built by PaddleSeg)"
        )
        assert embedded_name(map.name) == embedded_name(name)
    assert embedded_name() == embedded_name(ARCHITECTURE)


def test_the_embedded_default_has_the_options_that_are_set(tmp_path):
    jobs = []
    process = SimpleNamespace(run=lambda job, timeout: jobs.append(job))
    overrides = {"cm_bin_sizes": [1, 3, 6], "num_classes": 7}
    build_embedded_default(process, tmp_path, architecture="PPLiteSeg", overrides=overrides)
    assert jobs[0].model["kwargs"].items() >= overrides.items()
    assert "7 classes, cm_bin_sizes [1, 3, 6], built" in embedded_name("PPLiteSeg", overrides)
    with pytest.raises(UsageError, match="has no option 'cm_bins'"):
        build_embedded_default(process, tmp_path, architecture="PPLiteSeg", overrides={"cm_bins": 1})


def test_what_paddle_refuses_is_done_and_said_and_what_it_does_is_its_own(adapted_paddle):
    paddle, _ = adapted_paddle
    functional = paddle.nn.functional
    x, whole = paddle.to_tensor([1.0, 3.0]), paddle.to_tensor([2, 2])
    assert (x / 2).tolist() == (x / whole.astype("float32")).tolist() == [0.5, 1.5]
    assert paddle.concat([x, x]).tolist() == [1, 3, 1, 3]
    assert adapted() == []
    assert (x / whole).tolist() == [0.5, 1.5]
    assert adapted() == [DIVIDED]
    assert adapted() == []
    sides = [paddle.to_tensor(5, dtype="int64"), paddle.to_tensor(4, dtype="int32")]
    assert paddle.concat(sides).tolist() == [5, 4]
    image, places = paddle.ones([1, 1, 2, 2], "float64"), paddle.zeros([1, 1, 3, 2], "float32")
    assert functional.grid_sample(image, places).tolist() == [[[[1.0, 1.0, 1.0]]]]
    assert adapted() == [CONCATENATED, SAMPLED]
    assert paddle.concat([x, x.astype("float64") / 3]).tolist() == [1, 3, 1 / 3, 1]
    assert adapted() == [WIDENED]
    with pytest.raises(TypeError):
        x / None
    with pytest.raises((TypeError, ValueError)):
        paddle.concat([x, whole])
    with pytest.raises((TypeError, ValueError)):
        paddle.concat([x, image])
    assert adapted() == []


def test_the_way_back_from_a_choice_alone_does_not_end_paddle_and_that_from_its_values_is_its_own(adapted_paddle):
    paddle, own = adapted_paddle
    gradients = []
    for topk in (own, paddle.topk):
        x = paddle.to_tensor([[3.0, 1.0, 2.0]], stop_gradient=False)
        values, indices = topk(x, 2, axis=1)
        assert values.tolist() == [[3.0, 2.0]]
        (values * indices.astype("float32")).sum().backward()
        gradients.append(x.grad.tolist())
    assert gradients[0] == gradients[1] == [[0.0, 0.0, 2.0]]
    assert adapted() == [CHOSEN]
    x = paddle.to_tensor([[3.0, 1.0, 2.0]], stop_gradient=False)
    (x * paddle.topk(x * 2, 2, axis=1)[1].sum().astype("float32")).sum().backward()
    assert x.grad.tolist() == [[2.0, 2.0, 2.0]]
