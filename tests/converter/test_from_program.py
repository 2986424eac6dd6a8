"""Options that an export's program tells: read from it in both of Paddle's forms, and held against all else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ppls
from ppls.converter.expected import recipe_config
from ppls.errors import CheckpointError, ConversionError
from ppls.mappings.config_rules import put
from ppls.mappings.map_index import on_recipe
from ppls.mappings.maps import Map
from ppls.mappings.patterns import lookup
from tests.architectures import NOT_EXPORTED, flat, map_of, readable, small_config
from tests.checkpoints import save, state_of
from tests.conftest import run_with_upstream

FORMS = ["pir", "pdmodel"]
UNUSUAL = {"cm_bin_sizes": [1, 3, 6], "resize_mode": "nearest", "context_resize_mode": "bilinear"}

Change = Callable[[dict[str, Any]], None]


@pytest.mark.parametrize("form", FORMS)
def test_an_export_has_the_options_of_its_program_and_none_is_assumed(exports: dict[str, Path], form: str) -> None:
    conversion = ppls.convert(exports[form])
    assert conversion.config.items() >= UNUSUAL.items()
    assert conversion.assumed == {}
    assert conversion.recipe is None


@pytest.mark.parametrize("form", FORMS)
def test_the_model_of_an_export_computes_what_was_exported(exports: dict[str, Path], form: str) -> None:
    import torch

    recorded = np.load(f"{exports[form]}.npz")
    with torch.no_grad():
        (logits,) = ppls.load(exports[form]).eval()(torch.from_numpy(recorded["input"]))
    np.testing.assert_allclose(logits.numpy(), recorded["eval"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            {"cm_bin_sizes": [1, 2, 4]},
            r"cm_bin_sizes: .*model\.\w+ says \[1, 3, 6\], --set cm_bin_sizes says \[1, 2, 4\]",
        ),
        ({"resize_mode": "bilinear"}, r"resize_mode: .* says 'nearest', --set resize_mode says 'bilinear'"),
        ({"cm_bin_sizes": [1, 3]}, r"cm_bin_sizes: .* says \[1, 3, 6\], --set cm_bin_sizes says \[1, 3\]"),
    ],
    ids=["values", "a word", "length"],
)
def test_what_contradicts_the_program_is_an_error_that_shows_both(
    exports: dict[str, Path], form: str, overrides: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConversionError, match=says):
        ppls.convert(exports[form], overrides=overrides)


def test_a_run_that_contradicts_the_program_is_an_error_that_names_its_line(
    exports: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run.yml"
    run.write_text("model:\n  type: PPLiteSeg\n  cm_bin_sizes: [1, 2, 4]\n")
    with pytest.raises(ConversionError, match=r"says \[1, 3, 6\], .*run\.yml:3 says \[1, 2, 4\]"):
        ppls.convert(exports["pir"], config=run)


def test_a_run_whose_silence_contradicts_the_program_is_an_error(exports: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run.yml"
    run.write_text("model:\n  type: PPLiteSeg\n  resize_mode: nearest\n")
    with pytest.raises(ConversionError, match=r"says \[1, 3, 6\], the run's config says nothing, .* \[1, 2, 4\]"):
        ppls.convert(exports["pir"], config=run)
    run.write_text("model:\n  type: PPLiteSeg\n  resize_mode: nearest\n  cm_bin_sizes: [1, 3, 6]\n")
    assert ppls.convert(exports["pir"], config=run).config.items() >= UNUSUAL.items()


@pytest.mark.parametrize("form", FORMS)
def test_a_user_may_say_what_the_program_says(exports: dict[str, Path], form: str) -> None:
    assert ppls.convert(exports[form], overrides=UNUSUAL).config.items() >= UNUSUAL.items()


def test_another_way_to_resize_is_the_users_to_choose(exports: dict[str, Path]) -> None:
    config = ppls.convert(exports["pir"], upsample="bilinear").config
    assert (config["resize_mode"], config["cm_bin_sizes"]) == ("bilinear", [1, 3, 6])


@pytest.fixture
def changed(exports: dict[str, Path], tmp_path: Path) -> Callable[[str, Any], Path]:
    """A copy of the export in PIR's form, an attribute of every operation of a kind changed in its program."""

    def change(kind: str, attribute: str, value: Any, only: int | None = None) -> Path:
        folder = tmp_path / "export"
        shutil.copytree(exports["pir"], folder)
        program = json.loads((folder / "model.json").read_bytes())
        operations = [op for op in program["program"]["regions"][0]["blocks"][0]["ops"] if op["#"] == f"1.{kind}"]
        assert operations
        for operation in operations if only is None else operations[only : only + 1]:
            (entry,) = (entry for entry in operation["A"] if entry["N"] == attribute)
            entry["AT"]["D"] = value
        (folder / "model.json").write_text(json.dumps(program))
        return folder

    return change


def test_an_epsilon_that_is_not_the_maps_is_an_error_that_shows_both(changed: Callable[..., Path]) -> None:
    with pytest.raises(ConversionError, match=r"and \d+ more: .*model\.json has epsilon 0\.001 in batch_norm, .*1e-05"):
        ppls.convert(changed("batch_norm_", "epsilon", 1e-3))


def test_one_epsilon_among_many_is_found(changed: Callable[..., Path]) -> None:
    with pytest.raises(ConversionError, match=r"- [\w.]+: .*model\.json has epsilon 0\.001 in batch_norm"):
        ppls.convert(changed("batch_norm_", "epsilon", 1e-3, only=7))


def test_resizes_that_differ_where_the_option_is_one_are_an_error(changed: Callable[..., Path]) -> None:
    with pytest.raises(ConversionError, match=r"resize_mode: .* has resize '\w+' before .*, but resize '\w+' before "):
        ppls.convert(changed("nearest_interp", "interp_method", "bilinear", only=1))


@pytest.mark.parametrize(
    "value",
    ["bicubic", "x" * 100_000, 10**30, True, None, [], {"a": 1}, ["bilinear"]],
    ids=lambda value: repr(value)[:12],
)
def test_a_word_that_no_option_has_is_one_short_message(changed: Callable[..., Path], value: Any) -> None:
    folder = changed("nearest_interp", "interp_method", value)
    if value is None:  # said nowhere
        assert ppls.convert(folder).assumed["resize_mode"] == "bilinear"
        return
    with pytest.raises(ConversionError, match="resize_mode") as caught:
        ppls.convert(folder)
    assert len(str(caught.value)) < 1000


def test_numbers_that_no_option_has_are_one_short_message(exports: dict[str, Path], tmp_path: Path) -> None:
    program = (exports["pir"] / "model.json").read_text()
    shutil.copy(exports["pir"] / "model.pdiparams", tmp_path)
    six = '{"#":"0.a_i64","D":6},{"#":"0.a_i64","D":6}'
    assert program.count(six) == 1
    for value in (10**38, -1, 0, 2.5, '"6"', "[6]", "true", 10**50):
        text = program.replace(six, six.replace('"D":6', f'"D":{value}'))
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(ppls.Error) as caught:
            ppls.convert(tmp_path)
        assert len(str(caught.value)) < 1000


def test_operations_that_cannot_be_read_are_one_message(exports: dict[str, Path], tmp_path: Path) -> None:
    program = json.loads((exports["pir"] / "model.json").read_bytes())
    shutil.copy(exports["pir"] / "model.pdiparams", tmp_path)
    program["program"]["regions"][0]["blocks"][0]["ops"][-1]["I"] = "nothing"
    (tmp_path / "model.json").write_text(json.dumps(program))
    with pytest.raises(CheckpointError, match="damaged, or not a Paddle program: an operation without"):
        ppls.convert(tmp_path)


def test_a_checkpoint_that_is_no_export_does_not_pay_for_programs(tmp_path: Path) -> None:
    source = save(tmp_path / "model.pdparams", state_of("PPLiteSeg", "PP-LiteSeg-T"))
    code = "import ppls, sys; ppls.convert(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(source)], capture_output=True, text=True, check=True)
    assert not {"ppls.checkpoint.graph", "ppls.converter.from_program"} & {*done.stdout.split()}


EXPORT = """
import json, pickle, sys
import paddle
from pathlib import Path
from ppls.converter.expected import expected_sides
from ppls.converter.reference import upstream_model
from ppls.mappings.map_file import architectures
from ppls.parity.reference.network import build
architecture, config, folder = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
model = build(upstream_model(architectures()[architecture], config))
model.eval()
high, wide = (max(side, expected_sides(architectures()[architecture], config).least_size) for side in (64, 128))
paddle.jit.save(model, str(folder / "model"), input_spec=[paddle.static.InputSpec([1, 3, high, wide], "float32")])
names = {tensor.name: {"structured_name": name} for name, tensor in model.state_dict().items()}
(folder / "model.pdiparams.info").write_bytes(pickle.dumps(names, 2))
"""


def unusual(map: Map) -> dict[str, Any]:
    """Of the options that a program tells, another value than the first recipe's, where the model may have another."""
    given = flat(recipe_config(map, next(iter(map.recipes))))
    options: dict[str, Any] = {}
    for rule in map.options:
        value, told = given.get(rule.path, rule.default), rule.program
        if told is None or rule.target_only or told.fact == "heads":  # which fix what else upstream builds
            continue
        others = [one for one in (*rule.one_of, not value) if type(one) is type(value) and one != value]
        if isinstance(value, list):  # a dilation of 1 may mean a layer of another kind
            options[rule.path] = [one if one == 1 else one + 1 + at for at, one in enumerate(value)]
        else:
            options[rule.path] = others[0]
    for included in on_recipe(map, next(iter(map.recipes))).includes:
        if included.map.source_preset:  # nothing but presets can be built
            changed = {path: value for path, value in options.items() if path.startswith(f"{included.option}.")}
            presets = [flat(preset, f"{included.option}.") for preset in included.map.presets.values()]
            options |= next(preset for preset in presets if changed.items() <= preset.items())
    return options


@pytest.mark.slow
@pytest.mark.parametrize("architecture", NOT_EXPORTED)
def test_what_paddleseg_cannot_export_is_known(tmp_path: Path, architecture: str) -> None:
    config = json.dumps(small_config(map_of(architecture)))
    with pytest.raises(AssertionError, match=NOT_EXPORTED[architecture]):
        run_with_upstream(EXPORT, architecture, config, str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [name for name in readable() if name not in NOT_EXPORTED])
def test_every_architecture_s_options_are_told_by_its_export(tmp_path: Path, architecture: str) -> None:
    map = map_of(architecture)
    config, options = small_config(map), unusual(map)
    assert options or not any(rule.program and not rule.target_only for rule in map.options)
    for path, value in options.items():
        put(config, path, value)
    run_with_upstream(EXPORT, architecture, json.dumps(config), str(tmp_path))
    conversion = ppls.convert(tmp_path / "model.pdiparams")
    for path, value in options.items():
        found = lookup(conversion.config, path)
        assert found == (value[: len(found)] if isinstance(value, list) else value), (
            path
        )  # it may be longer than needed
    told = {rule.path for rule in map.options if rule.program is not None}
    assert not conversion.assumed.keys() & told
    assert not {name for name in conversion.assumed if name.endswith((".epsilon", ".momentum"))}
