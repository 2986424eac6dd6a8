"""Prediction: PaddleSeg's own pictures, pixel for pixel, and every bad image."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ppls
from ppls.cli.predict import predict as command
from ppls.inference.devices import in_use
from ppls.inference.inference import Inference
from ppls.inference.palettes import PALETTES, palette
from ppls.inference.prediction import Prediction, find_images
from ppls.inference.preprocessing import Preprocessing
from tests.inference.conftest import Command, json_of, labels_of


class Brightest(nn.Module):
    """Three classes: which of red, green and blue is the largest. Fails beyond `limit` pixels as torch does."""

    def __init__(self, limit: int = 10**9) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        if image.shape[-2] * image.shape[-1] > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return [image]


class Eightfold(Brightest):
    """Its logits have sides of so many times eight, as DMNet's have."""

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        height, width = (-(-side // 8) * 8 for side in image.shape[-2:])
        return [nn.functional.interpolate(image, (height, width), mode="nearest")]


def picture(path: Path, height: int = 8, width: int = 12) -> Path:
    rng = np.random.default_rng(len(path.name))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return path


def test_both_pictures_equal_paddlesegs_pixel_for_pixel(
    training_run: Path, converted_run: Path, tmp_path: Path, run_command: Command
) -> None:
    image = training_run / "data/images/val000.png"
    printed = json_of(
        run_command(command, converted_run, image, "-o", tmp_path, "--config", training_run / "config.yml", "--json")
    )
    golden = training_run / "golden"
    coloured, blended = map(Path, printed["predictions"][0]["files"])
    assert np.array_equal(labels_of(coloured), labels_of(golden / "pseudo_color_prediction/val000.png"))
    for ours, name in ((coloured, "pseudo_color_prediction"), (blended, "added_prediction")):
        with Image.open(ours) as mine, Image.open(golden / name / "val000.png") as theirs:
            assert np.array_equal(np.asarray(mine.convert("RGB")), np.asarray(theirs.convert("RGB")))


def test_a_checkpoint_and_a_photo_are_enough(training_run: Path, tmp_path: Path, run_command: Command) -> None:
    image = training_run / "data/images/val000.png"
    result = run_command(command, training_run / "model.pdparams", image, "-o", tmp_path)
    assert result.exit_code == 0
    golden = labels_of(training_run / "golden/pseudo_color_prediction/val000.png")
    assert np.array_equal(labels_of(tmp_path / "pseudo_color_prediction/val000.png"), golden)


def test_batches_give_what_single_images_give(training_run: Path, converted_run: Path) -> None:
    images = sorted((training_run / "data/images").glob("val*.png"))[:5]
    single = ppls.predict(converted_run, images)
    batched = ppls.predict(converted_run, images, batch_size=4)
    different = sum(int((a.labels != b.labels).sum()) for a, b in zip(single, batched, strict=True))
    assert different <= 2  # pixels on an edge between classes


def test_batches_hold_images_of_one_size_only(tmp_path: Path) -> None:
    sizes = [(8, 8), (8, 8), (8, 8), (4, 6), (8, 8)]
    images = [picture(tmp_path / f"{i}.png", *size) for i, size in enumerate(sizes)]
    predictions = ppls.predict(Brightest(), images, batch_size=2)
    assert [p.labels.shape for p in predictions] == sizes
    assert [p.image for p in predictions] == images


def test_an_image_that_was_resized_is_predicted_at_its_own_size(tmp_path: Path, run_command: Command) -> None:
    image = picture(tmp_path / "a.png", 10, 14)
    prediction = ppls.predict(Brightest(), image, preprocessing=Preprocessing.from_options(resize=(20, 28)))
    assert prediction[0].labels.shape == (10, 14)


def test_folders_keep_their_folders_within(tmp_path: Path) -> None:
    picture(tmp_path / "in/one/a.png")
    picture(tmp_path / "in/two/a.jpg")
    (tmp_path / "in/notes.txt").write_text("not an image, and not taken for one")
    ppls.predict(Brightest(), tmp_path / "in", tmp_path / "out")
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert written == [
        "added_prediction/one/a.png",
        "added_prediction/two/a.jpg",
        "pseudo_color_prediction/one/a.png",
        "pseudo_color_prediction/two/a.png",
    ]


def test_two_images_for_one_file_are_refused(tmp_path: Path) -> None:
    images = [picture(tmp_path / "one/a.png"), picture(tmp_path / "two/a.jpg")]
    with pytest.raises(ppls.InputError, match="would be written to the same file"):
        ppls.predict(Brightest(), images)


def test_more_than_256_classes_are_labelled_in_16_bits(tmp_path: Path) -> None:
    class Last(nn.Module):
        def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
            logits = image.new_zeros(1, 1001, *image.shape[-2:])
            logits[:, 1000] = 1
            return [logits]

    (prediction,) = ppls.predict(Last(), picture(tmp_path / "a.png"), tmp_path / "out")
    assert prediction.labels.dtype == np.uint16
    with Image.open(tmp_path / "out/label_map/a.png") as image:
        assert (np.asarray(image) == 1000).all()


@pytest.mark.parametrize("folder", ["pseudo_color_prediction", "added_prediction"])
def test_pictures_that_exist_are_kept_unless_forced(tmp_path: Path, folder: str) -> None:
    class Unused(nn.Module):
        def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
            raise AssertionError("something was computed")

    images = [picture(tmp_path / "a.png"), picture(tmp_path / "b.png")]
    there = tmp_path / "out" / folder / "b.png"
    there.parent.mkdir(parents=True)
    there.write_text("mine")
    there.chmod(0o600)
    with pytest.raises(ppls.ConversionError, match=r"b\.png: exists already; give --force"):
        ppls.predict(Unused(), images, tmp_path / "out")
    assert there.read_text() == "mine"
    ppls.predict(Brightest(), images, tmp_path / "out", force=True)
    with Image.open(there) as image:
        assert image.size == (12, 8)
    assert there.stat().st_mode & 0o777 == 0o600
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 4


def test_an_image_is_not_replaced_by_its_own_picture(tmp_path: Path) -> None:
    for folder in ("pseudo_color_prediction", "added_prediction", "label_map"):
        image = picture(tmp_path / folder / "a.png")
        before = image.read_bytes()
        with pytest.raises(ppls.ConversionError, match="is the image itself"):
            ppls.predict(Brightest(), image, tmp_path, force=True)
        assert image.read_bytes() == before


def test_a_bad_image_is_named_and_the_others_are_done(
    converted_run: Path, training_run: Path, tmp_path: Path, run_command: Command
) -> None:
    (tmp_path / "bad.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    good = training_run / "data/images/val001.png"
    images = [tmp_path / "bad.png", tmp_path / "empty.png", tmp_path / "missing.png", good]
    result = run_command(command, converted_run, *images, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.count("error: ") == 3
    assert "missing.png: no such image or folder" in result.stderr
    assert (tmp_path / "out/pseudo_color_prediction/val001.png").exists()


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ppls.InputError, match="the folder holds no images"):
        ppls.predict(Brightest(), tmp_path)


def test_a_device_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    for device in ("cuda:63", "gpu", "meta"):
        with pytest.raises(ppls.UsageError, match=f"--device {device}: .*there are cpu"):
            ppls.predict(Brightest(), image, device=device)


def test_a_palette_too_small_for_the_model_is_refused(converted_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ppls.UsageError, match=r"unknown palette 'mars'; known are paddleseg, voc"):
        ppls.predict(Brightest(), picture(tmp_path / "a.png"), palette="mars")
    with pytest.raises(ppls.UsageError, match="--palette camvid has 11 colours, the model has 12 classes"):
        palette("camvid", 12)


def test_palettes_have_the_colours_of_their_data_sets() -> None:
    assert palette("cityscapes", 19)[13].tolist() == [0, 0, 142]  # car
    assert palette("camvid", 11)[8].tolist() == [64, 0, 128]  # car
    assert palette("voc", 21)[15].tolist() == [192, 128, 128]  # person
    assert palette("ade20k", 150)[149].tolist() == [92, 0, 255]  # flag
    for name in PALETTES:
        colours = palette(name, 11)
        assert len({tuple(colour) for colour in colours.tolist()}) == 11


def test_memory_that_does_not_suffice_is_said_with_a_size_that_fits(tmp_path: Path) -> None:
    image = picture(tmp_path / "large.png", 256, 512)
    with pytest.raises(ppls.Error, match=r"256x512 \(.*\) does not fit .* 256x256 fits: give --tile 256x256"):
        ppls.predict(Brightest(limit=256 * 256), image)
    (whole,) = ppls.predict(Brightest(), image)
    (tiled,) = ppls.predict(Brightest(limit=256 * 256), image, inference=Inference(window=(256, 256)))
    assert np.array_equal(whole.labels, tiled.labels)


def test_a_window_that_does_not_fit_is_said_too(tmp_path: Path) -> None:
    image = picture(tmp_path / "large.png", 256, 512)
    with pytest.raises(ppls.Error, match=r"--tile 256x256 does not fit .* not even a small part of it fits"):
        ppls.predict(Brightest(limit=100), image, inference=Inference(window=(256, 256)))


def test_preprocessing_is_given_once(
    converted_run: Path, training_run: Path, tmp_path: Path, run_command: Command
) -> None:
    config = training_run / "config.yml"
    result = run_command(command, converted_run, tmp_path, "-o", tmp_path, "--config", config, "--mean", "0.5")
    assert result.exit_code == 2
    assert "--config has the preprocessing" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scales", "0.5,a"], "is not a list of numbers"),
        (["--scales", "0.5,-1"], "scales are numbers above 0"),
        (["--tile", "512"], "is not HEIGHTxWIDTH"),
        (["--stride", "4x4"], "give --tile too"),
        (["--tile", "4x4", "--stride", "4x5"], "gaps are left"),
    ],
)
def test_wrong_usage_ends_with_status_2(arguments: list[str], said: str, tmp_path: Path, run_command: Command) -> None:
    result = run_command(command, tmp_path / "m.safetensors", tmp_path, "-o", tmp_path, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_backbone_alone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppls.inference.devices.load", lambda path, device: Brightest())
    with pytest.raises(ppls.UsageError, match=r"stdc\.pdparams: is a backbone alone"):
        ppls.predict(tmp_path / "stdc.pdparams", picture(tmp_path / "a.png"))


def test_an_image_of_too_many_pixels_is_named_and_the_others_are_done(
    converted_run: Path, training_run: Path, tmp_path: Path, run_command: Command
) -> None:
    small, large = picture(tmp_path / "small.png"), training_run / "data/images/val000.png"
    arguments = (converted_run, small, large, "-o", tmp_path / "out", "--config", training_run / "config.yml")
    result = run_command(command, *arguments, "--max-pixels", 96)
    assert result.exit_code == 1
    assert "more than the limit of 96; --max-pixels raises it" in result.stderr
    assert (tmp_path / "out/pseudo_color_prediction/small.png").exists()
    assert not (tmp_path / "out/pseudo_color_prediction/val000.png").exists()


def test_names_with_line_breaks_are_shown_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a\nerror: b\x1b[2J.png").write_text("not an image")
    with pytest.raises(ppls.InputError, match=r"a\\nerror: b\\x1b\[2J\.png: cannot be read as an image") as raised:
        ppls.predict(Brightest(), tmp_path)
    assert str(raised.value).isprintable()


def test_folders_are_searched_without_circles_and_none_is_passed_over(
    tmp_path: Path, closed: Callable[[str], None]
) -> None:
    image = picture(tmp_path / "in/a.png")
    (tmp_path / "in/circle").symlink_to(tmp_path / "in")
    (tmp_path / "in/dangling.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "in/pipe.png")
    assert find_images([tmp_path / "in"]) == [image]
    (tmp_path / "in/closed").mkdir()
    closed("closed")
    with pytest.raises(ppls.InputError, match="closed: cannot be searched: Permission denied"):
        find_images([tmp_path / "in"])


def test_what_no_image_can_be_is_one_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for source, said in (
        ("a\0b.png", "no such image or folder"),
        ("x" * 300, "no such image or folder"),
        (tmp_path / "pipe.png", "cannot be read as an image: a pipe"),
        (tmp_path / "loop.png", "cannot be read as an image: Too many levels"),
    ):
        with pytest.raises(ppls.InputError, match=said):
            ppls.predict(Brightest(), source)


@pytest.mark.parametrize("within", [".", "out", "deep/out"])
def test_what_an_earlier_run_wrote_into_the_folder_of_images_is_not_predicted(within: str, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "sub" / "b.png")
    for _ in range(2):
        found = ppls.predict(Brightest(), tmp_path / "in", tmp_path / "in" / within, force=True)
        assert [prediction.image.name for prediction in found] == ["a.png", "b.png"]
    (tmp_path / "link").symlink_to(tmp_path / "in")
    assert len(ppls.predict(Brightest(), tmp_path / "link", tmp_path / "in" / within, force=True)) == 2
    # pictures that are asked for are images as others are
    assert ppls.predict(Brightest(), tmp_path / "in" / within / "added_prediction", tmp_path / "other")


def test_each_line_of_an_error_of_several_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ppls.cli.progress import progress_bar

    with progress_bar("predicting") as progress:
        progress.say(f"error: {ppls.InputError('two', ['first', 'second'])}")
    assert capsys.readouterr().err.splitlines() == ["error: two", "  first", "  second"]


def test_predictions_that_are_taken_one_by_one_are_not_kept(tmp_path: Path) -> None:
    images = [picture(tmp_path / f"{i}.png") for i in range(3)]
    taken: list[Path] = []
    alive: list[int] = []
    gone = []

    def take(prediction: Prediction) -> None:
        taken.append(prediction.image)
        gone.append(weakref.ref(prediction.labels))
        alive.append(sum(labels() is not None for labels in gone))

    assert ppls.predict(Brightest(), images, tmp_path / "out", on_prediction=take) == []
    assert taken == images
    assert max(alive) <= 2  # that of this image, and of the one before


def test_a_paddle_file_is_converted_with_what_is_given(small_checkpoint: Path, tmp_path: Path) -> None:
    given = {"overrides": {"resize_mode": "nearest"}, "architecture": "PPLiteSeg"}
    with in_use(small_checkpoint, torch.device("cpu"), None, given) as model:
        assert "nearest" in str(model.provenance["config"])
    ppls.convert(small_checkpoint, tmp_path / "m.safetensors")
    with pytest.raises(ppls.UsageError, match="is converted already; no architecture can be given"):
        ppls.predict(tmp_path / "m.safetensors", picture(tmp_path / "a.png"), conversion=given)


@pytest.mark.parametrize("inference", [Inference(), Inference(window=(10, 12)), Inference(flip=True)])
def test_logits_larger_than_the_image_are_those_of_the_image_within_them(inference: Inference) -> None:
    image = torch.rand(1, 3, 13, 21)
    assert torch.equal(inference(Eightfold(), image).float(), image)
