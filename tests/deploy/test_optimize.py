"""The optimized model: the same function, of images of any size, and the model it came from unchanged."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import ppls
from ppls.deploy.optimize import _compiled, _First, _ForOneShape, _rounding_floor
from tests.deploy.test_benchmark import Small


@pytest.fixture(scope="module")
def model(converted_run: Path) -> nn.Module:
    return ppls.load(converted_run)


@pytest.fixture(scope="module")
def optimized(model: nn.Module) -> ppls.Optimized:
    return ppls.optimize(model, torch.randn(1, 3, 64, 128), compile=False, runtimes=())


@pytest.mark.parametrize("shape", [(1, 3, 64, 128), (2, 3, 97, 161), (1, 3, 32, 32)])
def test_it_is_the_same_function_at_any_size(
    shape: tuple[int, ...], model: nn.Module, optimized: ppls.Optimized
) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        (expected,), (result,) = model(image), optimized(image)
    assert result.shape == expected.shape
    assert (result - expected).abs().max() < 5e-6 * expected.abs().max()


def test_it_takes_the_faster_of_the_layouts_it_timed(optimized: ppls.Optimized) -> None:
    assert {"channels first", "channels last", "channels last, oneDNN Graph"} <= set(optimized.milliseconds)
    assert optimized.variant == min(optimized.milliseconds, key=optimized.milliseconds.__getitem__)
    assert 0 < optimized.scaled_error < 5e-6


def test_the_model_it_came_from_keeps_its_weights_and_its_gradients(converted_run: Path) -> None:
    model, untouched = ppls.load(converted_run), ppls.load(converted_run)
    ppls.optimize(model, torch.randn(1, 3, 32, 64), compile=False, runtimes=())
    assert list(model.state_dict()) == list(untouched.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), untouched.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_prediction_takes_it_in_place_of_the_model(
    training_run: Path, model: nn.Module, optimized: ppls.Optimized
) -> None:
    image = training_run / "data/images/val000.png"
    (expected,), (result,) = ppls.predict(model, image), ppls.predict(optimized, image)
    assert (expected.labels == result.labels).all()


def test_compiled_code_serves_the_size_of_the_example_and_the_module_all_others() -> None:
    model = Small().eval()
    example = torch.randn(1, 3, 64, 128)
    module = _First(model)
    compiled = _ForOneShape(_compiled(module, example), module, example)
    calls: list[torch.Size] = []
    compiled.module.register_forward_pre_hook(lambda module, inputs: calls.append(inputs[0].shape))
    for image in (example, torch.randn(2, 3, 33, 65), example.double().float() + 1):
        with torch.inference_mode():
            (expected,), result = model(image), compiled(image)
        assert (result - expected).abs().max() < 5e-6 * expected.abs().max()
    assert calls == [torch.Size([2, 3, 33, 65])]


def test_without_a_compiler_the_other_variants_remain(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise RuntimeError("No working C++ compiler found\nand more")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", refuse)
    optimized = ppls.optimize(model, torch.randn(1, 3, 32, 64), runtimes=())
    assert optimized.failed["channels last, compiled"] == "cannot be compiled: No working C++ compiler found"
    assert "channels last" in optimized.milliseconds


def test_a_variant_that_ends_in_an_error_leaves_the_others(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("partition compile failed")

    monkeypatch.setattr("ppls.deploy.optimize._fused", refuse)
    optimized = ppls.optimize(model, torch.randn(1, 3, 32, 64), compile=False, runtimes=())
    assert set(optimized.milliseconds) == {"channels first", "channels last"}
    assert set(optimized.failed.values()) == {"cannot be run: partition compile failed"}


def test_what_rounding_may_change_is_measured_for_half_precision_too(converted_run: Path) -> None:
    model = ppls.load(converted_run).bfloat16()
    optimized = ppls.optimize(model, torch.randn(1, 3, 64, 128, dtype=torch.bfloat16), compile=False, runtimes=())
    (logits,) = optimized(torch.randn(1, 3, 32, 64, dtype=torch.bfloat16))
    assert logits.dtype == torch.bfloat16
    assert optimized.scaled_error < 0.05


def test_what_rounding_may_change_is_that_of_either_memory_layout(model: nn.Module) -> None:
    """A result that is exact by chance would leave the other layout nothing."""
    example = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        (exact,) = copy.deepcopy(model).double()(example.double())
    assert 1e-8 < _rounding_floor(model, example, exact) < 1e-5


def test_a_variant_that_computes_something_else_is_not_taken(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(folded: nn.Module) -> int:
        next(weight for weight in folded.parameters() if weight.dim() == 4).mul_(1.001)
        return 0

    monkeypatch.setattr("ppls.deploy.optimize.fold_batch_norms", spoil)
    with pytest.raises(ppls.Error, match=r"no variant agrees .* channels last differs by"):
        ppls.optimize(model, torch.randn(1, 3, 32, 64), compile=False, runtimes=())


def test_a_model_in_training_mode_is_refused(converted_run: Path) -> None:
    with pytest.raises(ppls.UsageError, match=r"call model.eval\(\) first"):
        ppls.optimize(ppls.load(converted_run).train(), torch.randn(1, 3, 32, 64))


def test_an_example_without_a_batch_is_refused(model: nn.Module) -> None:
    with pytest.raises(ppls.UsageError, match=r"got \[3, 32, 64\]"):
        ppls.optimize(model, torch.randn(3, 32, 64))


def test_a_tolerance_below_rounding_is_not_met(model: nn.Module) -> None:
    with pytest.raises(ppls.Error, match=r"no variant agrees with the model to 1e-12: channels first differs by \d"):
        ppls.optimize(model, torch.randn(1, 3, 32, 64), tolerance=1e-12, compile=False, runtimes=())


@pytest.mark.parametrize(("seconds", "rounds"), [(1e-3, [3, 17]), (0.012, [3, 9]), (1.0, [3, 0])])
def test_quick_variants_are_timed_in_more_rounds(
    seconds: float, rounds: list[int], model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def take_turns(turns: list[object], count: int) -> list[list[float]]:
        taken.append(count)
        return [[seconds] * 2 * count for _ in turns]

    monkeypatch.setattr("ppls.deploy.optimize.take_turns", take_turns)
    ppls.optimize(model, torch.randn(1, 3, 32, 64), compile=False, runtimes=())
    assert taken == rounds


@pytest.mark.parametrize(("name", "dtype"), [("onnxruntime", torch.float32), ("openvino", torch.float32)])
def test_a_runtime_that_is_installed_is_a_variant_and_serves_the_size_of_the_example(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(name)
    monkeypatch.setattr(
        "ppls.deploy.optimize.take_turns", lambda turns, _: [[len(turns) - i] for i in range(len(turns))]
    )
    torch.manual_seed(0)
    model = Small().eval()
    example = torch.randn(2, 3, 66, 98, dtype=dtype)
    optimized = ppls.optimize(model, example, compile=False, runtimes=[name])
    assert (optimized.variant, optimized.failed) == (name, {})
    with torch.inference_mode():
        (first,) = optimized(example)
        kept = first.clone()
        for image in (example + 1, torch.randn(1, 3, 33, 65, dtype=dtype)):
            (expected,), (result,) = model(image), optimized(image)
            assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
            assert (result - expected).abs().max() < 1e-5 * expected.abs().max()
    assert torch.equal(first, kept)  # results are the receiver's


def test_a_runtime_that_refuses_the_model_leaves_the_other_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")

    def refuse(*arguments: object) -> None:
        raise RuntimeError("an operation is unknown\nand more")

    monkeypatch.setattr("ppls.deploy.runtimes.open_openvino", refuse)
    optimized = ppls.optimize(Small().eval(), torch.randn(1, 3, 32, 64), compile=False, runtimes=["openvino"])
    assert optimized.failed == {"openvino": "cannot be run: an operation is unknown"}


def test_a_runtime_that_nobody_knows_is_refused(model: nn.Module) -> None:
    with pytest.raises(ppls.UsageError, match="'tvm' is no runtime: known are onnxruntime, openvino"):
        ppls.optimize(model, torch.randn(1, 3, 32, 64), runtimes=["tvm"])
