"""Every attribute of every operator, put to another value: Paddle's result shows it, or it is refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch

from ppls.checkpoint.pure_operators import WITHOUT_EFFECT
from ppls.errors import ConversionError, Error
from ppls.programs.module import ProgramModule
from ppls.programs.program import Program, Step
from ppls.programs.registry import find
from tests.programs.conftest import Recorded
from tests.programs.operator_cases import CASES

Key = tuple[str, str]  # an operator, by ppls's name, and an attribute
HIDDEN = {  # what shows in no case, and why that is right; `*` is any operator
    "inputs and other attributes say it": (
        "*.in_dtype *.infer_flags *.out_d expand_as.target_shape linear_interp.out_h linear_interp.scale "
        "rnn.hidden_size rnn.input_size trilinear_interp.scale unpool.ksize unpool.padding unpool.paddings "
        "unpool.strides unpool.unpooling_type unstack.num"
    ),
    "it is of training alone": (
        "*.is_test batch_norm.momentum batch_norm.use_global_stats dropout.fix_seed dropout.seed embedding.sparse "
        "p_norm.epsilon rnn.dropout_prob rnn.seed"
    ),
    "it says where and how": "*.place deformable_conv.im2col_step lookup_table.table_class transpose.data_format",
    "nothing else is in its place": (
        "argsort.stable bicubic_interp.align_mode nearest_interp.align_mode set_value.decrease_axes set_value.dtype "
        "topk.sorted"
    ),
    "both inputs have the same axes here; `add` shows it": (
        "elementwise_pow.axis floor_divide.axis greater_than.axis less_equal.axis remainder.axis"
    ),
}
TEXTS = ("SAME", "NHWC", "nearest", "linear", "constant", "bool")


def key_of(form: str, step: Step, attribute: str) -> Key:
    found = find(form, step.kind)
    assert found is not None
    return found.name, attribute


def others(value: Any, seen: Iterable[Any]) -> Iterator[Any]:
    """Other values of an attribute: those of other cases, and the like of this one."""
    different = {repr(other): other for other in seen if other != value and type(other) is type(value)}
    yield from different.values()
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1)
    elif isinstance(value, float):
        yield value * 2 + 0.5
    elif isinstance(value, str):
        yield from TEXTS
    elif isinstance(value, list) and all(type(each) in (int, float) for each in value):
        yield [each + 1 for each in value] or [2]
        yield value[::-1]


def differ(found: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    """Whether results are others in shape, type or value."""
    return any(_differs(*pair) for pair in zip(found, right, strict=True))


def _differs(found: torch.Tensor, right: torch.Tensor) -> bool:
    if (found.shape, found.dtype) != (right.shape, right.dtype):
        return True
    if not right.is_floating_point():
        return not torch.equal(found, right)
    scale = max(1.0, float(right.nan_to_num(0, 0, 0).abs().max())) if right.numel() else 1.0
    return not torch.allclose(found, right, rtol=0, atol=1e-5 * scale, equal_nan=True)


@pytest.mark.parametrize("form", ["pir", "pdmodel"])
def test_every_attribute_of_every_operator_shows(form: str, recorded: Recorded) -> None:
    modules = {case: recorded.module(form, case) for case in CASES if case not in recorded.told[form]["failed"]}
    values: dict[Key, list[Any]] = defaultdict(list)
    for module in modules.values():
        for step in module.program.steps:
            for attribute, value in step.attributes.items():
                if attribute not in WITHOUT_EFFECT and value is not None:
                    values[key_of(form, step, attribute)].append(value)

    given = {case: recorded.inputs(module, torch.float32) for case, module in modules.items()}

    def results(case: str, module: ProgramModule) -> list[torch.Tensor]:
        with torch.no_grad():
            return module(*given[case])

    def shows(case: str, program: Program, step: Step, attribute: str, other: Any) -> bool:
        changed = step._replace(attributes={**step.attributes, attribute: other})
        steps = tuple(changed if each is step else each for each in program.steps)
        try:
            return differ(results(case, recorded.module_of(form, program._replace(steps=steps))), right[case])
        except Error:
            return True

    right = {case: results(case, module) for case, module in modules.items()}
    seen: set[Key] = set()
    for case, module in modules.items():
        for step in module.program.steps:
            for attribute, value in step.attributes.items():
                key = key_of(form, step, attribute)
                if key not in values or key in seen:
                    continue
                if any(shows(case, module.program, step, attribute, other) for other in others(value, values[key])):
                    seen.add(key)
    known = {name for names in HIDDEN.values() for name in names.split()}
    hidden = {f"{kind}.{attribute}" for kind, attribute in values.keys() - seen}
    assert {name for name in hidden if name not in known and f"*.{name.partition('.')[2]}" not in known} == set()
    assert len(seen) > 250


def test_an_attribute_that_no_operator_knows_is_named_where_it_says_something(recorded: Recorded) -> None:
    program = recorded.module("pdmodel", "conv2d").program
    for value, refused in ((True, True), (False, False)):
        steps = tuple(step._replace(attributes={**step.attributes, "fuse_relu": value}) for step in program.steps)
        if not refused:
            recorded.module_of("pdmodel", program._replace(steps=steps))
            continue
        with pytest.raises(ConversionError, match="conv2d with an attribute fuse_relu, which is not known: True"):
            recorded.module_of("pdmodel", program._replace(steps=steps))
