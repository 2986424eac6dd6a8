"""Programs that ask: of both branches the one runs that a size, or a number of the image, asks for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import ppls
from ppls.drafting.draft import draft_map
from ppls.errors import CheckpointError
from ppls.programs.module import load_program
from tests.checkpoint.programs import altered
from tests.programs.in_paddle import export_in_paddle

ASKING = """
import paddle

class Network(paddle.nn.Layer):
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

def images():
    return [paddle.randn([1, 3, 16, 18]), paddle.randn([2, 3, 24, 30]) + 3, paddle.randn([2, 3, 24, 30]) - 3]
"""


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The export, and what Paddle computes of it for each way through."""
    return export_in_paddle(ASKING, tmp_path_factory.mktemp("asking"))


@torch.no_grad()
def test_every_way_through_computes_what_paddle_computes(asking: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    export, run = asking
    ppls.convert_program(export, tmp_path / "out")
    for module in (load_program(export), ppls.load(tmp_path / "out"), copy.deepcopy(load_program(export))):
        for way in range(3):
            found = module(torch.from_numpy(run[f"x{way}"]))[0].numpy()
            assert found.shape == run[f"y{way}"].shape
            assert np.abs(found - run[f"y{way}"]).max() <= 1e-6 * np.abs(run[f"y{way}"]).max()


class Port(nn.Module):
    """The network for images higher than 20 pixels and brighter than grey."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.second(functional.avg_pool2d(self.first(image), 2)) + 1


def test_what_is_in_a_branch_that_does_not_run_stays_open_in_a_draft(asking: tuple[Path, dict[str, Any]]) -> None:
    found = draft_map(asking[0], Port(), program=True).rows
    assert [(row.source, row.target, row.confidence) for row in found.rows] == [
        (("conv2d_0.w_0",), ("first.weight",), "certain"),
        (("conv2d_0.b_0",), ("first.bias",), "certain"),
    ]
    assert set(found.open) == {"second.weight", "second.bias", "conv2d_1.w_0", "conv2d_1.b_0"}


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
    with pytest.raises(CheckpointError, match=message):
        load_program(altered(asking[0], tmp_path, change))
