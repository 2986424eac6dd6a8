"""Readers of data sets: each layout, and every fault of a list named with its line."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ppls
from ppls.inference.datasets import LAYOUTS, read_label, read_samples


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def pairs(root: Path, samples: Sequence[ppls.Sample]) -> list[tuple[str, str]]:
    return [(str(s.image.relative_to(root)), str(s.label.relative_to(root))) for s in samples]


def test_a_list_has_an_image_and_a_label_on_each_line(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png", "b.jpg", "b.png")
    data = write(tmp_path / "val.txt", "a.jpg a.png", "", "b.jpg b.png")
    samples = read_samples(tmp_path, data)
    assert pairs(tmp_path, samples) == [("a.jpg", "a.png"), ("b.jpg", "b.png")]
    assert samples[1].listed == f"{data}, line 3"


def test_another_separator_allows_names_with_spaces(tmp_path: Path) -> None:
    touch(tmp_path, "a b.jpg", "a b.png")
    samples = read_samples(tmp_path, write(tmp_path / "val.txt", "a b.jpg,a b.png"), separator=",")
    assert pairs(tmp_path, samples) == [("a b.jpg", "a b.png")]


def test_cityscapes_takes_train_ids_and_otherwise_ids(tmp_path: Path) -> None:
    touch(tmp_path, *(f"leftImg8bit/val/bonn/bonn_{i}_leftImg8bit.png" for i in range(2)))
    touch(tmp_path, "gtFine/val/bonn/bonn_0_gtFine_labelTrainIds.png", "gtFine/val/bonn/bonn_0_gtFine_labelIds.png")
    touch(tmp_path, "gtFine/val/bonn/bonn_1_gtFine_labelIds.png")
    assert [s.label.name for s in read_samples(tmp_path, layout="cityscapes")] == [
        "bonn_0_gtFine_labelTrainIds.png",
        "bonn_1_gtFine_labelIds.png",
    ]


def test_ids_of_cityscapes_become_train_ids(tmp_path: Path) -> None:
    path = tmp_path / "a_gtFine_labelIds.png"
    Image.fromarray(np.array([[7, 8, 33, 0, 16]], np.uint8)).save(path)
    assert read_label(path).tolist() == [[0, 1, 18, 255, 255]]


def test_camvid_is_read_by_its_folders(tmp_path: Path) -> None:
    touch(tmp_path, "test/1.png", "testannot/1.png", "val/2.png", "valannot/2.png")
    samples = read_samples(tmp_path, layout="camvid", split="test")
    assert pairs(tmp_path, samples) == [("test/1.png", "testannot/1.png")]


def test_camvids_list_may_begin_at_another_root(tmp_path: Path) -> None:
    touch(tmp_path, "val/2.png", "valannot/2.png")
    write(tmp_path / "val.txt", "/SegNet/CamVid/val/2.png /SegNet/CamVid/valannot/2.png")
    assert pairs(tmp_path, read_samples(tmp_path, layout="camvid")) == [("val/2.png", "valannot/2.png")]


@pytest.mark.parametrize("place", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_voc_is_found_wherever_its_root_is(place: str, tmp_path: Path) -> None:
    folder = tmp_path / place
    touch(folder, "JPEGImages/1.jpg", "SegmentationClass/1.png", "SegmentationClassAug/1.png")
    write(folder / "ImageSets/Segmentation/val.txt", "1")
    assert pairs(folder, read_samples(tmp_path, layout="voc")) == [("JPEGImages/1.jpg", "SegmentationClass/1.png")]
    assert pairs(folder, read_samples(tmp_path, layout="sbd")) == [("JPEGImages/1.jpg", "SegmentationClassAug/1.png")]


def test_sbds_own_layout_has_matlab_labels(tmp_path: Path) -> None:
    io = pytest.importorskip("scipy.io")
    folder = tmp_path / "benchmark_RELEASE/dataset"
    touch(folder, "img/1.jpg", "cls/1.mat")
    write(folder / "val.txt", "1")
    (sample,) = read_samples(tmp_path, layout="sbd")
    label = np.array([[0, 15], [255, 2]], np.uint8)
    io.savemat(sample.label, {"GTcls": {"Segmentation": label}})
    assert read_label(sample.label).tolist() == label.tolist()
    sample.label.write_text("not matlab's")
    with pytest.raises(ppls.InputError, match="is no label map of SBD"):
        read_label(sample.label)


def test_files_that_do_not_exist_are_all_named_with_their_line(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png", "b.jpg")
    data = write(tmp_path / "val.txt", "a.jpg a.png", "b.jpg b.png", "c.jpg c.png")
    with pytest.raises(ppls.InputError) as raised:
        read_samples(tmp_path, data)
    for said in (
        "3 files of the data set are missing",
        "val.txt, line 2: ",
        "b.png does not",
        "line 3",
        "c.jpg",
        "c.png",
    ):
        assert said in str(raised.value)
    assert "line 1" not in str(raised.value)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "is empty; a list has an image and its label"),
        (["a.jpg"], "line 1: expected an image and its label with ' ' between them, got 'a.jpg'"),
        (["a.jpg  a.png"], "line 1: expected"),
    ],
)
def test_a_list_that_is_none_is_refused(lines: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ppls.InputError, match=said):
        read_samples(tmp_path, write(tmp_path / "val.txt", *lines))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ppls.InputError, match="no such list"):
        read_samples(tmp_path, tmp_path / "none.txt")
    with pytest.raises(ppls.InputError, match="no such folder"):
        read_samples(tmp_path / "none", tmp_path / "none.txt")
    with pytest.raises(ppls.UsageError, match="--data LIST"):
        read_samples(tmp_path)
    with pytest.raises(ppls.UsageError, match="unknown layout 'coco'; known are list, cityscapes"):
        read_samples(tmp_path, layout="coco")
    for layout in LAYOUTS[1:3]:
        with pytest.raises(ppls.InputError, match="lists no samples"):
            read_samples(tmp_path, layout=layout)
    with pytest.raises(ppls.InputError, match="has no JPEGImages"):
        read_samples(tmp_path, layout="voc")


def test_a_colour_image_is_no_label_map(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "label.png")
    with pytest.raises(ppls.InputError, match="is a RGB image"):
        read_label(tmp_path / "label.png")


def test_labels_keep_the_values_of_their_palette_and_of_16_bits(tmp_path: Path) -> None:
    indexed = Image.fromarray(np.array([[0, 1, 255]], np.uint8))
    indexed.putpalette([9] * 768)
    indexed.save(tmp_path / "indexed.png")
    Image.fromarray(np.array([[0, 1000]], np.uint16)).save(tmp_path / "deep.png")
    assert read_label(tmp_path / "indexed.png").tolist() == [[0, 1, 255]]
    assert read_label(tmp_path / "deep.png").tolist() == [[0, 1000]]


def test_names_that_are_too_long_or_no_files_are_missing_with_the_reason(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    names = ("x" * 5000, "pipe.png", ".", "loop.png", "a.png/b.png")
    with pytest.raises(ppls.InputError) as raised:
        read_samples(tmp_path, write(tmp_path / "val.txt", *(f"{name} a.png" for name in names)))
    first, *lines = str(raised.value).split("\n")
    assert first == "5 files of the data set are missing:"
    for line, said in zip(
        lines, ("name too long", "a pipe, not", "a folder, not", "symbolic links", "not exist"), strict=True
    ):
        assert said in line
        assert len(line) < 1200


def test_a_list_of_nothing_but_missing_files_names_twenty(tmp_path: Path) -> None:
    with pytest.raises(ppls.InputError) as raised:
        read_samples(tmp_path, write(tmp_path / "val.txt", *(["a b"] * 5000)))
    lines = str(raised.value).split("\n")
    assert lines[0] == "10,000 files of the data set are missing:"
    assert len(lines) == 22
    assert lines[-1].strip() == "and 9,980 more"
    touch(tmp_path, "a")
    with pytest.raises(ppls.InputError, match=r"^1 file of the data set is missing:"):
        read_samples(tmp_path, write(tmp_path / "val.txt", "a b"))


@pytest.mark.parametrize("line", ["x" * 5000, "a.jpg\ta.png", "a.jpg a.png b.png", '"a b.jpg" a.png', "\x1b]0;x\x07"])
def test_a_line_that_is_none_is_shown_cut_and_escaped(line: str, tmp_path: Path) -> None:
    with pytest.raises(
        ppls.InputError, match="line 1: expected an image and its label with ' ' between them"
    ) as raised:
        read_samples(tmp_path, write(tmp_path / "val.txt", line))
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600


def test_names_may_be_absolute_lead_upwards_and_be_no_utf_8(tmp_path: Path) -> None:
    root = tmp_path / "root"
    strange = os.fsdecode(b"\xff\xfe.png")
    touch(root, "a.png")
    touch(tmp_path, "b.png", strange)
    (tmp_path / "val.txt").write_bytes(os.fsencode(f"{root}/a.png ../b.png\n../{strange} a.png\n"))
    samples = read_samples(root, tmp_path / "val.txt")
    assert [sample.image for sample in samples] == [root / "a.png", root / ".." / strange]


def test_without_a_separator_nothing_is_between_them(tmp_path: Path) -> None:
    with pytest.raises(ppls.UsageError, match="--separator ''"):
        read_samples(tmp_path, write(tmp_path / "val.txt", "a b"), separator="")


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_a_split_of_any_name_is_one_error(layout: str, tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    for split in ("\0", "x" * 300, "../../nowhere", ""):
        with pytest.raises(ppls.InputError):
            read_samples(tmp_path, layout=layout, split=split)
    with pytest.raises(ppls.InputError, match="no such folder"):
        read_samples(tmp_path / ("x" * 300), layout=layout)


def test_a_folder_of_images_that_cannot_be_read_is_not_passed_over(
    tmp_path: Path, closed: Callable[[str], None]
) -> None:
    touch(tmp_path, "leftImg8bit/val/bonn/bonn_0_leftImg8bit.png", "gtFine/val/bonn/bonn_0_gtFine_labelIds.png")
    closed("bonn")
    with pytest.raises(ppls.InputError, match="bonn: cannot be searched: Permission denied"):
        read_samples(tmp_path, layout="cityscapes")


def test_a_label_map_is_bounded_too(tmp_path: Path) -> None:
    Image.new("L", (100, 50)).save(tmp_path / "label.png")
    assert read_label(tmp_path / "label.png", max_pixels=5000).shape == (50, 100)
    with pytest.raises(ppls.InputError, match="is 100x50 pixels, more than the limit of 4,999; --max-pixels raises it"):
        read_label(tmp_path / "label.png", max_pixels=4999)
