"""Every sample file reads byte for byte as Paddle itself reads it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.reader import read
from tests.material import SAMPLES, SHARED, SMALL_RUN

PADDLE_SIDE = Path(__file__).parent / "paddle_side.py"

needs_paddle = pytest.mark.skipif(importlib.util.find_spec("paddle") is None, reason="Paddle is not installed")

# The path in the object that Paddle loads, and our name for the tensor, where that is not the dotted path.
LINEAR = {"0": "linear_0.w_0", "1": "linear_0.b_0"}
RENAMED = {
    "list.pdparams": LINEAR,
    "tuple.pdparams": {"0": "linear_0.w_0", "1.a": "1.a"},
    "tensor.pdtensor": {"": "linear_0.w_0"},
    "tensor_p2.pdtensor": {"": "linear_0.w_0"},
    "ndarray.pdtensor": {"": "0"},
    "lod.pdtensor": {"": "0"},
    "lod_p2.pdtensor": {"": "0"},
    "lod_bin.pdtensor": {"": "0"},
    "lod_lvl1_bin.pdtensor": {"": "0"},
    "binary_tensor.pdtensor": {"": "0"},
}
# The dictionary that holds all tensors, and so is no part of their names
DROPPED_LEVEL = {
    "nested_np.pdparams": "model.",
    "nested_np_dictonly.pdparams": "model.",
    "nested_p2.pdparams": "model.",
    "dtypes_nested.pdparams": "m.",
    "lod_nested.pdparams": "m.",
}
NO_TENSORS = {"empty_dict.pdparams", "set.pdparams", "numpy_obj.pdparams", "selrows_bin.pdtensor"}


def object_samples() -> list[Path]:
    """What `paddle.save` and `static.save` wrote."""
    found = [path for path in sorted(SAMPLES.glob("v*/*.pd*")) if path.suffix in (".pdparams", ".pdopt", ".pdtensor")]
    found += [*sorted(SAMPLES.glob("v*/hapi/m.pdparams")), *sorted((SHARED / "public").glob("e*.pdparams"))]
    return [path for path in found if path.name not in NO_TENSORS]


def programs(legacy: bool) -> list[Path]:
    """Exports that Paddle 3.3.1 can load itself, under PIR or under the old representation; each one's weights file."""
    suffix = ".pdmodel" if legacy else ".json"
    groups = ["v262_jit", "v331_jit_legacy", "v262_static"] if legacy else ["v300_jit", "v331_jit", "v331_static"]
    found = [path for group in groups for path in sorted((SAMPLES / group).rglob("*.pdiparams"))]
    # v300: its jit_multi and jit_comb are what 3.0.0 wrote; more tensors than the program names are another test's
    return [path for path in found if path.with_suffix(suffix).exists() and "comb" not in path.parent.name]


def paddle_loads(mode: str, files: list[Path], out: Path, **environment: str) -> list[dict[str, np.ndarray]]:
    """For each file what Paddle loads from it, by dotted path."""
    command = [sys.executable, str(PADDLE_SIDE), mode, str(out), *map(str, files)]
    subprocess.run(command, check=True, capture_output=True, timeout=120, env={**os.environ, **environment})
    loaded: list[dict[str, np.ndarray]] = [{} for _ in files]
    with np.load(out) as arrays:
        for key in arrays.files:
            index, *path = key.split("|")
            loaded[int(index)][".".join(path)] = arrays[key]
    return loaded


def assert_same(checkpoint: Checkpoint, expected: dict[str, np.ndarray]) -> None:
    assert set(checkpoint) == set(expected)
    for name, array in checkpoint.items():
        assert array.dtype == expected[name].dtype.newbyteorder("="), name
        assert array.shape == checkpoint.stored(name).shape == expected[name].shape, name
        assert array.tobytes() == expected[name].astype(array.dtype).tobytes(), name
        assert not array.flags.writeable
        assert array.dtype.isnative


@needs_paddle
def test_every_pickled_or_binary_sample_holds_what_paddle_loads_from_it(tmp_path: Path) -> None:
    files = object_samples()
    assert len(files) > 130
    for file, loaded in zip(files, paddle_loads("pickles", files, tmp_path / "loaded.npz"), strict=True):
        renamed, level = RENAMED.get(file.name, {}), DROPPED_LEVEL.get(file.name, "")
        expected = {renamed.get(path, path.removeprefix(level)): array for path, array in loaded.items()}
        assert_same(read(file), expected)


@needs_paddle
@pytest.mark.parametrize("legacy", [False, True], ids=["PIR", "ProgramDesc"])
def test_every_export_pairs_names_and_tensors_as_paddle_does(tmp_path: Path, legacy: bool) -> None:
    files = programs(legacy)
    prefixes = [file.with_suffix("") for file in files]
    environment = {"FLAGS_enable_pir_api": "0"} if legacy else {}
    loaded = paddle_loads("programs", prefixes, tmp_path / "loaded.npz", **environment)
    assert len(files) >= 7
    for file, expected in zip(files, loaded, strict=True):
        checkpoint = read(file)
        if checkpoint.name_table:  # then the names are the structured ones
            expected = {name: expected[variable] for name, variable in checkpoint.name_table.items()}
        assert_same(checkpoint, expected)


@pytest.mark.parametrize("group", ["v262", "v331", "v331n2"])
def test_a_state_dict_has_the_values_and_the_name_table_that_were_saved(group: str) -> None:
    expected = dict(np.load(SAMPLES / group / "expected_sd.npz"))
    names = {"sd_p2.pdparams", "sd_p3.pdparams", "sd_p4.pdparams", "bytesio.pdparams", "chunked_p2.pdparams"}
    for name in sorted(names):
        checkpoint = read(SAMPLES / group / name)
        assert_same(checkpoint, expected)
        assert checkpoint.name_table["bn._mean"] == "batch_norm2d_0.w_1"
        assert checkpoint.name_table.keys() == checkpoint.keys()
        assert checkpoint.naming == "structured"


@pytest.mark.parametrize("group", ["v331", "v331n2"])
def test_safetensors_written_by_paddle_hold_what_was_saved(group: str) -> None:
    assert_same(read(SAMPLES / group / "sd.safetensors"), dict(np.load(SAMPLES / group / "expected_sd.npz")))


@pytest.mark.parametrize("group", ["v262_jit", "v331_jit_legacy"])
@pytest.mark.parametrize("name", ["jit/m.pdiparams", "jit/m.pdmodel", "jit", "hapi_inf", "jit_noprune"])
def test_an_export_with_its_info_gives_the_structured_names(group: str, name: str) -> None:
    checkpoint = read(SAMPLES / group / name)
    expected = np.load(SAMPLES / group / "expected_jit.npz")
    assert checkpoint.naming == "structured"
    assert_same(checkpoint, {key: expected[key] for key in checkpoint})


def test_a_folder_of_one_file_per_variable_is_named_by_its_info_or_its_files() -> None:
    with_info = read(SAMPLES / "v331_jit_legacy" / "jit_sep")
    expected = np.load(SAMPLES / "v331_jit_legacy" / "expected_jit.npz")
    assert len(with_info) == 32
    assert_same(with_info, {name: expected[name] for name in with_info})

    for folder in ("v331_static/vars_dir", "v185_py27/inf_sep", "v185_py37/pers_dir", "v331_jit/jit_sep"):
        checkpoint = read(SAMPLES / folder)
        assert checkpoint.naming == "variables"
        assert "conv2d_0.w_0" in checkpoint


@pytest.mark.parametrize("group", ["v262_static", "v331_static", "v331_static_legacy"])
@pytest.mark.parametrize("name", ["vars_one", "vars_dir", "sinf.pdiparams", "static_p2.pdparams", "static_p4.pdopt"])
def test_static_graph_files_hold_the_variables_of_the_scope(group: str, name: str) -> None:
    checkpoint = read(SAMPLES / group / name)
    expected = np.load(SAMPLES / group / "expected_static.npz")
    assert len(checkpoint) >= 8
    assert_same(checkpoint, {key: expected[key] for key in checkpoint})


def test_a_whole_files_name_of_paddle_1_is_resolved_by_the_program_beside_it() -> None:
    for group in ("v185_py27", "v185_py37"):
        expected = np.load(SAMPLES / group / "expected_static.npz")
        checkpoint = read(SAMPLES / group / "inf_one" / "__params__")
        assert len(checkpoint) == 8
        assert_same(checkpoint, {key: expected[key] for key in checkpoint})
        assert_same(read(SAMPLES / group / "dy.pdparams"), dict(np.load(SAMPLES / group / "expected_dy.npz")))


def test_an_export_of_two_methods_into_one_file_is_refused_where_names_would_be_guesses() -> None:
    from ppls.errors import CheckpointError

    for name in (
        "v331_jit/jit_comb",
        "v331_jit/jit_multi_comb/m.pdiparams",
        "v262_jit/jit_multi_comb/m.head.pdiparams",
    ):
        with pytest.raises(CheckpointError, match=r"holds \d+ tensors, but its program .* names \d+"):
            read(SAMPLES / name)


def test_files_from_public_repositories_are_read_in_full(shared: Path) -> None:
    espnet = read(shared / "public" / "espnetv1.pdparams")
    assert len(espnet) == 206
    assert espnet.name_table.keys() == espnet.keys()
    assert len(read(shared / "public" / "energy.pdparams")) == 24


def test_the_tensors_of_paddleseg_own_export_are_those_of_its_checkpoint() -> None:
    exported, trained = read(SMALL_RUN / "export"), read(SMALL_RUN / "model.pdparams")
    assert len(exported) == 238
    assert exported.naming == "variables"
    assert exported.files[0].name == "model.pdiparams"
    contents = {array.tobytes() for array in trained.values()}
    assert all(array.tobytes() in contents for array in exported.values())


def test_an_element_type_that_numpy_lacks_is_named() -> None:
    checkpoint = read(SAMPLES / "v331" / "dtypes_p4.pdparams")
    assert checkpoint.stored("d_bfloat16").dtype == "bfloat16"
    assert checkpoint["d_bfloat16"].dtype == np.uint16
    assert any("d_float8_e5m2" in warning for warning in checkpoint.warnings)
    assert read(SAMPLES / "v331_jit" / "jit_bf16").stored("linear_26.w_0").dtype == "bfloat16"


def test_an_optimizer_state_says_what_it_is() -> None:
    for name in ("v331/adam.pdopt", "v331/mom.pdopt", "v185_py27/dy.pdopt", "v262_static/static_p2.pdopt"):
        assert "optimizer state" in read(SAMPLES / name).format
    assert read(SAMPLES / "v331" / "adam.pdopt").metadata == {
        "LR_Scheduler.last_epoch": "0",
        "LR_Scheduler.last_lr": "0.1",
    }


def test_a_training_checkpoint_of_several_state_dicts_can_be_taken_apart() -> None:
    checkpoint = read(SAMPLES / "v331" / "nested.pdparams")
    assert checkpoint.parts == {"model": "Paddle state dict", "optimizer": "Paddle optimizer state"}
    assert_same(checkpoint.part("model"), dict(np.load(SAMPLES / "v331" / "expected_sd.npz")))
    assert checkpoint.part("model").name_table["conv.weight"] == "conv2d_0.w_0"
    assert checkpoint.metadata["best"] == "0.5"
