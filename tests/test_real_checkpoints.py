"""The real input: training runs of PaddleSeg's own tools, files of three releases, public files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ppls
from ppls.converter.inspect import inspect
from ppls.converter.translate import translate_back
from tests.checkpoints import arrays_of, save
from tests.material import SAMPLES, SMALL_RUN

ERAS = {
    "2.5": ("PaddleSeg 2.5", 397, 637),
    "2.6.0": ("PaddleSeg 2.6", 247, 367),
    "2.8.0": ("PaddleSeg 2.7 or later", 250, 370),
}


def run(model: torch.nn.Module, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(image))[0].numpy()


def scaled(candidate: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(candidate - reference).max() / np.abs(reference).max())


@pytest.fixture(params=["small", "real"])
def training_run(request: pytest.FixtureRequest) -> Path:
    return SMALL_RUN if request.param == "small" else request.getfixturevalue("shared") / "paddleseg_run"


def test_the_trained_model_gives_paddlesegs_logits(training_run: Path, tmp_path: Path) -> None:
    ppls.convert(training_run / "model.pdparams", tmp_path / "out.safetensors")
    (record,) = (training_run / "golden").glob("logits_*.npz")
    golden = np.load(record)
    logits = run(ppls.load(tmp_path / "out.safetensors"), golden["input"])
    assert np.abs(logits - golden["logits"]).max() <= 2e-5
    np.testing.assert_array_equal(logits.argmax(1), golden["logits"].argmax(1))


def test_the_runs_own_config_agrees_with_the_tensors(training_run: Path) -> None:
    conversion = ppls.convert(training_run / "model.pdparams", config=training_run / "config.yml")
    assert conversion.config == ppls.convert(training_run / "model.pdparams").config


@pytest.mark.parametrize("release", ERAS)
@pytest.mark.parametrize("size", ["t", "b"])
def test_a_checkpoint_of_each_era_gives_its_releases_logits(shared: Path, size: str, release: str) -> None:
    path = shared / "eras" / f"pp_liteseg_{size}_base16_written_by_paddleseg_{release}.pdparams"
    record = np.load(path.with_suffix(".npz"))
    conversion = ppls.convert(path)
    era, *keys = ERAS[release]
    assert conversion.era == era
    assert len(conversion.checkpoint) == keys["tb".index(size)]
    assert len(conversion.tensors) == {"t": 247, "b": 367}[size]
    model = ppls.load(path)
    floor = scaled(record["logits"], record["logits64"])
    assert scaled(run(model, record["input"]), record["logits"]) <= max(2e-5, 4 * floor)
    assert scaled(run(model.double(), record["input"].astype("float64")), record["logits64"]) <= 1e-6


@pytest.mark.parametrize("size", ["t", "b"])
def test_every_era_goes_back_in_todays_scheme(shared: Path, size: str) -> None:
    folder = shared / "eras"
    today = ppls.read(folder / f"pp_liteseg_{size}_base16_written_by_paddleseg_2.8.0.pdparams")
    for release in ("2.6.0", "2.8.0"):  # the same weights; 2.5's are others
        conversion = ppls.convert(folder / f"pp_liteseg_{size}_base16_written_by_paddleseg_{release}.pdparams")
        back = translate_back(conversion.tensors, conversion.map, conversion.config)
        assert set(back.tensors) == set(today)
        for name, tensor in back.tensors.items():
            np.testing.assert_array_equal(tensor.load(), today[name], err_msg=name)


def test_a_model_that_ppls_does_not_know_is_named_for_what_it_holds(shared: Path, tmp_path: Path) -> None:
    unknown = {
        name.replace("level", "stage"): a for name, a in arrays_of(shared / "public" / "espnetv1.pdparams").items()
    }
    with pytest.raises(ppls.ConversionError, match=r"found 206 tensors under encoder \(171\).*Known are.*--map FILE"):
        ppls.convert(save(tmp_path / "unknown.pdparams", unknown))
    with pytest.raises(ppls.ConversionError, match="not a checkpoint of an architecture that ppls knows"):
        ppls.convert(shared / "public" / "energy.pdparams")


def test_a_git_lfs_pointer_says_what_to_run(shared: Path) -> None:
    with pytest.raises(ppls.CheckpointError, match="git lfs pull"):
        ppls.convert(shared / "public" / "git_lfs_pointer.pdparams")


def test_an_optimizers_state_is_no_model() -> None:
    with pytest.raises(ppls.ConversionError, match=r"an optimizer's state.*give the \.pdparams"):
        ppls.convert(SMALL_RUN / "model.pdopt")


def test_an_export_converts_like_the_checkpoint_that_it_was_made_of(shared: Path, tmp_path: Path) -> None:
    """PIR exports hold no structured names: they are found from PaddleSeg's order of construction."""
    export = ppls.convert(shared / "paddleseg_run" / "export", tmp_path / "out.safetensors")
    trained = ppls.convert(shared / "paddleseg_run" / "model.pdparams")
    assert export.config == {**trained.config, "auxiliary_heads": False, "seg_head_inter_chs": [32]}
    assert len(export.tensors) == 247 - 12
    for name, array in export.arrays.items():
        np.testing.assert_array_equal(array, trained.arrays[name], err_msg=name)
    golden = np.load(shared / "paddleseg_run" / "golden" / "logits_val000-002.npz")
    logits = run(ppls.load(tmp_path / "out.safetensors"), golden["input"])
    assert np.abs(logits - golden["logits"]).max() <= 2e-5


def test_inspect_lists_the_tensors_of_an_export_that_is_no_known_model() -> None:
    inspection = inspect(SAMPLES / "v331_jit" / "jit")
    assert "PIR program, variable names" in inspection.checkpoint.format
    assert inspection.architecture is None
    assert "fit none whose layers ppls knows in the order" in inspection.problems[0]


def test_inspect_says_what_a_hostile_file_tried_to_call() -> None:
    hostile = [path for path in sorted((SAMPLES / "hostile").glob("x_*")) if b"system" in path.read_bytes()]
    assert hostile
    for path in hostile:
        with pytest.raises(ppls.CheckpointError, match=r"asks to call .*system.*Nothing was called"):
            inspect(path)
