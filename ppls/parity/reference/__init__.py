"""The reference: PaddleSeg's own model, run in a process of its own.

Nothing in this folder imports ppls or torch, only the standard library, numpy, paddle and paddleseg: it runs under the
interpreter that `--reference-python` names, which has Paddle and need have nothing else. It is started as
`PYTHON .../ppls/parity/reference FOLDER [PADDLESEG]` and takes one job after another, so that Paddle is imported once:
each line on standard input is the number N of a job; `FOLDER` holds `jobN.json` and the arrays it names, and receives
`resultN.json` and the arrays that one names. Standard output is not part of the protocol, because paddle prints there.
"""
