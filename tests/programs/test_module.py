"""The torch module of a program: its names, its training form, its types and sizes, and where it goes from there."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import ppls
from ppls.checkpoint.reader import read
from ppls.errors import ConversionError, InputError
from ppls.models.stored import to_torch
from ppls.programs.layers import BatchNorm
from ppls.programs.module import ProgramModule, load_program
from ppls.programs.program import Program, read_program
from tests.conftest import Exports
from tests.material import SHARED, SMALL_RUN

RUNS = [
    SMALL_RUN,
    pytest.param(SHARED / "paddleseg_run", marks=pytest.mark.skipif(not SHARED.exists(), reason="absent")),
]


def before_argmax(program: Program) -> Program:
    """The program that returns the logits, of one that returns labels."""
    (last,) = (step for step in program.steps if step.kind in ("argmax", "arg_max"))
    return program._replace(outputs=last.inputs["X"]).returning([0])


def with_logits(path: Path) -> ProgramModule:
    checkpoint = read(path)
    program = before_argmax(read_program(checkpoint))
    names = set(program.weights.values())
    return ProgramModule(program, to_torch({name: checkpoint.stored(name) for name in names})).eval()


@pytest.fixture(scope="module")
def module(exports: Exports) -> ProgramModule:
    """A small PP-LiteSeg from a `.pdmodel`, whose structured names are beside it, of open sides."""
    return load_program(exports["pdmodel"])


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("run", RUNS)
def test_paddlesegs_own_export_computes_its_logits_and_labels(run: Path) -> None:
    labels, logits, own = load_program(run / "export"), with_logits(run / "export"), ppls.load(run / "export")
    (record,) = (run / "golden").glob("logits*.npz")
    arrays = np.load(record)
    with torch.no_grad():
        for image, wanted in zip(torch.from_numpy(arrays["input"]), torch.from_numpy(arrays["logits"]), strict=True):
            found = logits(image[None])[0][0]
            scale = float(wanted.abs().max())
            assert float((found - wanted).abs().max()) <= 2e-6 * scale
            assert float((found - own(image[None])[0][0]).abs().max()) <= 2e-6 * scale
            assert torch.equal(labels(image[None])[0][0].long(), wanted.argmax(0))


def test_weights_have_their_structured_names_and_batch_norms_are_modules(module: ProgramModule) -> None:
    state = module.state_dict()
    tensors = module.program.weights.values()
    renamed = {"_mean": "running_mean", "_variance": "running_var"}
    wanted = {
        ".".join([*name.split(".")[:-1], renamed.get(name.split(".")[-1], name.split(".")[-1])]) for name in tensors
    }
    assert state.keys() == wanted
    assert any(isinstance(layer, BatchNorm) for layer in module.modules())
    assert {name for name, _ in module.named_parameters()} == {name for name in wanted if "running" not in name}


def test_training_updates_statistics_and_reaches_every_weight(module: ProgramModule, image: Tensor) -> None:
    trained = copy.deepcopy(module).train()
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    trained(image)[0].square().mean().backward()
    moved = {name for name, tensor in trained.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name in before if "running" in name}
    assert all(parameter.grad is not None for parameter in trained.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@torch.no_grad()
def test_a_copy_and_a_pickled_one_compute_the_same(module: ProgramModule, image: Tensor) -> None:
    wanted = module(image)[0]
    for same in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(same(image)[0], wanted)
        next(same.parameters()).zero_()
        assert not torch.equal(same(image)[0], wanted)
    assert torch.equal(module(image)[0], wanted)


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.bfloat16, 0.1)])
def test_it_computes_in_the_type_that_it_is_brought_to(
    module: ProgramModule, image: Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    wanted = module(image)[0]
    found = copy.deepcopy(module).to(dtype)(image.to(dtype))[0]
    assert found.dtype == dtype
    assert float((found.to(torch.float32) - wanted).abs().max()) <= tolerance * float(wanted.abs().max())


@torch.no_grad()
@pytest.mark.parametrize("form", ["pir", "pdmodel"])
def test_an_export_of_open_sides_takes_other_batches_and_sizes_also_in_torch_export(
    exports: Exports, form: str
) -> None:
    module, own = load_program(exports[form]), ppls.load(exports[form])
    sides = {axis: torch.export.Dim(name, min=2, max=16) * 32 for axis, name in ((2, "height"), (3, "width"))}
    batch = torch.export.Dim("batch", min=2, max=16)
    exported = torch.export.export(module, (torch.randn(2, 3, 64, 96),), dynamic_shapes=(({0: batch, **sides},),))
    for shape in ((3, 3, 96, 64), (2, 3, 128, 160)):
        image = torch.randn(shape)
        wanted = own(image)[0]
        for found in (module(image)[0], exported.module()(image)[0]):
            assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


def test_an_image_that_the_program_does_not_take_is_one_message(exports: Exports, image: Tensor) -> None:
    with pytest.raises(InputError, match=r"of shape \[1, 3, 64, 128\]"):
        load_program(SMALL_RUN / "export")(image)
    with pytest.raises(InputError, match="takes 1 inputs, not 2"):
        load_program(exports["pir"])(image, image)
    with pytest.raises(ConversionError, match=r"operation \d+, conv2d, cannot be run on this input"):
        load_program(exports["pdmodel"])(image.double())
