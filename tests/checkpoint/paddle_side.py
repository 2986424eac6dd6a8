"""Runs Paddle in a process of its own: `python paddle_side.py pickles|programs OUT.npz FILE...` (not a test).

Writes every array that Paddle itself loads, under `index of the file | path within the object`.
"""

import sys

import numpy as np
import paddle


def leaves(value, path=()):
    """Arrays with their path: dictionary keys and positions in lists."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key != "StructuredToParameterName@@":
                yield from leaves(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, str(index)))
    elif isinstance(value, np.ndarray) and value.dtype.kind not in "OUS":
        yield path, value


def loaded_pickle(file):
    return leaves(paddle.load(file, return_numpy=True, keep_name_table=True))


def loaded_program(prefix):
    """The weights of an export by variable name, as Paddle's own inference loader pairs them."""
    paddle.enable_static()
    executor = paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, _, _ = paddle.static.load_inference_model(prefix, executor)
        for name, tensor in program.state_dict().items():
            yield (name,), np.array(tensor)


def main():
    mode, out, *files = sys.argv[1:]
    load = {"pickles": loaded_pickle, "programs": loaded_program}[mode]
    arrays = {}
    for index, file in enumerate(files):
        for path, array in load(file):
            arrays["|".join((str(index), *path))] = array
    np.savez(out, **arrays)


if __name__ == "__main__":
    main()
