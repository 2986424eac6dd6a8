from __future__ import annotations

from pathlib import Path

import pytest

import ppls
from ppls.converter.given import given_by_run, parse_setting
from ppls.mappings.map_file import architectures

RUN = """\
batch_size: 4
train_dataset: {type: Dataset, num_classes: 3}
model:
  type: PPLiteSeg
  backbone: {type: STDC1, pretrained: https://example.com/x.tar.gz}
  arm_out_chs: [8, 12, 16]
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def given(path: Path) -> dict[str, object]:
    return {key: value.value for key, value in given_by_run(architectures()["PPLiteSeg"], path).items()}


def test_a_run_says_the_options_of_its_model(tmp_path: Path) -> None:
    assert given(write(tmp_path / "run.yml", RUN)) == {
        "backbone.type": "STDCNet",
        "backbone.base": 64,
        "backbone.layers": [2, 2, 2],
        "backbone.block_num": 4,
        "backbone.in_channels": 3,
        "arm_out_chs": [8, 12, 16],
        "num_classes": 3,
    }


def test_a_run_is_merged_with_what_it_is_based_on(tmp_path: Path) -> None:
    write(tmp_path / "base.yml", RUN)
    text = "_base_: base.yml\nmodel: {arm_out_chs: [1, 2, 3], backbone: {_inherited_: False, type: STDC2}}\n"
    merged = given(write(tmp_path / "run.yml", text))
    assert merged["arm_out_chs"] == [1, 2, 3]
    assert merged["backbone.layers"] == [4, 5, 3]
    assert merged["num_classes"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not YAML"),
        ("- a\n", "not a config"),
        ("batch_size: 4\n", "no `model:` section"),
        ("model: {type: HeavySeg}\n", "describes a HeavySeg, the checkpoint is a PPLiteSeg"),
        ("model: {type: PPLiteSeg, depth: 3}\n", "model.depth: 3"),
        (
            "model: {type: PPLiteSeg, backbone: {type: ResNet50_vd}}\n",
            "says the backbone ResNet50_vd, the tensors are of STDCNet",
        ),
        ("_base_: run.yml\n", "is based on itself"),
        ("_base_: none.yml\n", "cannot be read"),
        ("model: " + "[" * 50_000, "nested more than 64 deep"),
        ("model: &model {type: PPLiteSeg, backbone: *model}\n", "*model stands within itself"),
        ("date: 2020-13-13\n", "cannot be understood: month must be in 1..12"),
    ],
)
def test_a_run_that_cannot_be_used_says_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ppls.ConversionError, match=r"run\.yml|none\.yml") as error:
        given(write(tmp_path / "run.yml", text))
    assert message in str(error.value)


def test_a_run_that_contradicts_the_tensors_shows_both(small_checkpoint: Path, tmp_path: Path) -> None:
    run = write(tmp_path / "run.yml", RUN)
    with pytest.raises(ppls.ConversionError) as error:
        ppls.convert(small_checkpoint, config=run)
    assert f"backbone.base: the tensors say 8, {run} says 64" in str(error.value)


def test_settings_are_yaml() -> None:
    assert parse_setting("cm_bin_sizes=[1,3,6,8]") == ("cm_bin_sizes", [1, 3, 6, 8])
    assert parse_setting("resize_mode=nearest") == ("resize_mode", "nearest")
    assert parse_setting("a.b=true") == ("a.b", True)
    with pytest.raises(ppls.UsageError, match="month must be in"):
        parse_setting("a=2020-13-13")
    for text in ("cm_bin_sizes", "=3", "a=[1"):
        with pytest.raises(ppls.UsageError):
            parse_setting(text)
