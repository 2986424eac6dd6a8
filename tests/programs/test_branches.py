"""Programs that ask: of both branches the one runs that a size, or a number of the image, asks for."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ppls
from ppls.errors import CheckpointError
from ppls.programs.module import load_program
from tests.programs.test_exports import run_in_paddle

ASKING = """
import sys
import numpy as np, paddle

class Asking(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv, self.more = paddle.nn.Conv2D(3, 4, 3, padding=1), paddle.nn.Conv2D(4, 4, 1)

    def forward(self, image):
        x = self.conv(image)
        if x.shape[2] > 20:
            x = paddle.nn.functional.avg_pool2d(x, 2)
            if paddle.mean(image) > 0:
                x = self.more(x)
            else:
                x = x * 2
        else:
            x = x - 1
        return x + 1

paddle.seed(1)
model = Asking()
model.eval()
paddle.jit.save(model, sys.argv[1] + "/model", input_spec=[paddle.static.InputSpec([-1, 3, -1, -1], "float32")])
images = [paddle.randn([1, 3, 16, 18]), paddle.randn([2, 3, 24, 30]) + 3, paddle.randn([2, 3, 24, 30]) - 3]
made = {f"{name}{at}": each for at, image in enumerate(images) for name, each in (("x", image), ("y", model(image)))}
np.savez(sys.argv[1] + ".npz", **{name: each.numpy() for name, each in made.items()})
"""


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The export, and what Paddle computes of it for each way through."""
    return run_in_paddle(ASKING, tmp_path_factory.mktemp("asking"))


@torch.no_grad()
def test_every_way_through_computes_what_paddle_computes(asking: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    export, run = asking
    ppls.convert_program(export, tmp_path / "out")
    for module in (load_program(export), ppls.load(tmp_path / "out"), copy.deepcopy(load_program(export))):
        for way in range(3):
            found = module(torch.from_numpy(run[f"x{way}"]))[0].numpy()
            assert found.shape == run[f"y{way}"].shape
            assert np.abs(found - run[f"y{way}"]).max() <= 1e-6 * np.abs(run[f"y{way}"]).max()


def last_if(operations: list[dict[str, Any]]) -> dict[str, Any]:
    return next(operation for operation in reversed(operations) if operation["#"] == "1.if")


def block(operations: list[dict[str, Any]], branch: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = last_if(operations)["regions"][branch]["blocks"][0]["ops"]
    return found


def taken_from_outside(operations: list[dict[str, Any]]) -> None:
    after = operations[operations.index(last_if(operations)) + 1 :]
    user = next(operation for operation in after if operation["I"])
    user["I"][0] = {"%": block(operations, 1)[-1]["I"][0]["%"]}


def returned_from_inside(operations: list[dict[str, Any]]) -> None:
    operations[-1]["I"][0] = {"%": block(operations, 1)[-1]["I"][0]["%"]}


def taken_from_the_other_branch(operations: list[dict[str, Any]]) -> None:
    block(operations, 1)[-1]["I"][0] = block(operations, 0)[-1]["I"][0]


def without_an_end(operations: list[dict[str, Any]]) -> None:
    block(operations, 1).pop()


def without_blocks(operations: list[dict[str, Any]]) -> None:
    del last_if(operations)["regions"]


def within_itself(operations: list[dict[str, Any]]) -> None:
    for _ in range(25):
        inner = copy.deepcopy(last_if(operations))
        block(operations, 0).insert(0, inner)
        operations = block(operations, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (taken_from_outside, "takes what is in a branch that may not run"),
        (returned_from_inside, "it returns what nothing gives"),
        (taken_from_the_other_branch, "takes what is in a branch that may not run"),
        (without_an_end, "a branch that does not end in what is given"),
        (without_blocks, "a branch without its two blocks"),
        (within_itself, "nested more than 64 deep"),
    ],
)
def test_a_damaged_branch_is_one_message(
    asking: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    change: Callable[[list[dict[str, Any]]], None],
    message: str,
) -> None:
    export = shutil.copytree(asking[0], tmp_path / "export")
    document = json.loads((export / "model.json").read_text())
    change(document["program"]["regions"][0]["blocks"][0]["ops"])
    (export / "model.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=message):
        load_program(export)
