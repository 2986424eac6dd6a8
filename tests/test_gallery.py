"""The gallery shows what its script makes: what is cheap of it is made again, the rest is held against the page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import ppls
from scripts import gallery

PAGE = (gallery.DOCS / "gallery.md").read_text(encoding="utf-8")


def test_the_table_has_the_models_and_steps_of_the_script() -> None:
    rows = re.findall(r"^\| (\S+) \| [\d.]+ M \| (\d+) \| 0\.\d\d \|$", PAGE, re.M)
    assert {name: int(steps) for name, steps in rows} == gallery.STEPS
    assert gallery.STEPS.keys() <= set(ppls.list_models())


def test_the_figures_of_the_trained_run_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "DOCS", tmp_path)
    found = gallery.trained_run(tmp_path)
    (same,) = re.findall(r"<!-- same -->(.*?)<!-- -->", PAGE)
    (largest,) = re.findall(r"<!-- largest -->(.*?)<!-- -->", PAGE)
    assert found["same"] == same == "100.00%"
    assert float(found["largest"]) < 5 * float(largest) < 1e-5  # processors round otherwise
    assert (tmp_path / "gallery-trained.png").exists()


def test_a_scene_has_its_classes_where_its_shapes_are() -> None:
    image, labels = gallery.scene(("chelsea",), np.random.default_rng(1))
    assert image.shape == (gallery.HEIGHT, gallery.WIDTH, 3)
    for kind, paint in enumerate(gallery.PAINTS, start=1):
        drawn = image[labels == kind].astype(int)
        assert np.abs(drawn - paint).max(initial=0) <= 45  # give or take 30, and clipped
    assert {0} < set(np.unique(labels)) <= set(range(len(gallery.CLASSES)))


def test_the_figure_of_the_table_is_the_mean_over_the_classes_that_there_are() -> None:
    truth = np.array([[0, 0, 1, 1]])
    assert gallery.mean_iou([(truth, truth)]) == 1
    assert gallery.mean_iou([(np.array([[0, 0, 0, 1]]), truth)]) == pytest.approx((2 / 3 + 1 / 2) / 2)
