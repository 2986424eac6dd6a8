"""The attributes of an operation, each read as what it must be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ppls.checkpoint.dtypes import BY_STREAM
from ppls.checkpoint.pure_operators import ATTRIBUTES, WITHOUT_EFFECT
from ppls.programs.numbers import is_known
from ppls.shown import shown

T = TypeVar("T")

# Those of operators that Paddle is not given, beside the ones that it is
_MORE = """
    Alpha Beta aligned anchors aspect_ratios background_label bit_length bool_values box_normalized class_num
    clip clip_bbox code_type conf_thresh decrease_axes downsample_ratio expand_times flip fp32_values
    fp64_values gaussian_sigma group head_number hidden_size input_size int32_values int64_values int8_values
    iou_aware iou_aware_factor is_bidirec keep_top_k max_sizes min_max_aspect_ratios_order min_sizes nms_eta
    nms_threshold nms_top_k none_axes normalized num_layers offsets only_observer output_sizes overwrite padding
    pooled_height pooled_width post_threshold qmax qmin quant_axis round_type sampling_ratio scale_x_y
    score_threshold spatial_scale step_h step_w steps table_class unpooling_type use_gaussian variance variances
"""
_KNOWN = ATTRIBUTES | WITHOUT_EFFECT | frozenset(_MORE.split())


class UnsupportedError(Exception):
    """An operation that cannot be run in torch; the message says why, in a few words."""


class Attributes:
    """The attributes of one operation.

    Args:
        values: by Paddle's names.
        kind: the operator, as the file has it.
    """

    def __init__(self, values: Mapping[str, Any], kind: str = "") -> None:
        self._values = values
        self.kind = kind

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def check_names(self) -> None:
        """Refuses an attribute that no operator of ppls's knows, where it says something."""
        for name, value in self._values.items():
            if value and name not in _KNOWN:
                raise UnsupportedError(f"an attribute {shown(name, 60)}, which is not known: {shown(repr(value), 60)}")

    def integer(self, name: str, default: int | None = None) -> int:
        return self._read(name, default, _integer)

    def number(self, name: str, default: float | None = None) -> float:
        return self._read(name, default, _number)

    def truth(self, name: str, default: bool | None = None) -> bool:
        return self._read(name, default, _truth)

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        return self._list(name, default, _integer)

    def numbers(self, name: str, default: Sequence[float] | None = None) -> list[float]:
        return self._list(name, default, _number)

    def text(self, name: str) -> str:
        """A text; empty where it is left out."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, str):
            raise UnsupportedError(f"{name} {shown(repr(value), 60)}")
        return value or ""

    def has_items(self, name: str) -> bool:
        """Whether it is a list with something in it."""
        return isinstance(self._values.get(name), list) and bool(self._values[name])

    def choice(self, name: str, default: T, *others: T) -> T:
        """One of a closed list of values; `default` where it is not said."""
        value = self._values.get(name)
        if value is None:
            return default
        for known in (default, *others):
            if type(value) is type(known) and value == known:
                return known
        raise UnsupportedError(f"{name} {shown(repr(value), 60)}")

    def must_be(self, name: str, *values: Any) -> None:
        """Refuses any value but these; the attribute may be left out."""
        self.choice(name, *values)

    def layout(self, name: str = "data_format") -> None:
        """Refuses all but channels first."""
        self.must_be(name, "NCHW", "AnyLayout", "NC", "NCL", "NCW", "NCDHW", "Undefined", "UNDEFINED", "ANY")

    def dtype(self, name: str, default: str) -> str:
        """A type by Paddle's name; `default` where it is left out, or not said."""
        return self.dtype_if_said(name) or default

    def dtype_if_said(self, name: str) -> str | None:
        """A type by Paddle's name, which a `.pdmodel` numbers; None where it is left out, or not said."""
        value = self._values.get(name)
        if value in (None, -1, "", "undefined", "UNDEFINED", "Undefined(ALL_DTYPE)"):
            return None
        found = BY_STREAM.get(value) if type(value) is int else value
        if not isinstance(found, str) or not is_known(found):
            raise UnsupportedError(f"{name} {shown(repr(value), 60)}")
        return found

    def _read(self, name: str, default: T | None, read: Callable[[Any], T]) -> T:
        value = self._values.get(name)
        if value is None and default is not None:
            return default
        try:
            return read(value)
        except ValueError:
            raise UnsupportedError(f"{name} {shown(repr(value), 60)}") from None

    def _list(self, name: str, default: Sequence[T] | None, read: Callable[[Any], T]) -> list[T]:
        if name not in self._values and default is not None:
            return list(default)

        def read_all(values: Any) -> list[T]:
            single = [values] if type(values) in (int, float) else values
            return [] if values is None else [read(value) for value in _as_list(single)]

        value = self._values.get(name)
        try:
            return read_all(value)
        except ValueError:
            raise UnsupportedError(f"{name} {shown(repr(value), 60)}") from None


def _as_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("no list")
    return value


def _integer(value: Any) -> int:
    if type(value) is float and value.is_integer():  # some of PIR's are numbers where a `.pdmodel` has integers
        return int(value)
    if type(value) is not int:
        raise ValueError("no integer")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float, bool) or math.isnan(value):
        raise ValueError("no number")
    return float(value)


def _truth(value: Any) -> bool:
    if type(value) not in (bool, int) or value not in (0, 1):
        raise ValueError("neither true nor false")
    return bool(value)
