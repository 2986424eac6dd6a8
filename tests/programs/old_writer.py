"""Functions of Paddle 3.3 that its old writer lost: in the static form they know PIR alone.

Each appends the operation that Paddle 2.6 appended, with the same attributes; Paddle's own checker fills in the rest.
"""

import paddle
from paddle.base.framework import convert_np_dtype_to_dtype_
from paddle.base.layer_helper import LayerHelper


def appended(kind, inputs, attributes=None, dtype=None, result="Out", more=()):
    """An operation, and its result, or all of several; `more` are results that nobody asks for."""
    helper = LayerHelper(kind)
    dtype = dtype or next(iter(inputs.values())).dtype
    results = [result] if isinstance(result, str) else list(result)
    made = {role: helper.create_variable_for_type_inference(dtype) for role in (*results, *more)}
    helper.append_op(
        type=kind,
        inputs={role: [given] for role, given in inputs.items()},
        outputs={role: [each] for role, each in made.items()},
        attrs=attributes or {},
    )
    return made[result] if isinstance(result, str) else [made[role] for role in results]


def single(kind, **defaults):
    return lambda x, name=None, **options: appended(kind, {"X": x}, {**defaults, **options})


def single_of_truth(kind):
    return lambda x, name=None: appended(kind, {"X": x}, dtype="bool")


def pair(kind, attributes=None, roles=("X", "Y"), dtype=None):
    return lambda x, y, name=None: appended(kind, dict(zip(roles, (x, y), strict=True)), attributes, dtype)


def reduction(kind, axes="dim", keep="keep_dim", dtype=None):
    def run(x, axis=None, keepdim=False, name=None):
        listed = [] if axis is None else [axis] if isinstance(axis, int) else list(axis)
        return appended(kind, {"X": x}, {axes: listed, keep: keepdim, "reduce_all": axis is None}, dtype)

    return run


def extreme(kind):
    def run(x, axis=None, keepdim=False, dtype="int64", name=None):
        attributes = {"axis": axis or 0, "keepdims": keepdim, "flatten": axis is None}
        return appended(kind, {"X": x}, {**attributes, "dtype": convert_np_dtype_to_dtype_(dtype)}, dtype)

    return run


def roll(x, shifts, axis=None, name=None):
    listed = [[given] if isinstance(given, int) else list(given or []) for given in (shifts, axis)]
    return appended("roll", {"X": x}, {"shifts": listed[0], "axis": listed[1]})


def triangle(lower):
    return lambda x, diagonal=0, name=None: appended("tril_triu", {"X": x}, {"diagonal": diagonal, "lower": lower})


def matmul(x, y, transpose_x=False, transpose_y=False, name=None):
    return appended("matmul_v2", {"X": x, "Y": y}, {"trans_x": transpose_x, "trans_y": transpose_y})


def grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=True, name=None):
    attributes = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    return appended("grid_sampler", {"X": x, "Grid": grid}, attributes, result="Output")


def expand_as(x, y, name=None):
    return appended("expand_as_v2", {"X": x, "Y": y}, {"target_shape": list(y.shape)})


_SINGLE = (
    "acos", "asin", "cosh", "expm1", "sinh",
    "abs", "ceil", "cos", "exp", "floor", "sign", "sin", "round", "log", "log2", "log10", "log1p", "rsqrt", "sqrt",
    "tanh",
)  # fmt: skip
_PAIRS = {"multiply": "mul", "maximum": "max", "minimum": "min"}
FUNCTIONS = {
    paddle: {
        **{name: single(name) for name in _SINGLE},
        **{name: pair(f"elementwise_{kind}", {"axis": -1}) for name, kind in _PAIRS.items()},
        **{name: pair(name, dtype="bool") for name in ("logical_and", "logical_or", "logical_xor")},
        "logical_not": lambda x, out=None, name=None: appended("logical_not", {"X": x}, dtype="bool"),
        **{name: single_of_truth(f"{name}_v2") for name in ("isnan", "isinf", "isfinite")},
        "sum": reduction("reduce_sum"),
        "amax": reduction("reduce_amax"),
        "amin": reduction("reduce_amin"),
        "logsumexp": reduction("logsumexp", "axis", "keepdim"),
        "any": reduction("reduce_any", dtype="bool"),
        "all": reduction("reduce_all", dtype="bool"),
        "argmax": extreme("arg_max"),
        "argmin": extreme("arg_min"),
        "roll": roll,
        "tril": triangle(True),
        "triu": triangle(False),
        "expand_as": expand_as,
        "matmul": matmul,
        "bmm": pair("bmm"),
        "dot": pair("dot"),
        "mv": pair("mv", roles=("X", "Vec")),
    },
    paddle.nn.functional: {
        "sigmoid": single("sigmoid"),
        "tanh": single("tanh"),
        "gelu": single("gelu", approximate=False),
        "softplus": single("softplus", beta=1.0, threshold=20.0),
        "grid_sample": grid_sample,
    },
}


def restore_functions():
    """Puts them in the place of Paddle's, for the rest of the process."""
    for module, functions in FUNCTIONS.items():
        for name, function in functions.items():
            setattr(module, name, function)
