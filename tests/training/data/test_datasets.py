"""Each of PaddleSeg's classes of data sets against PaddleSeg's own; and what a data set may not have."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ppls.errors import Error, InputError, UsageError
from ppls.training.data.config import open_data
from ppls.training.data.draws import Draws
from tests.training.data import cases
from tests.training.data.nodes import node_of


@pytest.mark.parametrize("name", cases.SETS)
def test_a_data_set_is_paddlesegs_image_for_image(name: str, sets: Path, paddles: dict[str, np.ndarray]) -> None:
    data = open_data(node_of(cases.section(name, sets)))
    draws = Draws.seeded(3)
    data.begin(draws)
    for number, sample in enumerate(data.samples):
        key = f"sets/{name}/{number}"
        assert [str(path.relative_to(sets)) for path in (sample.image, sample.label)] == paddles[
            f"{key}/files"
        ].tolist()
        item = data.item(number, draws)
        assert item["image"].dtype == np.float32
        np.testing.assert_array_equal(item["image"], paddles[f"{key}/img"])
        np.testing.assert_array_equal(item["label"], paddles[f"{key}/label"])
        assert ("edge" in item) == (f"{key}/edge" in paddles)
        if "edge" in item:
            np.testing.assert_array_equal(item["edge"], paddles[f"{key}/edge"].reshape(item["edge"].shape))
    assert f"sets/{name}/{len(data.samples)}/img" not in paddles
    np.testing.assert_array_equal([draws.python.random(), draws.numpy.rand()], paddles[f"sets/{name}/after"])


def test_data_takes_the_place_of_the_folder_that_the_config_names(sets: Path) -> None:
    section = cases.section("lists", Path("elsewhere"))
    data = open_data(node_of(section), sets / "lists")
    assert [sample.image.parent for sample in data.samples] == [sets / "lists/images"] * 3


def changed(sets: Path, tmp_path: Path, name: str = "lists") -> dict[str, Any]:
    shutil.copytree(sets / name, tmp_path / name)
    return cases.section(name, tmp_path)


def test_all_missing_files_are_listed(sets: Path, tmp_path: Path) -> None:
    section = changed(sets, tmp_path)
    (tmp_path / "lists/images/0.png").unlink()
    (tmp_path / "lists/labels/2.png").unlink()
    with pytest.raises(InputError, match="2 files of the data set are missing") as error:
        open_data(node_of(section))
    assert "images/0.png" in str(error.value)
    assert "labels/2.png" in str(error.value)


def test_all_unknown_classes_are_listed() -> None:
    steps = [{"type": "Resise"}, {"type": "Normalize"}, {"type": "Croop"}]
    with pytest.raises(UsageError) as error:
        open_data(node_of({"type": "KITTI", "transforms": steps}))
    assert [name in str(error.value) for name in ("KITTI", "Resise", "Croop", "Normalize")] == [True] * 3 + [False]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": "val"}, "'val' is none to train with"),
        ({"train_path": None}, "train_path"),
        ({"train_path": "no.txt"}, "no.txt: no such list"),
        ({"dataset_root": "nowhere"}, "nowhere: no such folder"),
        ({"dataset_root": None}, "has no dataset_root"),
        ({"num_classes": 0}, "0 classes are too few"),
        ({"img_channels": 4}, "expected 1 or 3, found 4"),
        ({"transforms": [3]}, "expected `key: value` pairs"),
        ({"transforms": [{"prob": 1}]}, "a transform without a type"),
        ({"sepparator": " "}, "'sepparator' is not known here"),
    ],
)
def test_a_section_that_cannot_be_is_said(changes: dict[str, Any], said: str, sets: Path) -> None:
    with pytest.raises(Error) as error:
        open_data(node_of(cases.section("lists", sets) | changes))
    assert said in str(error.value)


def item_of(section: dict[str, Any]) -> None:
    data = open_data(node_of(section))
    draws = Draws.seeded(0)
    data.begin(draws)
    data.item(0, draws)


def test_labels_that_are_no_class_are_said_with_their_file(sets: Path, tmp_path: Path) -> None:
    section = changed(sets, tmp_path)
    label = np.asarray(Image.open(tmp_path / "lists/labels/0.png")).copy()
    label[:2, :2] = [[4, 77], [254, 255]]
    Image.fromarray(label).save(tmp_path / "lists/labels/0.png")
    with pytest.raises(InputError, match=r"labels/0\.png: has the labels 4, 77, 254, but .* classes 0 to 3 and 255 is"):
        item_of(section)


@pytest.mark.parametrize("name", ["images/0.png", "labels/0.png"])
def test_an_image_that_cannot_be_read_is_named(name: str, sets: Path, tmp_path: Path) -> None:
    section = changed(sets, tmp_path)
    (tmp_path / "lists" / name).write_bytes((tmp_path / "lists" / name).read_bytes()[:60])
    with pytest.raises(InputError, match=rf"{name}: cannot be read as an image"):
        item_of(section)


def test_a_label_of_another_size_than_its_image_is_said(sets: Path, tmp_path: Path) -> None:
    section = changed(sets, tmp_path) | {"transforms": [{"type": "Normalize"}]}
    Image.fromarray(cases.label(0, 9, 9)).save(tmp_path / "lists/labels/0.png")
    with pytest.raises(InputError, match=r"labels/0\.png: is 9x9 after the transforms, its image .* is 60x45"):
        item_of(section)


def test_segments_of_another_file_are_refused(sets: Path, tmp_path: Path) -> None:
    section = changed(sets, tmp_path, "pssl")
    path = tmp_path / "pssl/segments/train/n00/n00_1.JPEG_eiseg.npz"
    path.write_bytes(b"none")
    with pytest.raises(InputError, match=r"n00_1\.JPEG_eiseg\.npz: is no archive"):
        item_of(section)
