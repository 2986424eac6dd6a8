"""Nothing that a map, a config or a converted file names is imported or run, but ppls's classes and upstream's."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from torch import nn

import ppls
from ppls.checkpoint.checkpoint import StoredTensor
from ppls.checkpoint.converted_file import write_converted_file
from ppls.cli.convert import convert as convert_command
from ppls.cli.inspect import inspect as inspect_command
from ppls.cli.verify import verify as verify_command
from ppls.converter.inspect import inspect
from ppls.converter.reference import upstream_model
from ppls.errors import ConversionError, Error, MapError, UsageError
from ppls.mappings.map_file import architectures, load_map, open_map
from ppls.mappings.targets import import_target
from tests.checkpoints import save

COMMANDS = {"convert": convert_command, "inspect": inspect_command, "verify": verify_command}

TOY = """\
format: 2
architecture: Toy
source: {source}
layers: {{linear: {{weight: {{to: weight, transpose: [1, 0]}}, bias: bias}}}}
modules:
  - [fc, fc, linear]
config: {{size: {{size: "fc.weight[1]"}}, command: {{default: touch}}}}
"""

# A module that tells when it is imported and when something of it is called; and a right model.
EVIL = """\
import pathlib
from torch import nn
HERE = pathlib.Path(__file__).parent
(HERE / "imported").touch()
def run(**options):
    (HERE / "called").touch()
    return Net(**options)
class Net(nn.Module):
    def __init__(self, size, command):
        super().__init__()
        self.fc = nn.Linear(4, size)
"""


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that can be imported from, with the module `evil` in it."""
    (tmp_path / "evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return tmp_path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save(
        tmp_path / "m.pdparams", {"fc.weight": np.eye(4, 2, dtype=np.float32), "fc.bias": np.ones(2, np.float32)}
    )


def toy(folder: Path, target: str | None = None, source: str = "paddleseg.models.Toy") -> Path:
    path = folder / "toy.yaml"
    path.write_text(TOY.format(source=source) + f"target: {target or 'none'}\n")
    return path


def run(command: str, *arguments: object) -> tuple[int, str]:
    """A command's exit status and what it prints; what it raises is raised."""
    done = CliRunner().invoke(COMMANDS[command], [*map(str, arguments)], catch_exceptions=False)
    return done.exit_code, done.output


def ran(folder: Path) -> list[str]:
    return [name for name in ("imported", "called", "pwned") if (folder / name).exists()]


@pytest.mark.parametrize(
    "name",
    [
        "evil.Net",
        "evil.run",
        "subprocess.getoutput",
        "os.system",
        "builtins.eval",
        "torch.nn.Linear",
        "ppls.cli.convert",
        "ppls.modelsX.Net",
        "ppls.models",
        "paddleseg.models.PPLiteSeg",
    ],
)
def test_a_target_elsewhere_is_refused_when_the_map_is_read(evil: Path, checkpoint: Path, name: str) -> None:
    map = toy(evil, name)
    for attempt in (
        lambda: load_map(map),
        lambda: inspect(checkpoint, map=map),
        lambda: ppls.convert(checkpoint, map=map),
        lambda: ppls.convert_back(checkpoint, map=map),
        lambda: ppls.verify(checkpoint, map=map),
    ):
        with pytest.raises(MapError, match=r"toy\.yaml:8: target: .* is not in ppls\.models.*--allow-import"):
            attempt()
    assert ran(evil) == []


@pytest.mark.parametrize(
    "name", ["evil.run", "os.system", "paddleseg.utils.utils.load_entire_model", "paddleseg.os.system", "torch.load"]
)
def test_a_source_elsewhere_is_refused_when_the_map_is_read(evil: Path, checkpoint: Path, name: str) -> None:
    map = toy(evil, source=name)
    for attempt in (lambda: inspect(checkpoint, map=map), lambda: ppls.verify(checkpoint, map=map)):
        with pytest.raises(MapError, match=r"toy\.yaml:3: source: .* is not in paddleseg\.models"):
            attempt()
    assert ran(evil) == []


def test_a_preset_of_the_source_leads_nowhere_else(evil: Path) -> None:
    map = toy(evil)
    for preset in ("evil.<preset>", "paddleseg.models.<preset>.x;y", "<preset>.run"):
        map.write_text(toy(evil).read_text() + f"presets: {{evil: {{command: touch}}}}\nsource_preset: '{preset}'\n")
        with pytest.raises(MapError, match=r"toy\.yaml:10: source_preset: "):
            load_map(map)


@pytest.mark.parametrize(
    "name",
    [
        "ppls.models.building.build_to_fit",  # a function
        "ppls.models.base.Path",  # a class of somebody else's
        "ppls.models.base.torch",  # a module
        "ppls.models.base.torch.load",  # beyond one
        "ppls.models.base.nn.Module",
        "ppls.models.layers.Tensor",
        "ppls.models.registry.build_backbone",
        "ppls.models.base.PyTorchModelHubMixin",
        "ppls.models.nothing.Net",
        "ppls.models.Nothing",
        "ppls.models.__doc__",
        "ppls.models.__builtins__",
    ],
)
def test_a_name_within_ppls_that_is_no_model_is_refused_when_it_is_imported(
    tmp_path: Path, checkpoint: Path, name: str
) -> None:
    map = toy(tmp_path, name)
    with pytest.raises(ConversionError, match=r"toy\.yaml: `target: .*"):
        ppls.convert(checkpoint, map=map)


@pytest.mark.parametrize("name", ["evil.Net", "evil.run"])
def test_a_module_that_the_user_allows_is_imported(evil: Path, checkpoint: Path, name: str) -> None:
    map = toy(evil, name)
    conversion = ppls.convert(checkpoint, map=map, allow_import=["evil"])
    assert conversion.tensors["fc.weight"].shape == (2, 4)
    assert ran(evil)[0] == "imported"
    assert inspect(checkpoint, map=map, allow_import=["evil"]).conversion is not None
    with pytest.raises(MapError, match="not in ppls"):  # of one call, not of the process
        ppls.convert(checkpoint, map=map)


def test_a_module_is_allowed_for_a_map_and_by_its_name(evil: Path, checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="give the map with --map FILE"):
        ppls.convert(checkpoint, allow_import=["evil"])
    for name in ("", "evil;os", "../evil", "evil."):
        with pytest.raises(UsageError, match="expected the name of a module"):
            open_map(toy(evil), [name])
    for other in ("evi", "evil.Net"):
        with pytest.raises(MapError, match="not in ppls"):
            open_map(toy(evil, "evil.Net"), [other])


def test_what_fails_in_an_allowed_module_is_one_error(evil: Path, checkpoint: Path) -> None:
    (evil / "broken.py").write_text("raise SystemExit(3)\n")
    for name in ("broken.Net", "evil.Nothing", "evil.HERE", "evil.pathlib", "evil.nn"):
        with pytest.raises(ConversionError, match=r"`target: "):
            ppls.convert(checkpoint, map=toy(evil, name), allow_import=["broken", "evil"])


@pytest.mark.parametrize("command", ["inspect", "convert", "verify"])
def test_the_commands_run_nothing_that_a_map_names(evil: Path, checkpoint: Path, command: str) -> None:
    destination = [evil / "out.safetensors"] if command == "convert" else []
    for map in (toy(evil, "evil.run"), toy(evil, source="evil.run"), toy(evil, "subprocess.getoutput")):
        for arguments in ([command, checkpoint, *destination], ["inspect"]):
            status, output = run(*arguments, "--map", map)
            assert status == 2
            assert "error: " in output
            assert "toy.yaml:" in output
    assert ran(evil) == []
    if command != "verify":
        map = toy(evil, "evil.Net")
        assert run(command, checkpoint, *destination, "--map", map, "--allow-import", "evil")[0] == 0


@pytest.mark.parametrize(
    "setting",
    [
        "backbone={class: os.system, kwargs: {command: touch}}",
        "backbone={type: STDC1, class: os.system}",
        "backbone.class=os.system",
        "class=os.system",
        "parts=[backbone]",
        "backbone=os.system",
        "arm_type='__import__(\"os\")'",
        "pretrained=evil.pdparams",
        "backbone.pretrained=evil.pdparams",
    ],
)
def test_options_name_nothing_that_is_called(small_checkpoint: Path, tmp_path: Path, setting: str) -> None:
    status, output = run("convert", small_checkpoint, tmp_path / "out.safetensors", "--set", setting)
    assert status in (1, 2)
    assert output.startswith("error: ")
    config = tmp_path / "run.yml"
    key, value = setting.split("=", 1)
    config.write_text(f"model: {{type: PPLiteSeg, {key}: {value}}}\n")
    if key == "pretrained":  # which PaddleSeg's own configs have, and which is not looked at
        assert "pretrained" not in str(ppls.convert(small_checkpoint, config=config).reference)
    else:
        with pytest.raises(ConversionError):
            ppls.convert(small_checkpoint, config=config)


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("os.system", {"command": "touch pwned"}),
        ("subprocess.getoutput", {"cmd": "touch pwned"}),
        ("ppls.inference.loading.load", {"path": "x"}),
        ("evil.run", {}),
        ("PPLiteSeg", {"backbone": "os.system"}),
        ("PPLiteSeg", {"backbone": {"type": "os.system", "command": "touch pwned"}}),
        ("PPLiteSeg", {"backbone": {"class": "os.system", "kwargs": {}}}),
        ("PPLiteSeg", {"backbone": [1]}),
        ("PPLiteSeg", {"arm_type": "__import__('os')"}),
        ("PPLiteSeg", {"num_classes": -1}),
    ],
)
def test_a_converted_file_selects_nothing_but_models_by_their_names(
    evil: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, config: dict[str, Any]
) -> None:
    monkeypatch.chdir(evil)
    metadata = {"format": "pt", "architecture": architecture, "config": json.dumps(config), "map_sha256": "0" * 64}
    path = evil / "model.safetensors"
    tensor = StoredTensor("float32", (1,), lambda: np.zeros(1, np.float32))
    write_converted_file(path, {"w": tensor}, metadata, force=False)
    for place in (path, evil):  # a file, and a hub folder
        with pytest.raises(Error):
            ppls.load(place)
    assert ran(evil) == []


def test_a_hub_folders_config_names_no_class(evil: Path, converted: Path) -> None:
    (evil / "model.safetensors").write_bytes(converted.read_bytes())
    for backbone in ({"class": "os.system"}, {"type": "evil.run"}, "evil.run"):
        (evil / "config.json").write_text(json.dumps({"num_classes": 3, "backbone": backbone}))
        with pytest.raises(Error, match="unknown backbone"):
            ppls.models.PPLiteSeg.from_pretrained(evil)
    assert ran(evil) == []


def test_every_shipped_target_is_imported() -> None:
    for map in architectures().values():
        if map.target is not None:
            assert issubclass(import_target(map), nn.Module)  # type: ignore[arg-type]


def test_only_the_parts_that_the_map_has_are_built_by_the_reference() -> None:
    description = upstream_model(
        architectures()["PPLiteSeg"],
        {"backbone": {"base": 8}, "arm_out_chs": {"class": "os.system", "kwargs": {"command": "touch"}}},
    )
    assert description["parts"] == ["backbone"]
    assert description["kwargs"]["backbone"]["class"] == "paddleseg.models.backbones.stdcnet.STDCNet"
    assert "parts" not in description["kwargs"]["backbone"]


class TestReference:
    """The other wall: what the reference process imports, whatever its job says."""

    network: Any

    @pytest.fixture(autouse=True)
    def paddle(self) -> None:
        pytest.importorskip("paddleseg")
        from ppls.parity.reference import network

        type(self).network = network

    @pytest.mark.parametrize(
        "name",
        [
            "evil.run",
            "os.system",
            "subprocess.getoutput",
            "paddleseg.utils.utils.load_entire_model",  # unpickles
            "paddleseg.models.os.system",
            "paddleseg.models.bisenet.os",
            "paddleseg.models.bisenet.os.system",
            "paddleseg.models.pp_liteseg.utils",
            "paddleseg.models.pp_liteseg.nn",
            "paddleseg.models.pp_liteseg.manager",
            "paddleseg.models.backbones.swin_transformer.to_2tuple",  # a function, and no model
            "paddleseg.models.backbones.swin_transformer.paddle",
            "paddleseg.modelsX.Net",
            "os",
            "eval",
        ],
    )
    def test_nothing_but_models_is_found(self, evil: Path, name: str) -> None:
        with pytest.raises(self.network.JobError):
            self.network.find_class(name)
        assert ran(evil) == []

    @pytest.mark.parametrize(
        "name",
        [
            "PPLiteSeg",
            "STDC1",
            "paddleseg.models.PPLiteSeg",
            "paddleseg.models.backbones.stdcnet.STDCNet",
            "paddleseg.models.backbones.mix_transformer.MixVisionTransformer_B0",
        ],
    )
    def test_models_are_found_by_name_and_in_the_registry(self, name: str) -> None:
        assert callable(self.network.find_class(name))

    def test_what_the_user_allows_is_found(self, evil: Path) -> None:
        assert callable(self.network.find_class("evil.run", ["evil"]))
        with pytest.raises(self.network.JobError, match="no class of a model"):
            self.network.find_class("evil.pathlib", ["evil"])

    def test_an_option_that_looks_like_a_description_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(self.network, "find_class", lambda name, allowed: dict)
        kwargs = {"backbone": {"class": "x", "kwargs": {}}, "other": {"class": "run", "kwargs": {}}}
        built = self.network.build({"class": "PPLiteSeg", "kwargs": kwargs, "parts": ["backbone"]})
        assert built == {"backbone": {}, "other": {"class": "run", "kwargs": {}}}

    @pytest.mark.parametrize(
        "kwargs",
        [
            {"pretrained": "evil"},
            {"backbone": {"pretrained": "evil"}},
            {"norm_layer": "__import__('os').system('true') or nn.LayerNorm"},
            {"arm_type": ["UAFM", "a.b"]},
        ],
    )
    def test_no_file_is_loaded_and_no_text_evaluated_for_an_option(self, kwargs: dict[str, Any]) -> None:
        with pytest.raises(self.network.JobError):
            self.network.build({"class": "paddleseg.models.PPLiteSeg", "kwargs": kwargs})
