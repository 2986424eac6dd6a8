"""Operators as Paddle's own functions make them: what the tests run beside Paddle, one case for each that flips.

A case's function is given Paddle and its inputs, and runs in Paddle's process alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.programs.detection_cases import coded, cut_out, lowered, priors, suppressed, suppressed_regions, yolo


class Case(NamedTuple):
    """One case.

    Attributes:
        shapes: of the inputs.
        make: one output, or a list of them, of Paddle and the inputs.
        kind: what the inputs hold: `normal`; `positive`; `integers` below 3; `unit`, from -1 to 1; `mixed`: the first
            normal, the others integers.
        loose: how far float64 may be off where Paddle has a part of it in float32; None where Paddle's own is wrong.
        old: what makes it in the old form, where that has another operator.
        open: the inputs whose batch and sides, if they are images, the program is not told.
    """

    shapes: tuple[tuple[int, ...], ...]
    make: Callable[..., Any]
    kind: str = "normal"
    loose: float | None = 1e-12
    open: tuple[int, ...] = (0,)
    old: Callable[..., Any] | None = None


IMAGE = (2, 3, 7, 10)
ROWS = (5, 6)


def inputs(case: Case, seed: int) -> list[NDArray[Any]]:
    """What goes in, in float32 or int64."""
    random = np.random.default_rng(seed)
    made: list[NDArray[Any]] = []
    for at, shape in enumerate(case.shapes):
        if case.kind == "integers" or (case.kind == "mixed" and at):
            made.append(random.integers(0, 3, shape).astype(np.int64))
            continue
        drawn = random.standard_normal(shape).astype(np.float32)
        if case.kind == "positive":
            drawn = np.abs(drawn) + np.float32(0.1)
        made.append(np.tanh(drawn) * np.float32(0.95) if case.kind == "unit" else drawn)
    return made


def open_shape(case: Case, at: int) -> list[int]:
    """The shape of an input as the program is told it."""
    shape = case.shapes[at]
    return [-1, shape[1], -1, -1] if len(shape) == 4 and at in case.open else list(shape)


def _functional(name: str, **options: Any) -> Callable[..., Any]:
    return lambda pd, *given: getattr(pd.nn.functional, name)(*given, **options)


def _plain(name: str, *more: Any, **options: Any) -> Callable[..., Any]:
    return lambda pd, *given: getattr(pd, name)(*given, *more, **options)


def _old(kind: str, *roles: str, more: tuple[str, ...] = (), **attributes: Any) -> Callable[..., Any]:
    """An operator of Paddle 1, which none of Paddle's functions makes any more."""

    def make(pd: Any, *given: Any) -> Any:
        from tests.programs.old_writer import appended  # imports Paddle

        return appended(kind, dict(zip(roles, given, strict=True)), attributes, more=more)

    return make


CASES: dict[str, Case] = {}
WEIGHT = (4, 3, 3, 3)

for _name, _options in {
    "conv2d": {},
    "conv2d stride": {"stride": 2, "padding": 1},
    "conv2d list": {"padding": [2, 1], "dilation": [1, 2]},
    "conv2d four": {"padding": [0, 1, 2, 0]},
    "conv2d same": {"padding": "SAME", "stride": 2},
    "conv2d same dilated": {"padding": "SAME", "dilation": 2},
    "conv2d valid": {"padding": "VALID"},
}.items():
    CASES[_name] = Case((IMAGE, WEIGHT), _functional("conv2d", **_options))
CASES["conv2d bias"] = Case((IMAGE, WEIGHT, (4,)), _functional("conv2d"))
CASES["conv2d groups"] = Case(((2, 4, 5, 6), (4, 2, 3, 3)), _functional("conv2d", groups=2))
CASES["depthwise"] = Case(((2, 4, 5, 6), (4, 1, 3, 3)), _functional("conv2d", groups=4, padding=1, stride=[1, 2]))
CASES["conv1d"] = Case(((2, 3, 9), (4, 3, 3)), _functional("conv1d", padding=1))
CASES["conv3d"] = Case(((1, 2, 4, 5, 6), (3, 2, 2, 3, 3)), _functional("conv3d", padding=1, stride=2), open=())
for _name, _options in {
    "transposed": {},
    "transposed stride": {"stride": 2, "padding": 1},
    "transposed more": {"stride": 2, "padding": 1, "output_padding": 1},
    "transposed four": {"stride": 2, "padding": [0, 1, 1, 0]},
    "transposed dilated": {"stride": [2, 3], "dilation": 2},
}.items():
    CASES[_name] = Case((IMAGE, (3, 4, 3, 3)), _functional("conv2d_transpose", **_options))
CASES["transposed size"] = Case(
    (IMAGE, (3, 4, 3, 3)), _functional("conv2d_transpose", stride=2, padding=1, output_size=[14, 20]), open=()
)
CASES["transposed groups"] = Case(((2, 4, 5, 6), (4, 2, 3, 3)), _functional("conv2d_transpose", groups=2, stride=2))

for _kind in ("avg", "max"):
    for _name, _options in {
        "": {"kernel_size": 3},
        " stride": {"kernel_size": 3, "stride": 2, "padding": 1},
        " ceil": {"kernel_size": 3, "stride": 2, "ceil_mode": True},
        " ceil padded": {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
        " four": {"kernel_size": [3, 2], "stride": 2, "padding": [0, 1, 1, 0]},
        " same": {"kernel_size": 3, "stride": 2, "padding": "SAME"},
        " valid": {"kernel_size": [2, 3], "stride": 3, "padding": "VALID"},
    }.items():
        CASES[f"{_kind} pool{_name}"] = Case((IMAGE,), _functional(f"{_kind}_pool2d", **_options))
    for _size in (1, 3, [2, 5], [None, 4]):
        CASES[f"{_kind} pool adaptive {_size}"] = Case(
            (IMAGE,),
            _functional(f"adaptive_{_kind}_pool2d", output_size=_size),
            open=() if _size == [None, 4] else (0,),
        )
for _name, _options in {
    "": {"kernel_size": 3, "padding": 1},
    " stride": {"kernel_size": 3, "stride": 2, "padding": 1},
    " ceil": {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    " four": {"kernel_size": 3, "stride": 2, "padding": [0, 1, 1, 0]},
}.items():
    CASES[f"avg pool counting{_name}"] = Case((IMAGE,), _functional("avg_pool2d", exclusive=False, **_options))
CASES["max pool places"] = Case((IMAGE,), lambda pd, x: list(pd.nn.functional.max_pool2d(x, 3, 2, 1, return_mask=True)))
CASES["max unpool"] = Case(
    ((2, 3, 6, 8),),
    lambda pd, x: pd.nn.functional.max_unpool2d(*pd.nn.functional.max_pool2d(x, 2, 2, return_mask=True), 2, 2),
    open=(),
)


def _drawn(pd: Any, count: int, seed: int) -> Any:
    values = np.random.default_rng(seed).random(count).astype(np.float32) + 0.5
    return pd.ParamAttr(initializer=pd.nn.initializer.Assign(values.astype(pd.get_default_dtype())))


def _normalised(name: str, count: int, *arguments: Any, **options: Any) -> Callable[..., Any]:
    def make(pd: Any, x: Any) -> Any:
        attributes = {"weight_attr": _drawn(pd, count, 1), "bias_attr": _drawn(pd, count, 2)}
        layer = getattr(pd.nn, name)(*arguments, **attributes, **options)
        layer.eval()
        return layer(x)

    return make


CASES["batch norm"] = Case((IMAGE,), _normalised("BatchNorm2D", 3, 3))
CASES["batch norm of vectors"] = Case((ROWS,), _normalised("BatchNorm1D", 6, 6, epsilon=1e-3))
CASES["layer norm"] = Case(((2, 5, 6),), _normalised("LayerNorm", 6, 6, epsilon=1e-6))
CASES["layer norm of two axes"] = Case(((2, 5, 6),), _normalised("LayerNorm", 30, [5, 6]))
CASES["layer norm without weights"] = Case(((2, 5, 6),), _functional("layer_norm", normalized_shape=[6]))
CASES["instance norm"] = Case((IMAGE,), lambda pd, x: pd.nn.InstanceNorm2D(3, epsilon=1e-3)(x))
CASES["group norm"] = Case(((2, 4, 5, 6),), _normalised("GroupNorm", 4, 2, 4), open=())
CASES["normalize"] = Case(
    (IMAGE,),
    _functional("normalize", axis=1),
    old=lambda pd, x: x / pd.maximum(pd.linalg.norm(x, p=2, axis=1, keepdim=True), pd.full([1], 1e-12)),
)
CASES["norm 2"] = Case((ROWS,), lambda pd, x: pd.linalg.norm(x, p=2, axis=-1, keepdim=True))
CASES["norm 1"] = Case((ROWS,), lambda pd, x: pd.linalg.norm(x, p=1, axis=0))

for _name in (
    "relu",
    "relu6",
    "sigmoid",
    "tanh",
    "silu",
    "softsign",
    "log_sigmoid",
    "tanhshrink",
    "hardswish",
    "swish",
    "mish",
    "gelu",
    "hardsigmoid",
    "softplus",
    "elu",
    "celu",
    "selu",
    "hardtanh",
    "leaky_relu",
    "hardshrink",
    "softshrink",
    "thresholded_relu",
    "softmax",
    "log_softmax",
):
    CASES[_name] = Case((IMAGE,), lambda pd, x, name=_name: getattr(pd.nn.functional, name)(x * 4))
for _name, _options in {
    "gelu": {"approximate": True},
    "hardsigmoid": {"slope": 0.2, "offset": 0.5},
    "leaky_relu": {"negative_slope": 0.2},
    "elu": {"alpha": 0.3},
    "softplus": {"beta": 2.0, "threshold": 3.0},
    "softmax": {"axis": 1},
    "log_softmax": {"axis": 2},
    "hardtanh": {"min": -0.5, "max": 1.5},
}.items():
    CASES[f"{_name} {_options}"] = Case((IMAGE,), _functional(_name, **_options))
for _name in list(CASES):
    if _name.startswith("leaky_relu"):  # PIR has the slope in double precision, a `.pdmodel` in single
        CASES[_name] = CASES[_name]._replace(loose=1e-8)
CASES["prelu of channels"] = Case((IMAGE, (3,)), _functional("prelu"))
CASES["prelu"] = Case((IMAGE, (1,)), _functional("prelu"))
CASES["dropout"] = Case((IMAGE,), _functional("dropout", p=0.3, training=False))
CASES["dropout scaled"] = Case(
    (IMAGE,), _functional("dropout", p=0.25, training=False, mode="downscale_in_infer"), loose=1e-7
)

for _name in (
    "add",
    "subtract",
    "multiply",
    "divide",
    "maximum",
    "minimum",
    "less_than",
    "equal",
    "greater_equal",
    "not_equal",
):
    CASES[_name] = Case((IMAGE, (3, 1, 1)), _plain(_name))
for _name in ("floor_divide", "remainder"):
    CASES[f"{_name} of integers"] = Case(
        (ROWS, ROWS), lambda pd, x, y, name=_name: getattr(pd, name)(x * 5 - 4, y + 2), kind="integers"
    )
CASES["remainder"] = Case((ROWS, ROWS), lambda pd, x, y: pd.remainder(x, pd.abs(y) + 1))
CASES["divide of integers"] = Case((ROWS, ROWS), lambda pd, x, y: (x * 5 - 4) / (y + 2), kind="integers", loose=1e-6)
CASES["pow of two"] = Case((ROWS, ROWS), _plain("pow"), kind="positive")
CASES["pow"] = Case((ROWS,), _plain("pow", 1.5), kind="positive")
CASES["numbers"] = Case((IMAGE,), lambda pd, x: [1 - x, x * 3, 2.0 / (x + 10), x / 4, -x, x**2, (x + 2) * 1.5])
CASES["scale"] = Case(
    (ROWS,),
    lambda pd, x: [pd.scale(x, 0.5, 2.0), pd.scale(x, 0.5, 2.0, bias_after_scale=False)],
)
CASES["clip"] = Case((ROWS,), lambda pd, x: [pd.clip(x, -0.5, 0.25), pd.clip(x, min=0.125)])
for _name in ("abs", "ceil", "cos", "erf", "exp", "floor", "sign", "sin", "square", "round"):
    CASES[_name] = Case((ROWS,), _plain(_name))
for _name in ("log", "log2", "log10", "log1p", "rsqrt", "sqrt", "reciprocal"):
    CASES[_name] = Case((ROWS,), _plain(_name), kind="positive")
CASES["cast"] = Case((ROWS,), lambda pd, x: [pd.cast(x * 3, "int32"), pd.cast(x, "bool"), pd.cast(x, "int64")])
CASES["add several"] = Case((ROWS, ROWS, ROWS), lambda pd, *x: pd.add_n(list(x)))
CASES["logical"] = Case(
    (ROWS, ROWS),
    lambda pd, x, y: [pd.logical_and(x > 0, y > 0), pd.logical_or(x > 0, y > 0), pd.logical_not(x > 0)],
)

for _name in ("mean", "sum", "max", "min", "prod", "logsumexp", "amax"):
    CASES[f"{_name} of all"] = Case((ROWS,), _plain(_name))
    CASES[f"{_name} of axes"] = Case((IMAGE,), _plain(_name, axis=[2, -1]), loose=1e-12)
    CASES[f"{_name} kept"] = Case((IMAGE,), _plain(_name, axis=1, keepdim=True))
CASES["any and all"] = Case((ROWS,), lambda pd, x: [pd.any(x > 0, axis=1), pd.all(x > -1, axis=0, keepdim=True)])
CASES["argmax"] = Case(
    (IMAGE,),
    lambda pd, x: [
        pd.argmax(x, axis=1),
        pd.argmax(x, axis=1, keepdim=True, dtype="int32"),
        pd.argmin(x, axis=-1),
        pd.argmax(x),
    ],
)
CASES["cumsum"] = Case((ROWS,), lambda pd, x: [pd.cumsum(x, axis=1), pd.cumsum(x)])

for _mode in ("bilinear", "bicubic", "nearest"):
    for _corners in (False, True) if _mode != "nearest" else (False,):
        for _size in ([14, 20], [5, 21], [1, 4], [7, 1]):
            CASES[f"{_mode} {_size} {_corners}"] = Case(
                (IMAGE,), _functional("interpolate", size=_size, mode=_mode, align_corners=_corners), loose=4e-6
            )
        for _factor in (2, 0.5, 1.3):
            CASES[f"{_mode} times {_factor} {_corners}"] = Case(
                (IMAGE,),
                _functional("interpolate", scale_factor=_factor, mode=_mode, align_corners=_corners),
                loose=4e-6,
                open=(),
            )
CASES["bilinear from corners"] = Case(
    (IMAGE,), _functional("interpolate", size=[9, 13], mode="bilinear", align_corners=False, align_mode=1), loose=4e-6
)
CASES["bilinear from corners, times"] = Case(
    (IMAGE,),
    _functional("interpolate", scale_factor=[1.5, 2.5], mode="bilinear", align_corners=False, align_mode=1),
    loose=4e-6,
    open=(),
)
CASES["bilinear to another's size"] = Case(
    (IMAGE, (1, 2, 5, 9)),
    lambda pd, x, y: pd.nn.functional.interpolate(x, pd.shape(y)[2:], mode="bilinear"),
    loose=4e-6,
    open=(0, 1),
)
CASES["bilinear to computed sides"] = Case(
    (IMAGE,),
    lambda pd, x: pd.nn.functional.interpolate(x, [pd.shape(x)[2] * 2, 11], mode="bilinear", align_corners=True),
    loose=4e-6,
)
CASES["linear"] = Case(
    ((2, 3, 7),),
    _functional("interpolate", size=[12], mode="linear", align_corners=False, data_format="NCW"),
    loose=4e-6,
)
CASES["trilinear"] = Case(
    ((1, 2, 3, 4, 5),),
    _functional("interpolate", size=[5, 6, 4], mode="trilinear", align_corners=False, data_format="NCDHW"),
    loose=4e-6,
)

CASES["shape arithmetic"] = Case(
    (IMAGE,), lambda pd, x: x.reshape([pd.shape(x)[0], -1, pd.shape(x)[2] * pd.shape(x)[3]]).transpose([0, 2, 1])
)
CASES["reshape"] = Case((IMAGE,), lambda pd, x: [x.reshape([0, -1]), pd.reshape(x, [-1, 7, 10]), x.reshape([0, 3, -1])])
CASES["flatten"] = Case((IMAGE,), lambda pd, x: [pd.flatten(x), pd.flatten(x, 1), pd.flatten(x, 2, -1)])
CASES["squeeze"] = Case(
    ((3, 1, 4, 1),), lambda pd, x: [pd.squeeze(x), pd.squeeze(x, 1), pd.squeeze(x, [-1, 0])], open=()
)
CASES["unsqueeze"] = Case((ROWS,), lambda pd, x: [pd.unsqueeze(x, 1), pd.unsqueeze(x, [0, -1])])
CASES["expand"] = Case(((1, 3, 1),), lambda pd, x: [pd.expand(x, [2, 3, 4]), pd.expand(x, [5, -1, -1])])
CASES["expand as"] = Case(((1, 6), ROWS), _plain("expand_as"))
CASES["tile"] = Case((ROWS,), lambda pd, x: [pd.tile(x, [2, 1]), pd.tile(x, [2, 1, 3])])
CASES["stack"] = Case((ROWS, ROWS), lambda pd, x, y: [pd.stack([x, y]), pd.stack([x, y], axis=-1)])
CASES["concat"] = Case((ROWS, ROWS), lambda pd, x, y: [pd.concat([x, y]), pd.concat([x, y], axis=-1)])
CASES["transpose"] = Case((IMAGE,), lambda pd, x: x.transpose([0, 2, 3, 1]))
CASES["split"] = Case((ROWS,), lambda pd, x: [*pd.split(x, 3, axis=1), *pd.split(x, [2, -1], axis=0)])
CASES["chunk of open sides"] = Case(((2, 6, 4, 4),), lambda pd, x: pd.split(x, [1, 2, 3], axis=1))
CASES["unbind"] = Case((ROWS,), lambda pd, x: pd.unbind(x, axis=1))
CASES["unstack"] = Case((ROWS,), lambda pd, x: pd.unstack(x, axis=0))
CASES["a part of unbind"] = Case(((3, 4, 5),), lambda pd, x: pd.unbind(x)[1])
CASES["flip and roll"] = Case((ROWS,), lambda pd, x: [pd.flip(x, [0, 1]), pd.roll(x, 2), pd.roll(x, [1, -2], [0, 1])])
CASES["meshgrid"] = Case(((3,), (4,)), lambda pd, x, y: pd.meshgrid(x, y))
CASES["pixel shuffle"] = Case(((2, 8, 3, 5),), _functional("pixel_shuffle", upscale_factor=2))
CASES["pixel unshuffle"] = Case(((2, 2, 4, 6),), _functional("pixel_unshuffle", downscale_factor=2), open=())
CASES["channel shuffle"] = Case(((2, 6, 3, 5),), _functional("channel_shuffle", groups=3), open=())
CASES["slices"] = Case(
    (IMAGE,), lambda pd, x: [x[:, 1], x[:, :, 1:-1, 2:], x[0], x[:, :, ::2, 1::3], x[..., -3:], x[:, :, ::-1]], open=()
)
CASES["slices of open sides"] = Case((IMAGE,), lambda pd, x: [x[:, :, 1:, :-2], x[:, :, : pd.shape(x)[2] // 2]])


def _overwritten(pd: Any, x: Any, y: Any) -> Any:
    rows = slice(None), slice(1, 3)
    columns = 2, slice(None, None, 2)
    return [pd.static.setitem(pd.assign(x), rows, 0.5), pd.static.setitem(pd.assign(x), columns, y)]


CASES["overwritten"] = Case((ROWS, (3,)), _overwritten)

for _name, _options in {
    "zeros": {"pad": [1, 2, 0, 3]},
    "value": {"pad": [1, 2, 0, 3], "value": -1.5},
    "reflect": {"pad": [1, 2, 2, 3], "mode": "reflect"},
    "replicate": {"pad": [1, 2, 0, 3], "mode": "replicate"},
    "circular": {"pad": [1, 2, 0, 3], "mode": "circular"},
}.items():
    CASES[f"pad {_name}"] = Case((IMAGE,), _functional("pad", **_options), open=())
CASES["pad every axis"] = Case((ROWS,), _functional("pad", pad=[1, 0, 2, 3], value=0.5))

CASES["made"] = Case(
    (IMAGE,),
    lambda pd, x: [
        pd.zeros([2, 3]) + pd.mean(x),
        pd.ones_like(x),
        pd.full_like(x, 2.5),
        pd.arange(0, 7, 2),
        pd.full([pd.shape(x)[2], 2], 3.0),
        pd.zeros([pd.shape(x)[0], 4], "int64"),
    ],
)
CASES["positions"] = Case((IMAGE,), lambda pd, x: pd.arange(pd.shape(x)[2]).astype(x.dtype) * 0.5)
CASES["linspace"] = Case((ROWS,), lambda pd, x: pd.linspace(-1, 1, 5) + 0 * x[:, :5], loose=1e-6)
CASES["eye and triangles"] = Case((ROWS,), lambda pd, x: [x[:, :5] + pd.eye(5), pd.tril(x), pd.triu(x, 1)])
CASES["constants"] = Case((ROWS,), lambda pd, x: x * pd.assign(np.arange(6, dtype=np.float32)).astype(x.dtype))

CASES["gather"] = Case((ROWS, (4,)), lambda pd, x, i: [pd.gather(x, i), pd.gather(x, i, axis=1)], kind="mixed")
CASES["gather nd"] = Case(((3, 3, 4), (5, 2)), _plain("gather_nd"), kind="mixed")
CASES["index select"] = Case((ROWS, (4,)), lambda pd, x, i: pd.index_select(x, i, axis=1), kind="mixed")
CASES["take along axis"] = Case((ROWS, (5, 2)), lambda pd, x, i: pd.take_along_axis(x, i, 1), kind="mixed")
CASES["embedding"] = Case(((3, 6), (2, 5)), lambda pd, w, i: pd.nn.functional.embedding(i, w), kind="mixed")
CASES["embedding with padding"] = Case(
    ((3, 6), (2, 5)), lambda pd, w, i: pd.nn.functional.embedding(i, w, padding_idx=1), kind="mixed"
)
CASES["one hot"] = Case(((2, 5),), lambda pd, i: pd.nn.functional.one_hot(i, 4), kind="integers")
CASES["sorted"] = Case(
    (ROWS,), lambda pd, x: [pd.argsort(x, axis=1), pd.argsort(x, axis=0, descending=True), pd.sort(x, axis=-1)]
)
CASES["topk"] = Case((ROWS,), lambda pd, x: [*pd.topk(x, 2), *pd.topk(x, 2, axis=0, largest=False)])
CASES["where"] = Case((ROWS, ROWS), lambda pd, x, y: pd.where(x > 0, x, y))
CASES["infinite"] = Case(
    (ROWS,),
    lambda pd, x: [
        pd.nn.functional.softmax(pd.where(x > -1, x, pd.to_tensor(float("-inf")).astype(x.dtype))),
        pd.clip(x, min=-0.5, max=float("inf")),
        pd.minimum(x, pd.full([5, 6], float("inf"), x.dtype)),
    ],
)
CASES["scatter"] = Case((ROWS, (2, 6)), lambda pd, x, y: pd.scatter(x, pd.assign(np.array([3, 1])), y))

CASES["matmul"] = Case(((2, 4, 3), (2, 3, 5)), _plain("matmul"))
CASES["matmul turned"] = Case(((2, 3, 4), (5, 3)), _plain("matmul", transpose_x=True, transpose_y=True))
CASES["matmul of vectors"] = Case(((4, 3), (3,)), _plain("matmul"))
CASES["bmm"] = Case(((2, 4, 3), (2, 3, 5)), _plain("bmm"))
CASES["linear layer"] = Case(((2, 4, 3), (3, 5), (5,)), _functional("linear"))
CASES["einsum"] = Case(((2, 4, 3), (2, 5, 3)), lambda pd, x, y: pd.einsum("bik,bjk->bij", x, y))
CASES["diag"] = Case(((4,), ROWS), lambda pd, x, y: [pd.diag(x), pd.diag(x, padding_value=-1), pd.diag(y, 1)])
CASES["dot and mv"] = Case(((3,), (4, 3)), lambda pd, x, y: [pd.dot(x, x), pd.mv(y, x)])
CASES["addmm"] = Case(((2, 2), (2, 3), (3, 2)), _plain("addmm", beta=0.5, alpha=2.0))

for _mode in ("bilinear", "nearest"):
    for _outside in ("zeros", "border", "reflection"):
        for _corners in (True, False):
            CASES[f"grid {_mode} {_outside} {_corners}"] = Case(
                (IMAGE, (2, 4, 5, 2)),
                _functional("grid_sample", mode=_mode, padding_mode=_outside, align_corners=_corners),
                kind="unit",
                open=(),
            )
CASES["affine grid"] = Case(
    ((2, 2, 3),),
    lambda pd, x: [
        pd.nn.functional.affine_grid(x, [2, 3, 4, 5]),
        pd.nn.functional.affine_grid(x, [2, 3, 4, 5], align_corners=False),
    ],
)
CASES["unfold"] = Case((IMAGE,), _functional("unfold", kernel_sizes=3, strides=2, paddings=[1, 0, 2, 1]), open=())
CASES["deformable"] = Case(
    ((2, 4, 5, 6), (2, 18, 5, 6), (3, 4, 3, 3), (2, 9, 5, 6)),
    lambda pd, x, offset, weight, mask: pd.vision.ops.deform_conv2d(x, offset, weight, mask=mask, padding=1),
    open=(),
)

CASES["index sample"] = Case((ROWS, (5, 2)), _plain("index_sample"), kind="mixed")
CASES["masked"] = Case((ROWS,), lambda pd, x: [pd.masked_select(x, x > 0), pd.nonzero(x > 0)])
CASES["scatter twice"] = Case(
    (ROWS, (2, 6)), lambda pd, x, y: pd.scatter(x, pd.assign(np.array([3, 3])), y, overwrite=False)
)
CASES["scatter and add"] = Case(
    (ROWS, (2, 6)), lambda pd, x, y: pd.scatter_nd_add(x, pd.assign(np.array([[3], [3]])), y)
)
CASES["fold"] = Case(((2, 12, 12),), _functional("fold", output_sizes=[4, 5], kernel_sizes=2))
CASES["crop"] = Case((ROWS,), lambda pd, x: pd.crop(x, shape=[3, -1], offsets=[1, 2]))
CASES["not finite"] = Case(
    (ROWS,), lambda pd, x: [pd.isnan(pd.log(x)), pd.isinf(x / (x * 0)), pd.isfinite(x / (x * 0))]
)
CASES["bits"] = Case(
    (ROWS, ROWS),
    lambda pd, x, y: [pd.bitwise_and(x, y), pd.bitwise_or(x, y), pd.bitwise_xor(x, y), pd.logical_xor(x > 0, y > 0)],
    kind="integers",
)
for _name in ("acos", "asin", "atan", "cosh", "expm1", "sinh", "tan"):
    CASES[_name] = Case((ROWS,), _plain(_name), kind="unit")
CASES["less or equal"] = Case((ROWS, ROWS), _plain("less_equal"), kind="integers")
CASES["number of elements"] = Case((ROWS,), lambda pd, x: pd.numel(x))
CASES["amin"] = Case((IMAGE,), _plain("amin", axis=[1, 2]))
CASES["full of a tensor"] = Case((ROWS,), lambda pd, x: pd.full([2, 3], pd.mean(x), dtype=x.dtype))
CASES["transposed depthwise"] = Case(
    ((2, 4, 5, 6), (4, 1, 3, 3)), _functional("conv2d_transpose", groups=4, stride=2, padding=1)
)
CASES["batch norm by its own statistics"] = Case((IMAGE,), _normalised("BatchNorm2D", 3, 3, use_global_stats=True))

BOXES = ((2, 30, 4), (2, 3, 30))  # of two images, and their scores in three classes
REGIONS = ((9, 3, 4), (9, 3))
for _name, _options in {
    "": {},
    " of pixels": {"normalized": False, "background_label": 1},
    " best": {"keep_top_k": 10},
    " best one": {"keep_top_k": 1, "nms_top_k": -1},
    " ever stricter": {"nms_eta": 0.9, "nms_threshold": 0.7},
    " none": {"score_threshold": 1.0},
}.items():
    CASES[f"nms{_name}"] = Case(BOXES, partial(suppressed, **_options), open=())
    CASES[f"nms of regions{_name}"] = Case(REGIONS, partial(suppressed_regions, **_options), open=())
CASES["nms of many"] = Case(
    ((1, 400, 4), (1, 2, 400)), partial(suppressed, nms_top_k=-1, score_threshold=0.1, normalized=False), open=()
)
CASES["nms of turned boxes"] = Case(BOXES, partial(suppressed, turned=True), open=())
for _name, _options in {
    "": {},
    " gaussian": {"use_gaussian": True, "gaussian_sigma": 1.5, "background_label": 0},
    " of pixels": {"normalized": False, "keep_top_k": -1},
}.items():
    CASES[f"matrix nms{_name}"] = Case(BOXES, partial(lowered, **_options), open=())
for _name, _options in {
    "": {},
    " unclipped": {"clip_bbox": False, "scale_x_y": 1.05},
    " aware": {"iou_aware": True, "iou_aware_factor": 0.4},
}.items():
    _maps = 18 if _name == " aware" else 16
    CASES[f"yolo{_name}"] = Case(((2, _maps, 3, 4), (2, 2)), partial(yolo, **_options), kind="mixed")
for _name, _options in {
    "": {},
    " flipped": {"flip": True, "clip": True, "max_sizes": [6.0, 12.0], "aspect_ratios": [2.0, 3.0]},
    " squares first": {
        "min_max_aspect_ratios_order": True,
        "max_sizes": [6.0, 12.0],
        "steps": [3.0, 2.0],
        "offset": 0.3,
        "variance": [0.1, 0.2, 0.3, 0.4],
    },
}.items():
    CASES[f"priors{_name}"] = Case(((2, 5, 3, 4), (2, 3, 17, 21)), partial(priors, **_options), loose=1e-6, open=())
for _name, _target, _options in (
    ("", (5, 4), {}),
    (" of pixels", (5, 4), {"box_normalized": False}),
    (" by numbers", (5, 4), {"variance": [0.1, 0.2, 0.3, 0.4]}),
    (" back", (5, 6, 4), {}),
    (" back of pixels", (5, 6, 4), {"box_normalized": False}),
    (" back by rows", (6, 5, 4), {"axis": 1}),
    (" back by rows and numbers", (6, 5, 4), {"axis": 1, "variance": [0.1, 0.2, 0.3, 0.4]}),
):
    _loose = None if "rows and numbers" in _name else 1e-7  # Paddle reads the numbers, of 4 bytes each, as of 8
    CASES[f"coded{_name}"] = Case(((6, 4), _target, (6, 4)), partial(coded, **_options), loose=_loose, open=())
for _name, _options in {
    "": {"aligned": False},
    " aligned": {"spatial_scale": 0.7},
    " fixed": {"sampling_ratio": 2, "output_size": 2, "aligned": False, "spatial_scale": 0.3},
}.items():
    CASES[f"cut out{_name}"] = Case(((2, 3, 7, 10), (7, 4)), partial(cut_out, **_options))

# Paddle 1's operators, each beside what means the same today.


def _recurrent(kind: str, **options: Any) -> Callable[..., Any]:
    """A layer whose weights are the same in every program; of lengths, where a second input is given."""

    def make(pd: Any, x: Any, lengths: Any = None) -> Any:
        random = np.random.default_rng(0)

        class Drawn(pd.nn.initializer.Initializer):  # type: ignore[misc]
            def forward(self, param: Any, block: Any = None) -> Any:
                values = random.standard_normal(param.shape).astype(np.float32) / 2
                return pd.nn.initializer.Assign(values)(param, block)

        drawn = {f"{name}_attr": pd.ParamAttr(initializer=Drawn()) for name in WEIGHTS}
        layer = getattr(pd.nn, kind)(x.shape[2], 5, **options, **drawn)
        out, states = layer(x, sequence_length=None if lengths is None else lengths + 2)
        return [out, *(states if isinstance(states, tuple) else [states])]

    return make


WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
SEQUENCE = (3, 4, 6)
CASES["lstm"] = Case((SEQUENCE,), _recurrent("LSTM"))
CASES["lstm both ways"] = Case((SEQUENCE,), _recurrent("LSTM", num_layers=2, direction="bidirect"))
CASES["lstm of lengths"] = Case((SEQUENCE, (3,)), _recurrent("LSTM", num_layers=2, direction="bidirect"), kind="mixed")
CASES["gru"] = Case((SEQUENCE,), _recurrent("GRU", num_layers=2, time_major=True))
CASES["gru of lengths"] = Case((SEQUENCE, (3,)), _recurrent("GRU"), kind="mixed")
CASES["rnn"] = Case((SEQUENCE,), _recurrent("SimpleRNN", direction="bidirect"))
CASES["rnn relu"] = Case((SEQUENCE,), _recurrent("SimpleRNN", activation="relu"))
CASES["lstm by time"] = Case((SEQUENCE,), _recurrent("LSTM", direction="bidirect", time_major=True))
CASES["gru both ways"] = Case((SEQUENCE, (3,)), _recurrent("GRU", num_layers=2, direction="bidirect"), kind="mixed")
CASES["rnn of lengths"] = Case((SEQUENCE, (3,)), _recurrent("SimpleRNN", num_layers=2), kind="mixed")


def _cell(kind: str, **options: Any) -> Callable[..., Any]:
    """Two steps of a cell alone: no operator of its own, but products, gates and sums."""

    def make(pd: Any, x: Any) -> Any:
        random = np.random.default_rng(0)
        rows = {"LSTMCell": 20, "GRUCell": 15, "SimpleRNNCell": 5}[kind]
        drawn = {}
        for name, sides in zip(WEIGHTS, ((6,), (5,), (), ()), strict=True):
            values = random.standard_normal((rows, *sides)).astype(np.float32) / 2
            values = values.astype(pd.get_default_dtype())
            drawn[f"{name}_attr"] = pd.ParamAttr(initializer=pd.nn.initializer.Assign(values))
        cell = getattr(pd.nn, kind)(6, 5, **options, **drawn)
        start = pd.full([3, 5], 0.25, pd.get_default_dtype())
        _, states = cell(x, (start, start) if kind == "LSTMCell" else start)
        _, states = cell(x, states)
        return list(states) if isinstance(states, (list, tuple)) else [states]

    return make


CASES["lstm cell"] = Case(((3, 6),), _cell("LSTMCell"))
CASES["gru cell"] = Case(((3, 6),), _cell("GRUCell"))
CASES["rnn cell"] = Case(((3, 6),), _cell("SimpleRNNCell", activation="relu"))

CASES["old matmul"] = Case(
    ((2, 3, 4), (2, 5, 3)),
    lambda pd, x, y: pd.matmul(x, y, transpose_x=True, transpose_y=True) * 0.5,
    old=_old("matmul", "X", "Y", transpose_X=True, transpose_Y=True, alpha=0.5),
)
CASES["old product"] = Case(
    ((2, 3, 4), (4, 3, 2)),
    lambda pd, x, y: pd.matmul(x.reshape([6, 4]), y.reshape([4, 6])).reshape([2, 3, 3, 2]),
    old=_old("mul", "X", "Y", x_num_col_dims=2, y_num_col_dims=1),
)
CASES["old embedding"] = Case(
    ((3, 6), (2, 5, 1)),
    lambda pd, w, i: pd.nn.functional.embedding(i.squeeze(-1), w, padding_idx=2),
    kind="mixed",
    old=_old("lookup_table", "W", "Ids", padding_idx=2),
)
CASES["old expand"] = Case((ROWS,), _plain("tile", [2, 3]), old=_old("expand", "X", expand_times=[2, 3]))
CASES["old flatten"] = Case(
    ((2, 3, 4),), lambda pd, x: x.reshape([6, 4]), old=_old("flatten2", "X", axis=2, more=("XShape",))
)
CASES["old reshape"] = Case((IMAGE,), lambda pd, x: x.reshape([0, -1]), old=_old("reshape", "X", shape=[0, -1]))
CASES["old transpose"] = Case((ROWS,), lambda pd, x: x.t(), old=_old("transpose", "X", axis=[1, 0]))
CASES["old bilinear"] = Case(
    (IMAGE,),
    _functional("interpolate", size=[8, 12], mode="bilinear", align_corners=False, align_mode=1),
    loose=4e-6,
    open=(),
    old=_old("bilinear_interp", "X", scale=1.25, align_corners=False, align_mode=1, out_h=-1, out_w=-1),
)
CASES["old nearest"] = Case(
    (IMAGE,),
    _functional("interpolate", size=[9, 13], mode="nearest"),
    open=(),
    old=_old("nearest_interp", "X", align_corners=False, out_h=9, out_w=13, interp_method="nearest"),
)
CASES["old mean"] = Case((ROWS,), _plain("mean"), old=_old("mean", "X"))
CASES["old affine"] = Case(
    (IMAGE, (3,), (3,)),
    lambda pd, x, scale, bias: x * scale.reshape([3, 1, 1]) + bias.reshape([3, 1, 1]),
    old=_old("affine_channel", "X", "Scale", "Bias", data_layout="NCHW"),
)
CASES["old length"] = Case(
    (IMAGE,),
    lambda pd, x: x / pd.sqrt(pd.sum(x * x, axis=1, keepdim=True) + 0.25),
    old=_old("norm", "X", axis=1, epsilon=0.25, more=("Norm",)),
)
CASES["old shuffle"] = Case(
    ((2, 6, 3, 5),), _functional("channel_shuffle", groups=3), open=(), old=_old("shuffle_channel", "X", group=3)
)


def _quantised(axis: int, rounding: int, *, old: bool) -> Callable[..., Any]:
    """By one scale, or by one for each place on an axis."""

    def make(pd: Any, x: Any) -> Any:
        scale = pd.assign(np.linspace(0.5, 2, 1 if axis < 0 else x.shape[axis]).astype(np.float32))
        zero = pd.assign(np.zeros(1, np.float32))
        options = {"quant_axis": axis, "bit_length": 8, "qmin": -128, "qmax": 127, "round_type": rounding}
        if old:
            from tests.programs.old_writer import appended  # imports Paddle

            given = {"X": x, "Scale": scale, "ZeroPoint": zero}
            more = {"is_test": True, "only_observer": False}
            return appended("quantize_linear", given, {**options, **more}, result="Y")
        state = pd.full([1], 0.0), pd.full([1], 0.0)
        return pd._C_ops.quantize_linear(x, scale, zero, *state, *options.values(), True, False)[0]

    return make


for _name, _axis, _rounding in (("", -1, 0), (" away", -1, 1), (" by channels", 1, 0), (" by rows", 0, 0)):
    CASES[f"quantised{_name}"] = Case(
        (IMAGE,),
        _quantised(_axis, _rounding, old=False),
        loose=None,  # Paddle has no float64 here
        old=_quantised(_axis, _rounding, old=True),
        open=(),
    )
