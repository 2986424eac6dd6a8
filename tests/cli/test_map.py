"""`ppls map`: what its actions print, and what they end with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from ppls.cli.verbs import ppls

PORT = """
import torch
import ppls

def build():
    return ppls.load({0!r})

def given_none(path):
    assert path is None
    return build()

def lacking():
    model = build()
    model.decoder[1].conv_out.bn = torch.nn.Identity()
    return model

class OnTokens(torch.nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.fc = torch.nn.Linear(conv.in_channels, conv.out_channels, conv.bias is not None)

    def forward(self, x):
        return self.fc(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])

def with_linears(path):
    model = build()
    for module in [*model.modules()]:
        for name, conv in [*module.named_children()]:
            if isinstance(conv, torch.nn.Conv2d) and conv.kernel_size == (1, 1):
                setattr(module, name, OnTokens(conv))
    if path is not None:
        from safetensors.torch import load_file
        model.load_state_dict(load_file(path))
    return model

def no_module():
    return 3

def failing():
    raise RuntimeError("no such weights")

class Picky(torch.nn.Module):
    def forward(self, image):
        raise ValueError("only for size 7")
"""


@pytest.fixture
def run(small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    (tmp_path / "drafted_port.py").write_text(PORT.format(str(small_checkpoint)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "drafted_port", raising=False)

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(ppls, ["map", *map(str, arguments)])

    return invoke


def test_a_draft_that_is_settled_fills_the_port(run: Callable[..., Result], small_checkpoint: Path) -> None:
    drafted = run("draft", small_checkpoint, "--model", "drafted_port:given_none", "-o", "mine.yaml")
    assert (drafted.exit_code, drafted.stdout) == (0, ""), drafted.stderr
    assert "0 likely, 0 open" in drafted.stderr
    assert Path("mine.yaml").read_text().startswith("# PPLiteSeg onto drafted_port:given_none")
    again = run("draft", small_checkpoint, "--model", "drafted_port:build", "-o", "mine.yaml")
    assert again.exit_code == 1
    assert "--force" in again.stderr
    checked = run("check", "mine.yaml", small_checkpoint, "--model", "drafted_port:build")
    assert (checked.exit_code, checked.stdout.splitlines()[-1]) == (0, "whole: checkpoint and model fit")


def test_convolutions_of_one_pixel_that_are_linears_are_drafted_converted_and_the_same_function(
    run: Callable[..., Result], small_checkpoint: Path
) -> None:
    drafted = run("draft", small_checkpoint, "--model", "drafted_port:with_linears", "-o", "mine.yaml")
    assert drafted.exit_code == 0, drafted.stderr
    assert "{squeeze: [2, 3]}" in Path("mine.yaml").read_text()
    converted = CliRunner().invoke(ppls, ["convert", str(small_checkpoint), "o.safetensors", "--map", "mine.yaml"])
    assert converted.exit_code == 0, converted.stderr
    port = __import__("drafted_port")
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        (found,), (expected,) = (
            model.eval()(image)[:1] for model in (port.with_linears("o.safetensors"), port.build())
        )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_what_stays_open_is_status_1_and_nothing_is_converted_by_it(
    run: Callable[..., Result], small_checkpoint: Path
) -> None:
    drafted = run("draft", small_checkpoint, "--model", "drafted_port:lacking", "-o", "mine.yaml", "--json")
    assert drafted.exit_code == 1
    found = json.loads(drafted.stdout)
    lost = {f"ppseg_head.arm_list.1.conv_out._batch_norm.{name}" for name in ("weight", "bias", "_mean", "_variance")}
    assert set(found["unmatched"]["source"]) == lost
    assert found["unmatched"]["target"] == []
    converted = CliRunner().invoke(ppls, ["convert", str(small_checkpoint), "o.safetensors", "--map", "mine.yaml"])
    assert converted.exit_code == 1
    assert "some rows are open" in converted.stderr
    checked = run("check", "mine.yaml", small_checkpoint, "--model", "drafted_port:lacking")
    assert checked.exit_code == 1
    assert "ppseg_head.arm_list.1.conv_out._batch_norm.weight is open: no candidate" in checked.stdout


@pytest.mark.parametrize(
    ("model", "status", "said"),
    [
        ("drafted_port:no_module", 1, "the candidate is a int; --model must return a torch.nn.Module"),
        ("drafted_port:failing", 1, "no such weights"),
        ("drafted_port:absent", 1, "drafted_port:absent: cannot be imported"),
        ("drafted_port", 2, "expected MODULE:CALLABLE"),
        (
            "drafted_port:Picky",
            1,
            "does not run on an image of 128 by 192 pixels in float64: ValueError: only for size 7",
        ),
    ],
)
def test_a_port_that_cannot_be_run_is_one_message(
    run: Callable[..., Result], small_checkpoint: Path, model: str, status: int, said: str
) -> None:
    result = run("draft", small_checkpoint, "--model", model)
    assert (result.exit_code, result.stdout) == (status, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_map_is_shown_with_every_row_expanded(run: Callable[..., Result]) -> None:
    lines = run("show", "ports/super_gradients").stdout.splitlines()
    (attention,) = [line for line in lines if line.startswith("ppseg_head.arm_list.0.conv_xy_atten.0._conv.weight")]
    assert attention.split() == [
        "ppseg_head.arm_list.0.conv_xy_atten.0._conv.weight",
        "decoder.up_stages.2.conv_atten.0.seq.conv.weight",
        *["permute", "dim", "1", "order", "[2,", "3,", "0,", "1]"],
    ]
    assert any(line.startswith("backbone.features.0.conv.weight ") for line in lines)
    assert run("show", "nobody").exit_code == 2


def test_checking_names_what_a_map_leaves_over(run: Callable[..., Result], small_checkpoint: Path) -> None:
    Path("few.yaml").write_text(
        "format: 2\nlike: pp_liteseg\nrest: none\nmodules: [[seg_heads.<i>.conv_out, o.<i>, conv]]\n"
    )
    found: dict[str, Any] = json.loads(run("check", "few.yaml", small_checkpoint, "--json").stdout)
    assert any("backbone.features.0.conv.weight" in problem for problem in found["problems"])
    assert run("check", "few.yaml").exit_code == 0
    assert run("check", "few.yaml", "--model", "drafted_port:build").exit_code == 2
