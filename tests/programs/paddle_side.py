"""Paddle's side of the tests of operators, in a process of its own: `python -m tests.programs.paddle_side FOLDER`.

All cases are one program, written in both forms, `FOLDER/pir/model.json` and `FOLDER/pdmodel/model.pdmodel`;
`FOLDER/cases.npz` has what goes into each, and what Paddle makes of it in float32 and float64. `FOLDER/cases.json` has
of each case the places of its outputs in each program, or why Paddle could not make it.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

import numpy as np
import paddle

from tests.programs.old_writer import restore_functions
from tests.programs.operator_cases import CASES, inputs, open_shape


def build(dtype, *, old):
    """The program of all cases, in the old form or not: what is fed and fetched, by the case."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    fed, fetched, failed = {}, {}, {}
    paddle.set_default_dtype(dtype)
    with paddle.static.program_guard(main, startup):
        for seed, (name, case) in enumerate(CASES.items()):
            variables = []
            for at, array in enumerate(inputs(case, seed)):
                kind = dtype if array.dtype == np.float32 else "int64"
                variables.append(paddle.static.data(f"input_{seed}_{at}", open_shape(case, at), kind))
            try:
                made = (case.old if old and case.old is not None else case.make)(paddle, *variables)
            except Exception:
                failed[name] = traceback.format_exc()[-2000:]
                continue
            fed[name] = variables
            fetched[name] = list(made) if isinstance(made, (list, tuple)) else [made]
    paddle.set_default_dtype("float32")
    return main, startup, fed, fetched, failed


def run(folder, form, dtype, record, places):
    main, startup, fed, fetched, failed = build(dtype, old=form == "pdmodel")
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup)
    feeds = [variable for variables in fed.values() for variable in variables]
    fetches = [variable for variables in fetched.values() for variable in variables]
    if form is not None:
        (folder / form).mkdir()
        prefix = str(folder / form / "model")
        paddle.static.save_inference_model(prefix, feeds, fetches, executor, program=main)
        firsts = np.cumsum([0, *map(len, fetched.values())]).tolist()
        own = {name: list(range(at, at + len(fetched[name]))) for name, at in zip(fetched, firsts, strict=False)}
        places[form] = {"places": own, "failed": failed}
    if form == "pdmodel":
        return
    given = {}
    for seed, (name, case) in enumerate(CASES.items()):
        for at, array in enumerate(inputs(case, seed)):
            record[f"input/{name}/{at}"] = array
            given[f"input_{seed}_{at}"] = array.astype(dtype) if array.dtype == np.float32 else array
    results = iter(executor.run(main, feed=given, fetch_list=fetches))
    for name, variables in fetched.items():
        for at in range(len(variables)):
            record[f"{dtype}/{name}/{at}"] = next(results)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    record: dict = {}
    places: dict = {}
    paddle.enable_static()
    run(folder, "pir", "float32", record, places)
    run(folder, None, "float64", record, places)
    restore_functions()
    with paddle.pir_utils.OldIrGuard():
        run(folder, "pdmodel", "float32", record, places)
    np.savez(folder / "cases.npz", **record)
    (folder / "cases.json").write_text(json.dumps(places))
