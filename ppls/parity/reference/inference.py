"""Paddle Inference: exports PaddleSeg's model for one shape of input and times it, as a deployment runs it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import inference

from .network import build, load_strictly, read_checkpoint

_opened: dict[str, Any] = {}  # the model, once it is built, and the predictor of the latest `open_predictor`


def open_predictor(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Makes a predictor of the job's checkpoint for the job's input; returns the file of what it computes from it.

    The job's `mode` is `plain`, `oneDNN`, `oneDNN bfloat16` or `CUDA`.
    """
    image = np.load(folder / job["input"])
    if "model" not in _opened:
        from paddleseg.models.layers import tensor_fusion

        # it holds nothing but assertions, which the exporter cannot trace
        tensor_fusion.UAFM.check = paddle.jit.not_to_static(tensor_fusion.UAFM.check)
        _opened["model"] = build(job["model"])
        arrays = read_checkpoint(job)
        load_strictly(_opened["model"], arrays, job["may_be_missing"], job["may_be_unexpected"])
        _opened["model"].eval()
    place = folder / f"export_{'x'.join(map(str, image.shape))}"
    if not place.exists():
        static = paddle.jit.to_static(_opened["model"], input_spec=[paddle.static.InputSpec(image.shape, "float32")])
        paddle.jit.save(static, str(place / "model"))
    _opened["predictor"] = inference.create_predictor(_config(place, job))
    _opened["image"] = image
    np.save(folder / "predicted.npy", _run())
    return {"output": "predicted.npy"}


def time_predictor(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Seconds of each of the job's `runs`, from the image in memory to the logits in memory; after one not timed."""
    seconds = []
    for _ in range(1 + job["runs"]):
        begin = time.perf_counter()
        _run()
        seconds.append(time.perf_counter() - begin)
    return {"seconds": seconds[1:]}


def _run() -> Any:
    predictor = _opened["predictor"]
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(_opened["image"])
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


def _config(place: Path, job: Mapping[str, Any]) -> Any:
    (program,) = [path for path in place.iterdir() if path.suffix in (".json", ".pdmodel")]
    config = inference.Config(str(program), str(place / "model.pdiparams"))
    config.disable_glog_info()
    if job["mode"] == "CUDA":
        config.enable_use_gpu(256, 0)  # MiB to start with, and the first device
        return config
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(job["threads"])
    if job["mode"] == "plain":
        config.disable_mkldnn()
    else:
        config.enable_mkldnn()
    if job["mode"] == "oneDNN bfloat16":
        config.enable_mkldnn_bfloat16()
    return config
