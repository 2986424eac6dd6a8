"""PointRend: the points that it predicts anew."""

from __future__ import annotations

import pytest
import torch

import ppls
from ppls.models import PointRend
from ppls.models.pointrend import sampled, uncertainty
from ppls.models.resize import resize


def small(**options: int) -> PointRend:
    torch.manual_seed(0)
    widths = [64, 128, 256, 512]
    return PointRend(4, "resnet18_vd", fpn_inplanes=widths, fpn_outplanes=8, point_out_channels=8, **options)


def test_a_step_predicts_the_least_sure_pixels_anew_and_leaves_the_others_as_they_are() -> None:
    model = small(point_subdivision_steps=1, point_subdivision_num_points=10)
    fine, coarse = [torch.randn(2, 8, 4, 6)], torch.randn(2, 4, 4, 6)
    before = resize(coarse, (8, 12))
    with torch.no_grad():
        changed = (model.refined(fine, coarse) != before).any(1).flatten(1)
    least_sure = uncertainty(before).flatten(1).topk(10, dim=1).indices
    for image in range(2):
        assert set(changed[image].nonzero().flatten().tolist()) == set(least_sure[image].tolist())


def test_the_middle_of_a_pixel_is_that_pixel() -> None:
    x = torch.randn(1, 3, 4, 5)
    middle = torch.tensor([[[2.5 / 5, 1.5 / 4]]])  # x, y
    torch.testing.assert_close(sampled(x, middle, align_corners=False)[..., 0], x[:, :, 1, 2])


def test_in_train_mode_points_are_drawn_and_most_are_of_the_least_sure() -> None:
    model = small(point_num_points=200)
    coarse = torch.randn(2, 4, 6, 8)
    points = model.drawn(coarse)
    assert points.shape == (2, 200, 2)
    of_points = uncertainty(sampled(coarse, points, align_corners=False))
    assert of_points[:, :150].mean() > of_points[:, 150:].mean()
    logits, of_drawn, places = model(torch.rand(2, 3, 64, 96))
    assert [tuple(x.shape) for x in (logits, of_drawn, places)] == [(2, 4, 64, 96), (2, 4, 200), (2, 200, 2)]


def test_the_channels_of_another_backbone_are_to_be_given() -> None:
    with pytest.raises(ppls.Error, match=r"fpn_inplanes is \[256, .*\[64, 128, 256, 512\] channels"):
        PointRend(backbone="resnet18_vd")
