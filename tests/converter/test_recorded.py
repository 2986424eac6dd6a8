"""What a converted file records of its conversion decides a later one, where nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ppls
from ppls.converter.given import recorded_in


def again(checkpoint: Path, converted: Path, **options: Any) -> ppls.Conversion:
    return ppls.convert(checkpoint, recorded=recorded_in(converted), **options)


@pytest.fixture
def converted(small_checkpoint: Path, tmp_path: Path) -> Path:
    destination = tmp_path / "converted.safetensors"
    ppls.convert(small_checkpoint, destination, overrides={"cm_bin_sizes": [1, 3, 6]})
    return destination


def test_an_option_that_was_set_need_not_be_set_again(small_checkpoint: Path, converted: Path) -> None:
    conversion = again(small_checkpoint, converted)
    assert conversion.config["cm_bin_sizes"] == [1, 3, 6]
    assert conversion.reference["kwargs"]["cm_bin_sizes"] == [1, 3, 6]


def test_what_was_assumed_then_is_assumed_still(small_checkpoint: Path, converted: Path) -> None:
    assert again(small_checkpoint, converted).assumed_options.keys() == {"resize_mode"}
    told = again(small_checkpoint, converted, overrides={"resize_mode": "bilinear"})
    assert told.assumed_options == {}


def test_what_is_given_now_overrules_what_was_recorded(small_checkpoint: Path, converted: Path, tmp_path: Path) -> None:
    assert again(small_checkpoint, converted, overrides={"cm_bin_sizes": [1, 2, 3]}).config["cm_bin_sizes"] == [1, 2, 3]
    run = tmp_path / "run.yml"
    run.write_text("model: {type: PPLiteSeg, num_classes: 3}")
    conversion = again(small_checkpoint, converted, config=run)
    assert conversion.config["cm_bin_sizes"] == [1, 2, 4]
    assert conversion.assumed_options == {}
    assert conversion.by_default["cm_bin_sizes"] == [1, 2, 4]


def test_a_resize_that_the_user_asked_for_is_not_paddlesegs(small_checkpoint: Path, tmp_path: Path) -> None:
    destination = tmp_path / "nearest.safetensors"
    ppls.convert(small_checkpoint, destination, upsample="nearest")
    found = recorded_in(destination)
    assert found is not None
    assert found.config["resize_mode"] == "nearest"
    assert again(small_checkpoint, destination).config["resize_mode"] == "bilinear"
    assert again(small_checkpoint, destination, upsample="nearest").config["resize_mode"] == "nearest"


def test_the_config_of_another_checkpoint_is_refused_with_both(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = recorded_in(ppls.convert(small_checkpoint, tmp_path / "a.safetensors").destination or tmp_path)
    assert converted is not None
    converted.config["num_classes"] = 7
    with pytest.raises(ppls.ConversionError, match=r"a\.safetensors says 7"):
        ppls.convert(small_checkpoint, recorded=converted)


def test_a_file_that_ppls_did_not_write_records_nothing(small_checkpoint: Path) -> None:
    assert recorded_in(small_checkpoint) is None
