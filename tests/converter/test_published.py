"""PaddleSeg's published weights by name."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

import ppls
from ppls.checkpoint import download
from ppls.checkpoint.checkpoint import StoredTensor
from ppls.cli.convert import convert
from ppls.converter import published
from ppls.converter.expected import expected_shapes, recipe_config
from ppls.converter.given import given_by_run
from ppls.converter.infer import infer_model_config
from ppls.converter.published import Published, cache_folder, find_published
from ppls.converter.translate import translate_back
from ppls.images.transforms import Transforms
from ppls.mappings.map_file import architectures
from ppls.mappings.map_index import on_recipe
from scripts.zoo import backbone_of, published_recipe
from tests.inference.toy import toy_checkpoint
from tests.server import Server, serving

NAME = "pp_liteseg_stdc1_cityscapes_1024x512_scale0.5_160k"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_checkpoint(tmp_path_factory.mktemp("toy") / "toy.pdparams", 11)


@pytest.fixture
def server(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Has a small file; the table's row `toy_camvid` leads to it."""
    monkeypatch.setenv("PPLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    with serving() as found:
        found.content = checkpoint.read_bytes()
        model = {"type": "PPLiteSeg", "cm_out_ch": 8, "arm_out_chs": [4, 4, 8], "seg_head_inter_chs": [4, 4, 4]}
        run = {
            "model": model,
            "val_dataset": {"type": "Dataset", "transforms": [{"type": "Normalize", "mean": [0.25]}]},
        }
        row = Published("toy_camvid", "PPLiteSeg", "STDC1", "CamVid", ("Toy", "75.1%"), found.address, run)
        absent = dataclasses.replace(row, name="toy_absent", architecture="Pix2Seg")
        rows = {row.name: row, absent.name: absent}
        monkeypatch.setattr(published, "_table", lambda: rows)
        yield found


def run_command(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_table_has_every_row_of_paddlesegs_pages_under_a_name_of_its_own() -> None:
    rows = ppls.list_published()
    assert len(rows) == len({row.name for row in rows}) == len({row.address for row in rows}) == 163
    (row,) = ppls.list_published(NAME)
    assert (row.architecture, row.backbone, row.dataset) == ("PPLiteSeg", "STDC1", "Cityscapes")
    assert "73.10%" in row.row
    assert row.address == f"https://paddleseg.bj.bcebos.com/dygraph/cityscapes/{NAME}/model.pdparams"


def test_the_table_is_what_the_shared_one_lists(shared: Path) -> None:
    lines = (shared / "published.tsv").read_text().splitlines()[1:]
    assert {row.address for row in ppls.list_published()} == {line.split("\t")[3] for line in lines}


def test_rows_are_found_by_a_pattern_and_by_what_ppls_has() -> None:
    assert len(ppls.list_published("pp_liteseg*camvid*")) == 2
    available = ppls.list_published(available=True)
    assert {row.architecture for row in available} <= architectures().keys()
    assert {row.name for row in ppls.list_published("segformer*")} <= {row.name for row in available}
    for row in ppls.list_published():  # no option of a config is one that ppls's model lacks
        map = architectures().get(row.architecture)
        backbones = [recipe.get("backbone", "") for recipe in map.recipes.values()] if map is not None else []
        there = row.backbone in [found if isinstance(found, str) else found["type"] for found in backbones]
        assert row in available or not there or row.run is None, row.name


def test_every_row_that_can_be_converted_says_its_preprocessing_and_the_published_sets_their_classes() -> None:
    from ppls.converter.usage import data_set_of_run, transforms_of_run

    for row in ppls.list_published(available=True):
        labels, listed = data_set_of_run(row.config), transforms_of_run(row.config)
        if row.architecture == "PortraitNet":  # the classes of its data sets prepare images themselves
            assert listed is None
            continue
        assert listed is not None, row.name
        Transforms.of(listed)
        known = row.dataset in (
            *("Cityscapes", "CityScapes", "CamVid", "ADE20K", "ADE20k", "Pascal VOC 2012 + Aug"),
            "official weight",  # PIDNet's, of Cityscapes
        )
        assert (labels is not None or row.classes is not None) == known, row.name


def test_the_config_of_every_row_that_can_be_converted_fits_its_tensors_and_leaves_nothing_to_assume() -> None:
    for row in ppls.list_published(available=True):
        map = architectures()[row.architecture]
        recipe = published_recipe(map, row)
        assert backbone_of(map, recipe) == row.backbone.removesuffix("_os8"), row.name  # dilated: of the same tensors
        map = on_recipe(map, recipe)
        given = given_by_run(map, Path(row.name), row.config)
        config = recipe_config(map, recipe) | {key: given[key].value for key in ("num_classes",) if key in given}
        shapes = expected_shapes(map, config) or {}
        stored = {name: StoredTensor("float32", shape, lambda: np.empty(0)) for name, shape in shapes.items()}
        tensors = translate_back(stored, map, config).tensors
        found = infer_model_config(map, {name: t.shape for name, t in tensors.items()}, given, published=False)
        assert (found.problems, found.assumed) == ([], {}), row.name


def test_a_name_is_downloaded_converted_and_knows_its_config_and_classes(server: Server, tmp_path: Path) -> None:
    result = ppls.convert("toy_camvid", tmp_path / "out.safetensors")
    assert result.usage is not None
    assert result.usage.classes is not None
    assert result.usage.classes[0] == "sky"
    assert result.usage.preprocessing is not None
    assert result.usage.preprocessing.words == [{"type": "Normalize", "mean": [0.25], "std": [0.5]}]
    assert "arm_type" not in result.assumed  # as the config has it, or PaddleSeg's default
    folder = tmp_path / "cache" / "published" / "toy_camvid"
    assert json.loads((folder / "model.pdparams.json").read_text())["sha256"] == result.sha256
    assert ppls.load("toy_camvid").usage == result.usage
    assert len(server.asked) == 1


def test_the_command_takes_a_name_and_so_does_inspect(server: Server, tmp_path: Path) -> None:
    from ppls.cli.inspect import inspect

    done = run_command(convert, "toy_camvid", tmp_path / "out.safetensors")
    assert done.exit_code == 0, done.stderr
    assert run_command(inspect, "toy_camvid", "--json").exit_code == 0
    assert len(server.asked) == 1


def test_the_users_own_config_wins(server: Server, tmp_path: Path) -> None:
    (tmp_path / "run.yml").write_text("model: {type: PPLiteSeg, arm_type: UAFM}\n")
    with pytest.raises(ppls.ConversionError, match=f"{tmp_path}/run.yml"):
        ppls.convert("toy_camvid", config=tmp_path / "run.yml")


def test_a_file_of_a_published_name_wins(
    server: Server, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(checkpoint, "toy_camvid")
    assert ppls.convert("toy_camvid").usage is None
    assert ppls.load("toy_camvid").usage.classes is None
    assert server.asked == []


def test_an_architecture_that_ppls_lacks_is_said_before_anything_is_downloaded(server: Server) -> None:
    with pytest.raises(ppls.ConversionError, match=r"toy_absent: ppls does not have the architecture Pix2Seg yet") as e:
        ppls.convert("toy_absent")
    assert server.address in str(e.value)
    assert server.asked == []


def test_a_destination_that_exists_is_said_before_anything_is_downloaded(server: Server, tmp_path: Path) -> None:
    (tmp_path / "out.safetensors").write_text("kept")
    with pytest.raises(ppls.ConversionError, match="exists already"):
        ppls.convert("toy_camvid", tmp_path / "out.safetensors")
    assert server.asked == []


def test_a_name_that_is_close_is_suggested() -> None:
    for wrong in (NAME.replace("stdc1", "stdc3"), f"{NAME}.pdparams", NAME.upper().lower()[:-1]):
        with pytest.raises(ppls.CheckpointError, match=f"{wrong}: no such file; published .* a similar name: .*{NAME}"):
            ppls.convert(wrong)


@pytest.mark.parametrize("name", ["model.pdparams", "nowhere", f"./{NAME}", f"folder/{NAME}", "", "\0", "a" * 5000])
def test_what_is_no_published_name_is_a_missing_file_as_ever(name: str) -> None:
    assert find_published(name) is None
    with pytest.raises(ppls.Error):
        ppls.convert(name)


def test_without_a_network_the_message_has_the_address(server: Server, tmp_path: Path) -> None:
    server.answers = [404]
    done = run_command(convert, "toy_camvid", tmp_path / "out.safetensors")
    assert done.exit_code == 1
    assert f"fetch {server.address} by hand" in done.stderr


def test_downloads_are_kept_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PPLS_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/x")
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("PPLS_CACHE")
    assert cache_folder() == tmp_path / "ppls"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # as the specification has it: ignored
    assert cache_folder() == Path("/home/x/.cache/ppls")
