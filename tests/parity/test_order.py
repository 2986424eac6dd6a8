"""What comes in an order that rounding decides, as points do that a score puts in order: compared as sorted values."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ppls.parity.pairing import SameName
from ppls.parity.reference.figures import without_farthest
from ppls.parity.reference.operators import ties
from ppls.parity.reference_run import RecordedCall, Stored
from ppls.parity.stages.layer_watch import LayerWatch

VALUES = np.random.default_rng(0).standard_normal((1, 3, 50)).astype(np.float32)
OTHER_ORDER = np.random.default_rng(1).permutation(50)


def watched(folder: Path, array: np.ndarray, *, unordered: bool) -> str:
    np.save(folder / "array.npy", VALUES)
    stored = Stored(folder / "array.npy", 1e-6, unordered)
    calls = [RecordedCall(0, "points", 0, "Conv1D", False, {}, stored, stored)]
    watch = LayerWatch(SimpleNamespace(layers_input="x", calls=calls), [SameName("points", "conv")], 1e-4)  # type: ignore[arg-type]
    watch.see("points", 0, [array], [array + 0.0])
    (figures,) = watch.figures()
    return figures.verdict


def test_points_in_another_order_agree_where_rounding_decides_it_and_other_values_do_not(tmp_path: Path) -> None:
    assert watched(tmp_path, VALUES[..., OTHER_ORDER], unordered=True) == "pass"
    assert watched(tmp_path, VALUES[..., OTHER_ORDER], unordered=False) == "fail"
    assert watched(tmp_path, VALUES[..., OTHER_ORDER] * np.float32(1.001), unordered=True) == "fail"


def test_the_reference_says_so_of_an_order_alone(tmp_path: Path, needs_reference: None) -> None:
    from ppls.parity.reference.forward import _set_floors

    np.save(tmp_path / "array.npy", VALUES)
    for array, unordered in (
        (VALUES[..., OTHER_ORDER].astype("float64"), True),
        (VALUES.astype("float64") + 1e-6, False),
        (VALUES.astype("float64") * 2, False),
    ):
        stored = [{"file": "array.npy", "floor": None} for _ in range(2)]
        see = _set_floors([{"module": "points", "call": 0, "input": stored[0], "output": stored[1]}], tmp_path)
        see("points", 0, "Conv1D", array, array)
        assert [each.get("unordered", False) for each in stored] == [unordered, unordered]
        assert (stored[0]["floor"] < 1e-5) is not np.array_equal(array, VALUES * 2)
    with pytest.raises(Exception, match="another time in float64"):
        see("others", 0, "Conv1D", array, array)


def test_the_pixels_that_differ_most_are_left_out_and_what_is_not_finite_never_is() -> None:
    reference = np.zeros((2, 3, 4, 5))
    candidate = reference.copy()
    candidate[0, 1, 2, 3], candidate[1, 2, 0, 0], candidate[1, 0, 1, 1] = 5.0, -7.0, 1.0
    assert np.abs(without_farthest(reference, candidate, 1)).max() == 5.0
    assert np.abs(without_farthest(reference, candidate, 2)).max() == 1.0
    candidate[0, 0, 0, 0] = np.nan
    assert np.isnan(without_farthest(reference, candidate, 30)).sum() == 1


def test_a_choice_that_hangs_on_a_tie_is_counted_and_another_is_not(adapted_paddle: tuple[Any, Any]) -> None:
    from ppls.parity.reference.forward import _undecided

    paddle, _ = adapted_paddle
    scores = paddle.to_tensor([[1.0, 0.5, 0.5 + 1e-7, 0.2]])
    paddle.topk(scores, 1, axis=1)
    paddle.topk(scores, 4, axis=1)
    assert ties() == []
    paddle.topk(scores, 2, axis=1)
    tied = ties()
    assert tied == [(2, 4)]
    assert ties() == []
    assert _undecided([1, 3, 40, 40], tied) == 1600 // 100
    assert _undecided([1, 3, 400, 400], [(2, 160_000 // 4)]) == 4 * 2 * 16
    assert _undecided([1, 3, 40, 40], []) == 0
