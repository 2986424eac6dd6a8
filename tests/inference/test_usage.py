"""Preprocessing, class names and palette travel with the weights, are used unasked, and whoever said them is named."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ppls
from ppls.checkpoint.converted_file import write_converted_file
from ppls.cli.convert import convert
from ppls.cli.evaluate import evaluate
from ppls.cli.predict import predict
from ppls.images import read_rgb
from ppls.images.label_sets import label_sets
from ppls.images.transforms import Transforms
from ppls.images.usage import Usage
from ppls.inference.palettes import palette
from tests.inference.conftest import Command, json_of
from tests.inference.toy import toy_checkpoint
from tests.material import SMALL_RUN

RUN = """
model: {type: PPLiteSeg, arm_out_chs: [4, 4, 8], seg_head_inter_chs: [4, 4, 4], cm_out_ch: 8}
val_dataset:
  type: DATASET
  transforms:
    - {type: Resize, target_size: [96, 64]}
    - {type: Normalize, mean: [0.4, 0.5, 0.6], std: [0.2, 0.2, 0.3]}
"""
NORMALIZE = {"type": "Normalize"}
STEPS = [
    {"type": "Resize", "target_size": [96, 64], "keep_ratio": False, "interp": "LINEAR"},
    {"type": "Normalize", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.3]},
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_checkpoint(tmp_path_factory.mktemp("toy") / "model.pdparams", 19)


@pytest.fixture(scope="module")
def run(source: Path) -> Path:
    path = source.with_name("run.yml")
    path.write_text(RUN.replace("DATASET", "Cityscapes"))
    return path


@pytest.fixture(scope="module")
def converted(source: Path, run: Path) -> Path:
    path = source.with_name("model.safetensors")
    ppls.convert(source, path, config=run)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


Rewrite = Callable[..., Path]


@pytest.fixture
def rewritten(converted: Path, tmp_path: Path) -> Rewrite:
    """The converted file with other metadata; what is None is left out."""

    def rewrite(**changed: str | None) -> Path:
        file = ppls.read(converted)
        metadata = {k: v for k, v in {**file.metadata, **changed}.items() if v is not None}
        write_converted_file(tmp_path / "other.safetensors", file.tensors, metadata, force=True)
        return tmp_path / "other.safetensors"

    return rewrite


def test_a_runs_config_says_all_three(converted: Path) -> None:
    metadata = ppls.read(converted).metadata
    assert json.loads(metadata["preprocessing"]) == STEPS
    assert json.loads(metadata["classes"])[:3] == ["road", "sidewalk", "building"]
    assert json.loads(metadata["palette"])[13] == "#00008e"  # car


def test_what_is_recorded_gives_the_same_bytes_each_time(source: Path, run: Path, converted: Path) -> None:
    again = source.with_name("again.safetensors")
    ppls.convert(source, again, config=run)
    assert again.read_bytes() == converted.read_bytes()


def test_an_exports_deploy_yaml_says_the_preprocessing(shared: Path) -> None:
    usage = ppls.convert(shared / "paddleseg_run" / "export").usage
    assert usage == Usage(Transforms([{"type": "Normalize"}]))


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_deploy_yaml_in_an_archive_says_the_preprocessing_too(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"export{suffix}"
    with tarfile.open(path, "w:gz" if suffix.endswith("gz") else "w") as archive:
        archive.add(SMALL_RUN / "export", "export")
    assert ppls.convert(path).usage == ppls.convert(SMALL_RUN / "export").usage == Usage(Transforms([NORMALIZE]))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "export.tar, member 'deploy.yaml':"),
        ("- a", "export.tar, member 'deploy.yaml': not a config"),
        ("_base_: /etc/passwd", "is based on other files, which are not looked for in an archive"),
        (f"a: {'b' * (1 << 20)}", "no config is longer than 1 MiB"),
    ],
)
def test_a_bad_deploy_yaml_in_an_archive_is_warned_of_and_the_weights_are_converted(
    tmp_path: Path, text: str, why: str
) -> None:
    (tmp_path / "deploy.yaml").write_text(text)
    with tarfile.open(tmp_path / "export.tar", "w") as archive:
        for path in (tmp_path / "deploy.yaml", *(SMALL_RUN / "export").glob("model.*")):
            archive.add(path, path.name)
    conversion = ppls.convert(tmp_path / "export.tar")
    assert any(why in warning and "records no preprocessing" in warning for warning in conversion.warnings)
    assert conversion.usage is None or conversion.usage.preprocessing is None


def test_where_nobody_said_anything_nothing_is_recorded(source: Path) -> None:
    result = ppls.convert(source)
    assert result.usage is None
    assert not {"preprocessing", "classes", "palette"} & result.metadata.keys()
    assert result.to_json()["usage"] is None


def test_published_sets_are_recorded_by_name(tmp_path: Path) -> None:
    camvid = ppls.convert(toy_checkpoint(tmp_path / "x.pdparams", 11), classes="CamVid").usage
    assert camvid is not None
    assert camvid.classes is not None
    assert camvid.classes[8] == "car"
    assert camvid.palette is not None
    assert camvid.palette[8] == "#400080"
    assert camvid.preprocessing is None


def test_a_file_has_a_name_on_each_line_and_wins_over_a_set_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = toy_checkpoint(tmp_path / "x.pdparams", 2)
    monkeypatch.chdir(tmp_path)
    Path("voc").write_bytes("\ufeffback ground\r\nKatze \u732b\r\n".encode())
    usage = ppls.convert(source, classes="voc").usage
    assert usage == Usage(None, ("back ground", "Katze \u732b"), None)
    Path("voc").unlink()
    Path("voc").mkdir()  # the data set itself
    with pytest.raises(ppls.UsageError, match="--classes voc: are 21 classes, the model has 2"):
        ppls.convert(source, classes="voc")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"a\n\nb\n", "line 2: '' is no name"),
        (b"x" * 201, "line 1: .* is no name, of 1 to 200 characters"),
        (b"\xff\xfe", ".* codec can't decode"),
        (b"a\n" * 70_000, "it has 70,000 lines, 65,536 at most"),
        (b"a" * (2 << 20), "it is larger than 1 MiB"),
    ],
    ids=["empty", "gap", "long", "binary", "many", "large"],
)
def test_a_bad_list_of_classes_is_refused(source: Path, tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(ppls.InputError, match=rf"names.txt: is no list of classes, a name on each line: {why}"):
        ppls.convert(source, classes=tmp_path / "names.txt")


def test_classes_that_are_not_the_models_are_refused_where_given_and_named_where_not(
    source: Path, tmp_path: Path, run: Path
) -> None:
    with pytest.raises(ppls.UsageError, match="--classes camvid: are 11 classes, the model has 19"):
        ppls.convert(source, classes="camvid")
    with pytest.raises(ppls.InputError, match=r"mars: no such list of classes; .* cityscapes, camvid, voc, ade20k"):
        ppls.convert(source, classes="mars")
    other = toy_checkpoint(tmp_path / "x.pdparams", 3)
    result = ppls.convert(other, config=run)
    assert result.warnings == ["Cityscapes has 19 classes, the model 3; no names are recorded"]
    assert result.usage is not None
    assert result.usage.classes is None


def test_a_transform_that_is_none_for_evaluation_is_warned_of_and_not_recorded(source: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yml").write_text(RUN.replace("Normalize", "RandomDistort").replace("DATASET", "Cityscapes"))
    result = ppls.convert(source, config=tmp_path / "run.yml")
    assert len(result.warnings) == 1
    assert "run.yml:7: transforms: 'RandomDistort' is no transform for evaluation" in result.warnings[0]
    assert result.warnings[0].endswith("the converted file records no preprocessing")
    assert result.usage is not None
    assert result.usage.preprocessing is None
    assert result.usage.classes is not None


def test_predict_uses_what_the_file_says_and_says_so(
    converted: Path, photo: Path, tmp_path: Path, run_command: Command
) -> None:
    done = run_command(predict, converted, photo, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert "preprocessing from the model's file: Resize(target_size [96, 64]" in done.stderr
    assert "colours from the model's file" in done.stderr
    with Image.open(tmp_path / "out/pseudo_color_prediction/photo.png") as found:
        assert found.getpalette()[: 19 * 3] == palette("cityscapes", 19).ravel().tolist()
        labels = np.asarray(found)
    asked = ppls.predict(ppls.load(converted), photo, preprocessing=Transforms(STEPS))[0]
    other = ppls.predict(ppls.load(converted), photo, preprocessing=Transforms())[0]
    assert np.array_equal(labels, asked.labels)
    assert not np.array_equal(labels, other.labels)  # or this test could not fail


def test_an_explicit_option_wins_and_is_said(
    converted: Path, photo: Path, tmp_path: Path, run_command: Command
) -> None:
    done = run_command(predict, converted, photo, "-o", tmp_path / "out", "--mean", "0.3", "--palette", "voc")
    assert (
        "preprocessing from --mean, --std, --resize: Normalize(mean [0.3], std [0.5]), in place of the" in done.stderr
    )
    assert "colours of the palette voc, in place of the model's own" in done.stderr
    config = tmp_path / "run.yml"
    config.write_text("val_dataset: {transforms: [{type: Normalize}]}")
    done = run_command(predict, converted, photo, "-o", tmp_path / "out2", "--config", config)
    assert f"preprocessing from {config}: Normalize(mean [0.5], std [0.5]), in place of the model's own" in done.stderr


def test_what_nobody_said_is_assumed_and_said(source: Path, photo: Path, tmp_path: Path, run_command: Command) -> None:
    done = run_command(predict, source, photo, "-o", tmp_path / "out")
    assert "preprocessing assumed: Normalize(mean [0.5], std [0.5]), PaddleSeg's default; nobody said" in done.stderr
    with pytest.warns(UserWarning, match="preprocessing assumed"):
        ppls.predict(source, photo)


def test_eval_names_the_classes(
    converted: Path, rewritten: Rewrite, photo: Path, tmp_path: Path, run_command: Command
) -> None:
    Image.fromarray(np.zeros((40, 70), np.uint8)).save(tmp_path / "label.png")
    (tmp_path / "list.txt").write_text("photo.png label.png\n")
    given = ("--data", tmp_path / "list.txt", "--root", tmp_path)
    done = run_command(evaluate, converted, *given)
    assert "motorcycle" in done.stdout
    assert "class names from the model's file: road, sidewalk, building, wall and 15 more" in done.stderr
    assert json_of(run_command(evaluate, converted, *given, "--json"))["classes"][0] == "road"
    file = rewritten(classes='["a", "b"]', palette=None)  # as where the head was changed since
    done = run_command(evaluate, file, *given)
    assert "names from the model's file: a, b: not used, the model has 19 classes" in done.stderr
    assert json_of(run_command(evaluate, file, *given, "--json")).get("classes") is None


def test_the_summary_of_a_conversion_shows_it(source: Path, run: Path, tmp_path: Path, run_command: Command) -> None:
    done = run_command(convert, source, tmp_path / "out.safetensors", "--config", run)
    assert "road, sidewalk" in done.stdout
    assert "preprocessing" in done.stdout
    done = run_command(convert, source, tmp_path / "out.safetensors", "--config", run, "--force", "--json")
    assert json_of(done)["usage"]["preprocessing"] == STEPS
    done = run_command(
        convert, converted_again(tmp_path), tmp_path / "x.pdparams", "--to", "paddle", "--classes", "voc"
    )
    assert done.exit_code == 2


def converted_again(folder: Path) -> Path:
    return folder / "out.safetensors"


def test_preprocess_gives_what_predict_computes_on_for_a_file_an_image_and_pixels(converted: Path, photo: Path) -> None:
    model = ppls.load(converted)
    expected = Transforms(STEPS)(read_rgb(photo)).tensor
    pixels = read_rgb(photo)
    with Image.open(photo) as image:
        for given in (photo, str(photo), pixels, image):
            assert torch.equal(model.preprocess(given), expected)
    assert torch.equal(model.half().preprocess(pixels), expected.half())


@pytest.mark.filterwarnings("ignore:.*drawn anew")
def test_a_model_of_other_channels_keeps_no_preprocessing_and_refuses_photographs_in_words(
    converted: Path, photo: Path, tmp_path: Path, run_command: Command
) -> None:
    model = ppls.load(converted, in_channels=4)
    model.save_pretrained(tmp_path / "four")
    again = ppls.load(tmp_path / "four")
    assert (again.usage.preprocessing, again.usage.classes) == (None, ppls.load(converted).usage.classes)
    for use in (again.preprocess, again.predict, lambda image: ppls.predict(again, image)):
        with pytest.raises(ppls.UsageError, match="takes images of 4 channels; ppls reads and prepares RGB alone"):
            use(photo)
    result = run_command(predict, tmp_path / "four", photo, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "images of 4 channels" in result.stderr


def test_predict_gives_labels_of_the_images_own_size_and_keeps_the_models_mode(converted: Path, photo: Path) -> None:
    model = ppls.load(converted).train()
    model.backbone.eval()
    labels = model.predict(photo)
    assert labels.shape == (40, 70)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, ppls.predict(converted, photo)[0].labels)
    assert model.training
    assert not model.backbone.training


def test_what_is_made_of_a_model_is_used_as_the_model_is(converted: Path, photo: Path) -> None:
    lines: list[str] = []
    ppls.predict(torch.compile(ppls.load(converted), backend="eager"), photo, say=lines.append)
    assert lines[0].startswith("preprocessing from the model's file: Resize")


def test_a_model_of_which_nobody_said_anything_warns(source: Path, photo: Path) -> None:
    model = ppls.load(source)
    with pytest.warns(UserWarning, match="preprocessing assumed: Normalize") as warned:
        assert model.preprocess(photo).shape == (1, 3, 40, 70)
    assert warned[0].filename == __file__


def test_a_photograph_that_lies_on_its_side_is_put_upright_as_from_a_file(source: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    model = ppls.load(source)
    model.provenance["preprocessing"] = json.dumps(STEPS[1:])
    with Image.open(tmp_path / "x.png") as image:
        assert torch.equal(model.preprocess(image), model.preprocess(tmp_path / "x.png"))
        assert model.preprocess(image).shape[-2:] == (30, 20)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (np.zeros((8, 8), np.uint8), r"expected uint8 \(height, width, 3\), RGB, got uint8 \(8, 8\)"),
        (np.zeros((8, 8, 3), np.float32), "got float32"),
        (np.zeros((0, 8, 3), np.uint8), "got uint8"),
        (np.zeros((1, 3, 8, 8), np.uint8), "got uint8"),
        (torch.zeros(1, 3, 8, 8), "got Tensor"),
        (None, "got NoneType"),
        (Image.new("RGB", (0, 5)), "has no pixels"),
        ("nowhere.png", "nowhere.png: no such image"),
    ],
)
def test_what_is_no_image_is_refused(converted: Path, image: object, why: str) -> None:
    with pytest.raises(ppls.InputError, match=why):
        ppls.load(converted).preprocess(image)


def test_an_image_of_pillows_that_is_cut_off_is_refused(converted: Path, photo: Path) -> None:
    photo.write_bytes(photo.read_bytes()[:3000])
    with Image.open(photo) as image, pytest.raises(ppls.InputError, match="the image: cannot be read as an image"):
        ppls.load(converted).preprocess(image)


@pytest.mark.parametrize(
    ("key", "text", "why"),
    [
        ("preprocessing", "[", "`preprocessing`: is damaged"),
        ("preprocessing", "{}", "`preprocessing`: expected a list"),
        ("preprocessing", '[{"type": "RandomDistort"}]', "'RandomDistort' is no transform for evaluation"),
        ("preprocessing", '[{"type": "__import__"}]', "is no transform for evaluation"),
        ("preprocessing", '[{"type": "Normalize", "std": [0]}]', "std must not be 0"),
        ("preprocessing", '[{"type": "Resize", "target_size": [99999999, 8]}]', "from 1 to 32,768"),
        ("preprocessing", json.dumps([{"type": "Normalize"}] * 21), "21 entries, 20 at most"),
        ("preprocessing", "[" * 100_000, "nested more than"),
        ("classes", '"road"', "`classes`: expected a list"),
        ("classes", "[]", "`classes`: is empty"),
        ("classes", '["a", 1]', "expected a word, found 1"),
        ("classes", '["a", ""]', "is empty"),
        ("classes", json.dumps(["a" * 201]), "200 at most"),
        ("classes", json.dumps(["a"] * 70_000), "70,000 entries, 65536 at most"),
        ("palette", '["red"]', "expected a colour, #rrggbb"),
        ("palette", '["#12345\\u0664"]', "expected a colour, #rrggbb"),
    ],
)
def test_hostile_metadata_is_refused_when_it_is_used(
    rewritten: Rewrite, photo: Path, key: str, text: str, why: str
) -> None:
    model = ppls.load(rewritten(**{key: text}))  # whose weights are as good as before
    with pytest.raises(ppls.CheckpointError, match=rf"the metadata of the converted file: .*{why}"):
        model.predict(photo)
    with pytest.raises(ppls.CheckpointError, match=why):
        ppls.predict(model, photo)


def test_names_of_a_hostile_file_are_shown_escaped(
    rewritten: Rewrite, photo: Path, tmp_path: Path, run_command: Command
) -> None:
    names = json.dumps(["\x1b[31mroad\n\u202e", *"bcdefghijklmnopqrs"])
    Image.fromarray(np.zeros((40, 70), np.uint8)).save(tmp_path / "label.png")
    (tmp_path / "list.txt").write_text("photo.png label.png\n")
    done = run_command(evaluate, rewritten(classes=names), "--data", tmp_path / "list.txt", "--root", tmp_path)
    assert r"\x1b[31mroad\n\u202e" in done.stdout
    assert r"\x1b[31mroad\n\u202e" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_the_published_sets_have_as_many_classes_as_their_data_sets() -> None:
    counts = {"cityscapes": 19, "camvid": 11, "voc": 21, "ade20k": 150}
    assert {name: len(found.classes) for name, found in label_sets().items()} == counts
    for name, found in label_sets().items():
        assert len(set(found.classes)) == counts[name] == len(found.palette or ())
    assert palette("voc", 21).tolist() == [list(bytes.fromhex(c[1:])) for c in label_sets()["voc"].palette or ()]


def test_labels_as_configs_of_the_hub_have_them() -> None:
    assert Usage().labels == {}
    found = Usage(classes=("a", "b", "a")).labels
    assert found == {"id2label": {"0": "a", "1": "b", "2": "a"}, "label2id": {"a": 0, "b": 1}}
