"""Paddle Inference: times PaddleSeg's model, exported for one shape of input, or an export, as a deployment runs it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import inference

from .network import build, load_strictly, read_checkpoint

_opened: dict[str, Any] = {}  # the model, once it is built, and the latest predictor with its image


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
    (program,) = [path for path in place.iterdir() if path.suffix in (".json", ".pdmodel")]
    return _opened_for(image, inference.Config(str(program), str(place / "model.pdiparams")), job, folder)


def open_export(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Makes a predictor of the job's program for the job's input, in the modes of `open_predictor`."""
    return _opened_for(np.load(folder / job["input"]), inference.Config(job["program"], job["weights"]), job, folder)


def _opened_for(image: Any, config: Any, job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    _set_mode(config, job)
    _opened["predictor"] = inference.create_predictor(config)
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


def _set_mode(config: Any, job: Mapping[str, Any]) -> None:
    config.disable_glog_info()
    if job["mode"] == "CUDA":
        config.enable_use_gpu(256, 0)  # MiB to start with, and the first device
        return
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(job["threads"])
    if job["mode"] == "plain":
        config.disable_mkldnn()
    else:
        config.enable_mkldnn()
    if job["mode"] == "oneDNN bfloat16":
        config.enable_mkldnn_bfloat16()
