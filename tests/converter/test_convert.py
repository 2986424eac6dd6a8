"""Converting: what it writes and records, and every bad input as one readable error."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import ppls
from ppls.mappings.map_file import shipped_maps
from tests.architectures import specimen
from tests.checkpoints import arrays_of, save

OTHER = specimen(lambda map: True, but="PPLiteSeg").title


def test_the_file_holds_every_tensor_under_its_new_name_bit_for_bit(small_checkpoint: Path, tmp_path: Path) -> None:
    result = ppls.convert(small_checkpoint, tmp_path / "out.safetensors")
    written, source = load_file(tmp_path / "out.safetensors"), ppls.read(small_checkpoint)
    assert (len(source), len(written), len(result.dropped)) == (250, 247, 3)
    for target, (origin,) in result.origins.items():
        np.testing.assert_array_equal(written[target], source[origin])
    used = {origin for (origin,) in result.origins.values()} | {dropped.name for dropped in result.dropped}
    assert used == set(source)


def test_the_metadata_tells_where_the_file_came_from(small_checkpoint: Path, tmp_path: Path) -> None:
    result = ppls.convert(small_checkpoint, tmp_path / "out.safetensors")
    metadata = ppls.read(tmp_path / "out.safetensors").metadata
    assert metadata["format"] == "pt"
    assert metadata["architecture"] == "PPLiteSeg"
    assert metadata["era"] == "PaddleSeg 2.7 or later"
    assert metadata["source_sha256"] == result.sha256
    assert result.sha256 == hashlib.sha256(small_checkpoint.read_bytes()).hexdigest()
    assert metadata["map"] == "pp_liteseg"
    assert len(metadata["map_sha256"]) == 64
    assert metadata["ppls_version"] == ppls.__version__
    assert json.loads(metadata["config"]) == result.config
    assert json.loads(metadata["numerics"]) == {"batch_norm": {"epsilon": 1e-5, "momentum": 0.9}}
    assert json.loads(metadata["constants"]) == {f"ppseg_head.arm_list.{i}._scale": 1.0 for i in range(3)}
    table = json.loads(metadata["name_table"])
    assert table["backbone.features.0.conv.weight"].startswith("conv2d_")
    assert not any(str(small_checkpoint.parent) in value for value in metadata.values())


def test_the_same_checkpoint_gives_the_same_bytes_wherever_it_lies(small_checkpoint: Path, tmp_path: Path) -> None:
    ppls.convert(small_checkpoint, tmp_path / "a.safetensors")
    (tmp_path / "elsewhere.bin.pdparams").write_bytes(small_checkpoint.read_bytes())
    ppls.convert(tmp_path / "elsewhere.bin.pdparams", tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_what_no_tensor_shows_is_listed_as_assumed(small_checkpoint: Path) -> None:
    assert ppls.convert(small_checkpoint).assumed == {
        "cm_bin_sizes": [1, 2, 4],
        "resize_mode": "bilinear",
        "batch_norm.epsilon": 1e-5,
        "batch_norm.momentum": 0.9,
    }
    given = ppls.convert(small_checkpoint, overrides={"cm_bin_sizes": [1, 3, 6]}, upsample="nearest")
    assert set(given.assumed) == {"batch_norm.epsilon", "batch_norm.momentum"}
    assert given.config["resize_mode"] == given.config["context_resize_mode"] == "nearest"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_another_type_rounds_every_weight_to_it(small_checkpoint: Path, tmp_path: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch

    full = ppls.convert(small_checkpoint)
    ppls.convert(small_checkpoint, tmp_path / "out.safetensors", dtype=dtype)
    for name, tensor in load_torch(tmp_path / "out.safetensors").items():
        expected = torch.from_numpy(np.array(full.arrays[name])).to(getattr(torch, dtype))
        assert torch.equal(tensor, expected), name


def test_a_value_that_the_type_cannot_hold_is_warned_of_by_name(small_checkpoint: Path, tmp_path: Path) -> None:
    arrays = arrays_of(small_checkpoint)
    arrays["seg_heads.0.conv_out.weight"][0, 0] = 1e6
    result = ppls.convert(save(tmp_path / "x.pdparams", arrays), dtype="float16")
    assert result.warnings == [
        "seg_heads.0.conv_out.weight holds infinity in float16, which cannot hold its values; converted as it is"
    ]


def test_nan_is_converted_with_a_warning_that_names_the_tensor(small_checkpoint: Path, tmp_path: Path) -> None:
    arrays = arrays_of(small_checkpoint)
    arrays["backbone.features.3.conv_list.1.bn._mean"][0] = np.nan
    result = ppls.convert(save(tmp_path / "x.pdparams", arrays), tmp_path / "out.safetensors")
    assert result.warnings == ["backbone.features.3.conv_list.1.bn._mean holds NaN; converted as it is"]
    assert np.isnan(load_file(tmp_path / "out.safetensors")["backbone.blocks.3.convs.1.bn.running_mean"][0])


def test_converting_a_published_recipe_imports_neither_torch_nor_paddle(tmp_path: Path) -> None:
    script = """
import sys
import numpy as np
from ppls.converter import expected, translate
from ppls.mappings import map_file
from ppls.checkpoint.checkpoint import StoredTensor
from tests.checkpoints import save
from pathlib import Path
pp_liteseg = map_file.architectures()["PPLiteSeg"]
for i, entry in enumerate(expected.stored_table("pp_liteseg")):
    side = lambda n: n if isinstance(n, int) else 7 if n == "num_classes" else 8
    shapes = {name: tuple(map(side, shape)) for name, shape in entry["tensors"].items()}
    targets = {n: StoredTensor("float32", s, lambda s=s: np.ones(s, np.float32)) for n, s in shapes.items()}
    back = translate.translate_back(targets, pp_liteseg, {**entry["config"], "num_classes": 7})
    path = save(Path(sys.argv[1]) / f"{i}.pdparams", {name: t.load() for name, t in back.tensors.items()})
    import ppls
    result = ppls.convert(path, path.with_suffix(".safetensors"))
    assert result.config["num_classes"] == 7 and len(result.tensors) == len(shapes)
assert i == 5, i
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "paddle", "paddleseg"}))
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=root)
    assert done.stdout.strip() == "[]", done.stderr


# Bad input


def refused(source: Path, destination: Path, **options: object) -> str:
    """The message with which a conversion is refused; nothing is written."""
    before = sorted(destination.parent.iterdir())
    with pytest.raises(ppls.Error) as error:
        ppls.convert(source, destination, **options)  # type: ignore[arg-type]
    assert sorted(destination.parent.iterdir()) == before
    return str(error.value)


def test_a_file_of_hundreds_of_state_dicts_is_refused_without_a_look_at_each(tmp_path: Path) -> None:
    weight = np.zeros(1, np.float32)
    path = save(tmp_path / "x.pdparams", {f"part{number}": {"w": weight, "v": weight} for number in range(200)})
    with pytest.raises(ppls.ConversionError, match=r"holds 200 state dicts; save the one to convert alone"):
        ppls.convert(path)


def test_a_missing_file_a_folder_and_a_text_are_no_checkpoints(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    assert "none.pdparams" in refused(tmp_path / "none.pdparams", out)
    (tmp_path / "folder").mkdir()
    assert str(tmp_path / "folder") in refused(tmp_path / "folder", out)
    (tmp_path / "text.pdparams").write_text("not a checkpoint")
    assert "text.pdparams" in refused(tmp_path / "text.pdparams", out)


def test_an_unknown_architecture_says_what_was_found_what_is_known_and_how_to_go_on(tmp_path: Path) -> None:
    save(tmp_path / "x.pdparams", {"encoder.0.weight": np.ones(3), "encoder.1.weight": np.ones(3), "fc": np.ones(1)})
    message = refused(tmp_path / "x.pdparams", tmp_path / "out.safetensors")
    assert "found 3 tensors under encoder (2), fc (1)" in message
    assert "PPLiteSeg" in message
    assert "--map FILE" in message


def test_missing_extra_and_mis_shaped_tensors_are_all_listed_at_once(small_checkpoint: Path, tmp_path: Path) -> None:
    arrays = arrays_of(small_checkpoint)
    del arrays["ppseg_head.cm.conv_out._conv.bias"]
    del arrays["backbone.features.3.conv_list.1.bn._variance"]
    arrays["extra.weight"] = np.ones(2)
    arrays["seg_heads.1.conv._batch_norm._mean"] = np.ones(5)
    message = refused(save(tmp_path / "x.pdparams", arrays), tmp_path / "out.safetensors")
    for problem in (
        "missing: ppseg_head.cm.conv_out._conv.bias, for context.conv_out.conv.bias [16]",
        "missing: backbone.features.3.conv_list.1.bn._variance, for backbone.blocks.3.convs.1.bn.running_var [8]",
        "unknown: extra.weight [2] has no rule in the map pp_liteseg",
        "wrong shape: seg_heads.1.conv._batch_norm._mean gives heads.1.conv.bn.running_mean [5], the model has [8]",
    ):
        assert f"\n  - {problem}" in message
    assert message.count("\n  - ") == 4


def test_weights_of_several_types_are_warned_of(small_checkpoint: Path, tmp_path: Path) -> None:
    arrays = arrays_of(small_checkpoint)
    arrays["backbone.features.0.conv.weight"] = arrays["backbone.features.0.conv.weight"].astype(np.float16)
    source = save(tmp_path / "mixed.pdparams", arrays)
    warning = f"{source}: 246 float32 and 1 float16 tensors; torch runs no such mixture, --dtype float32"
    assert any(found.startswith(warning) for found in ppls.convert(source).warnings)
    assert ppls.convert(source, dtype="float32").warnings == []


def test_weights_that_are_integers_are_refused(small_checkpoint: Path, tmp_path: Path) -> None:
    arrays = arrays_of(small_checkpoint)
    arrays["backbone.features.0.conv.weight"] = arrays["backbone.features.0.conv.weight"].astype(np.int8)
    message = refused(save(tmp_path / "quantised.pdparams", arrays), tmp_path / "out.safetensors")
    assert "wrong type: backbone.features.0.conv.weight is int8" in message


def test_a_missing_tensor_that_shows_an_option_is_named_beside_the_others(
    small_checkpoint: Path, tmp_path: Path
) -> None:
    arrays = arrays_of(small_checkpoint)
    del arrays["seg_heads.0.conv_out.weight"]
    del arrays["backbone.features.0.bn.bias"]
    message = refused(save(tmp_path / "x.pdparams", arrays), tmp_path / "out.safetensors")
    assert "\n  - num_classes: no tensor seg_heads.0.conv_out.weight" in message
    assert "\n  - missing: backbone.features.0.bn.bias" in message


def test_an_exported_model_without_auxiliary_heads_is_converted_without_them(
    small_checkpoint: Path, tmp_path: Path
) -> None:
    arrays = {
        name: array
        for name, array in arrays_of(small_checkpoint).items()
        if not name.startswith(("seg_heads.1", "seg_heads.2"))
    }
    result = ppls.convert(save(tmp_path / "x.pdparams", arrays), tmp_path / "out.safetensors")
    assert result.config["auxiliary_heads"] is False
    assert len(result.tensors) == 247 - 12
    assert len(ppls.load(tmp_path / "out.safetensors").heads) == 1  # type: ignore[arg-type]


def test_an_exported_model_goes_with_the_config_of_its_run(small_checkpoint: Path, tmp_path: Path) -> None:
    arrays = arrays_of(small_checkpoint)
    exported = {name: arrays[name] for name in arrays if not name.startswith(("seg_heads.1", "seg_heads.2"))}
    source = save(tmp_path / "x.pdparams", exported)
    widths = ppls.convert(small_checkpoint).config["seg_head_inter_chs"]
    result = ppls.convert(source, overrides={"seg_head_inter_chs": widths})
    assert result.config["seg_head_inter_chs"] == widths
    assert len(result.tensors) == 247 - 12
    with pytest.raises(ppls.ConversionError, match="seg_head_inter_chs: the tensors say"):
        ppls.convert(source, overrides={"seg_head_inter_chs": [widths[0] + 1, *widths[1:]]})


def test_auxiliary_heads_can_be_left_out(small_checkpoint: Path) -> None:
    result = ppls.convert(small_checkpoint, overrides={"auxiliary_heads": False})
    assert len(result.tensors) == 247 - 12
    assert sum(dropped.why.startswith("left out") for dropped in result.dropped) == 12


def test_options_that_contradict_the_tensors_show_both_and_nothing_that_follows(
    small_checkpoint: Path, tmp_path: Path
) -> None:
    message = refused(small_checkpoint, tmp_path / "o.safetensors", overrides={"num_classes": 5, "backbone": "STDC2"})
    assert "num_classes: the tensors say 3, --set num_classes says 5" in message
    assert "backbone.layers: the tensors say [2, 2, 2], --set backbone says [4, 5, 3]" in message
    assert "missing" not in message
    assert "wrong shape" not in message
    message = refused(small_checkpoint, tmp_path / "o.safetensors", overrides={"cm_bin_sizes": [1, 2]})
    assert "cm_bin_sizes: the tensors say 3 values, --set cm_bin_sizes says [1, 2]" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overrides": {"num_clases": 3}}, "no option 'num_clases'; it has arm_out_chs"),
        ({"architecture": "HeavySeg"}, "--arch HeavySeg: not an architecture that ppls knows; it knows"),
        ({"architecture": OTHER, "map": "pp_liteseg"}, "the map pp_liteseg is of PPLiteSeg; give one of the two"),
        ({"upsample": "cubic"}, "--upsample cubic: known are bilinear and nearest"),
        ({"dtype": "int8"}, "--dtype int8: known are"),
        ({"overrides": {"resize_mode": "area"}}, "resize_mode: 'area' is not one of 'bilinear', 'nearest'"),
        ({"overrides": {"backbone": "ResNet50_vd"}}, "says the backbone ResNet50_vd, the tensors are of STDCNet"),
        ({"overrides": {"cm_bin_sizes": "abc"}}, "cm_bin_sizes says 'abc'; expected a list, each a whole number"),
        ({"overrides": {"cm_bin_sizes": [1.5, 2, 4]}}, "expected a list, each a whole number"),
        ({"overrides": {"cm_bin_sizes": 3}}, "expected a list, each a whole number"),
        ({"overrides": {"cm_bin_sizes": [0, 2, 4]}}, "a bin size of 0: a pooled map has at least one pixel"),
        ({"overrides": {"auxiliary_heads": "maybe"}}, "expected true or false"),
        ({"overrides": {"num_classes": [3]}}, "--set num_classes says [3]; expected a whole number from 1"),
    ],
)
def test_options_that_cannot_be_understood_are_refused(
    small_checkpoint: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    assert message in refused(small_checkpoint, tmp_path / "out.safetensors", **options)


def test_the_destination_is_never_the_checkpoint(small_checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    copy.write_bytes(small_checkpoint.read_bytes())
    assert "is the source itself" in refused(copy, copy, force=True)
    assert copy.read_bytes() == small_checkpoint.read_bytes()


def test_a_torch_name_is_refused_with_the_right_one(small_checkpoint: Path, tmp_path: Path) -> None:
    assert "name it" in refused(small_checkpoint, tmp_path / "out.pth")


def test_a_converted_file_is_not_converted_again(small_checkpoint: Path, tmp_path: Path) -> None:
    ppls.convert(small_checkpoint, tmp_path / "a.safetensors")
    assert "is converted already" in refused(tmp_path / "a.safetensors", tmp_path / "b.safetensors")


def test_a_source_that_changes_while_it_is_read_is_an_error(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ppls.converter import convert as module

    copy = tmp_path / "x.pdparams"
    copy.write_bytes(small_checkpoint.read_bytes())
    plan = module.plan_conversion

    def plan_and_touch(*args: object, **options: object) -> object:
        copy.write_bytes(small_checkpoint.read_bytes())
        return plan(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "plan_conversion", plan_and_touch)
    assert "changed while it was being read" in refused(copy, tmp_path / "out.safetensors")


def test_a_users_own_map_takes_the_place_of_ppls(small_checkpoint: Path, tmp_path: Path) -> None:
    """Same source, targets with the source's own names, for a model that ppls does not have."""
    text = shipped_maps()["pp_liteseg"].read_text().replace("PPLiteSeg\n", "PPLiteSeg\ntarget: none\n")
    (tmp_path / "mine.yaml").write_text(text.replace("decoder.<i>.conv_low", "arms.<i>.x"))
    result = ppls.convert(small_checkpoint, tmp_path / "out.safetensors", map=tmp_path / "mine.yaml")
    assert "arms.0.x.conv.weight" in load_file(tmp_path / "out.safetensors")
    assert result.map.target is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs to become another user")
def test_a_folder_that_may_not_be_written_is_named(small_checkpoint: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    closed = folder / "closed"
    closed.mkdir(mode=0o555)
    source = folder / "x.pdparams"
    source.write_bytes(small_checkpoint.read_bytes())
    folder.chmod(0o755)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # root may write anywhere, so the child becomes somebody else
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            ppls.convert(source, closed / "out.safetensors")
        except BaseException as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        message = pipe.read()
    os.waitpid(child, 0)
    assert message == f"{closed / 'out.safetensors'}: the folder {closed} is not writable; choose another"
    assert list(closed.iterdir()) == []
    shutil.rmtree(folder)
