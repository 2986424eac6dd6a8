from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppls.checkpoint.dtypes import (
    as_dtype,
    bfloat16_to_float32,
    float32_to_bfloat16,
    not_finite,
)
from ppls.mappings.map_file import load_map
from ppls.mappings.operations import (
    RENAME,
    Chain,
    Concat,
    FoldBias,
    Negate,
    Operation,
    OperationError,
    Permute,
    Split,
    Squeeze,
    Transpose,
    Unsqueeze,
)

SQUARE = np.arange(16.0, dtype=np.float32).reshape(4, 4)
INVERTIBLE = [
    (RENAME, [SQUARE]),
    (Transpose((1, 0)), [SQUARE]),
    (Transpose((2, 0, 1)), [np.arange(24.0).reshape(2, 3, 4)]),
    (Permute(1, (2, 3, 0, 1)), [SQUARE]),
    (Permute(0, (1, 2, 3, 0)), [SQUARE]),
    (Negate(), [SQUARE]),
    (Squeeze((2, 3)), [SQUARE[:, :, None, None]]),
    (Unsqueeze((0, 3)), [SQUARE]),
    (Chain((Transpose((1, 0)), Unsqueeze((2, 3)))), [SQUARE]),
    (Split(0, 2), [SQUARE]),
    (Concat(1, 2), [SQUARE, SQUARE + 100]),
    (Chain((Transpose((1, 0)), Permute(0, (3, 1, 0, 2)), Negate())), [SQUARE]),
]


@pytest.mark.parametrize(("operation", "arrays"), INVERTIBLE, ids=lambda value: type(value).__name__)
def test_the_inverse_undoes_the_operation(operation: Operation, arrays: list[np.ndarray]) -> None:
    there = operation.apply(arrays, "float32")
    assert [array.shape for array in there] == operation.shapes([array.shape for array in arrays])
    assert operation is RENAME or not all(
        a.shape == b.shape and np.array_equal(a, b) for a, b in zip(there, arrays, strict=False)
    )
    back = operation.inverse.apply(there, "float32")
    assert len(back) == len(arrays)
    for array, original in zip(back, arrays, strict=True):
        np.testing.assert_array_equal(array, original)


def test_a_permutation_takes_target_i_from_source_order_i() -> None:
    (permuted,) = Permute(0, (2, 0, 1)).apply([np.array([10, 11, 12])], "int64")
    assert permuted.tolist() == [12, 10, 11]


def test_a_folded_bias_leaves_the_batch_norms_output_as_it_was() -> None:
    mean, bias, x = np.float32([1, 2]), np.float32([0.5, -0.25]), np.float32([3, 4])
    (folded,) = FoldBias().apply([mean, bias], "float32")
    np.testing.assert_array_equal(x + bias - mean, x - folded)
    with pytest.raises(OperationError, match="cannot be taken out again"):
        _ = FoldBias().inverse


@pytest.mark.parametrize(
    ("operation", "shapes"),
    [
        (Transpose((1, 0)), [(2, 3, 4)]),
        (Permute(0, (1, 0)), [(3, 2)]),
        (Split(0, 2), [(3, 2)]),
        (Concat(0, 2), [(3, 2), (3, 4)]),
        (FoldBias(), [(2,), (3,)]),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_read(operation: Operation, shapes: list) -> None:
    with pytest.raises(OperationError):
        operation.shapes(shapes)


def test_bfloat16_rounds_to_the_nearest_and_ties_to_even() -> None:
    torch = pytest.importorskip("torch")
    values = np.float32([0, -0.0, 1, 1.00390625, 1.01171875, 3e38, 1e-40, np.inf, -np.inf, np.nan, 65504.5, -1.2345])
    values = np.concatenate([values, np.random.RandomState(0).randn(1000).astype(np.float32)])
    expected = torch.from_numpy(values).bfloat16()
    bits = float32_to_bfloat16(values)
    np.testing.assert_array_equal(bfloat16_to_float32(bits), expected.float().numpy())
    assert float32_to_bfloat16(np.float32(2.5)).shape == ()


def test_negating_bfloat16_flips_the_sign_of_its_bits() -> None:
    bits = float32_to_bfloat16(np.float32([1.5, -2, 0]))
    (negated,) = Negate().apply([bits], "bfloat16")
    np.testing.assert_array_equal(bfloat16_to_float32(negated), [-1.5, 2, -0.0])


def test_integers_keep_their_type() -> None:
    index = np.arange(3)
    assert as_dtype(index, "int64", "float16") is index


def test_what_is_not_finite_is_named_and_a_large_sum_is_no_alarm() -> None:
    def found(dtype: str, *blocks: np.ndarray) -> str:
        return not_finite(dtype, [block.view(np.uint8) for block in blocks])

    assert found("float32", np.float32([1, np.nan])) == "NaN"
    assert found("float32", np.float32([np.inf, -np.inf])) == "infinity"
    assert found("float32", np.float32([1]), np.float32([np.inf]), np.float32([np.nan])) == "NaN and infinity"
    assert found("float32", np.float32([3e38, 3e38])) == ""
    assert found("bfloat16", np.array([0x7FC0], np.uint16)) == "NaN"
    assert found("uint16", np.array([0x7FC0], np.uint16)) == ""


def test_a_transposition_and_a_split_in_one_rule_go_back_as_one(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(
        "format: 2\narchitecture: Toy\ntarget: none\nmodules: [[fc, fc, linear]]\n"
        "tensors:\n"
        "  - {from: kv.weight, to: [k.weight, v.weight], transpose: [1, 0], split: {dim: 0}}\n"
        "  - {from: [a.weight, b.weight], to: ab.weight, transpose: [1, 0], concat: {dim: 0}}\n"
    )
    split, concat = (rule.operation for rule in load_map(tmp_path / "map.yaml").rules[:2])
    kv = np.arange(24).reshape(4, 6)  # (in, key and value)
    key, value = split.apply([kv], "float32")
    np.testing.assert_array_equal(key, kv[:, :3].T)
    np.testing.assert_array_equal(value, kv[:, 3:].T)
    assert split.shapes([(4, 6)]) == [(3, 4), (3, 4)]
    np.testing.assert_array_equal(split.inverse.apply([key, value], "float32")[0], kv)
    (joined,) = concat.apply([kv, kv + 1], "float32")
    np.testing.assert_array_equal(joined, np.concatenate([kv.T, kv.T + 1]))
    assert concat.shapes([(4, 6), (4, 6)]) == [(12, 4)]
    for back, there in zip(concat.inverse.apply([joined], "float32"), (kv, kv + 1), strict=True):
        np.testing.assert_array_equal(back, there)
