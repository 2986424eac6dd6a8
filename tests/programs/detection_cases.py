"""What the cases of detection make of their inputs: boxes that overlap, scores, and the operators in either form."""

from __future__ import annotations

from typing import Any

NMS: dict[str, Any] = {
    "score_threshold": 0.3,
    "nms_top_k": 20,
    "keep_top_k": -1,
    "nms_threshold": 0.4,
    "normalized": True,
    "nms_eta": 1.0,
    "background_label": -1,
}
NMS_RESULTS = ("Out", "Index", "NmsRoisNum")


def boxes(pd: Any, x: Any, *, turned: bool = False) -> Any:
    """(..., 4) in about 12 x 12, of sides up to 6, so that most touch another.

    `turned` ones are small, and some end before they begin.
    """
    middle, side = x[..., :2] * 6 + 6, pd.abs(x[..., 2:]) * 3 + 0.5
    if turned:
        middle, side = x[..., :2] * 0.3, pd.abs(x[..., 2:]) - 0.5
    return pd.concat([middle - side, middle + side], axis=-1)


def scores(pd: Any, x: Any) -> Any:
    """From 0 to 1, as a network's last layer gives them."""
    return pd.nn.functional.sigmoid(x * 4)


def suppressed(pd: Any, x: Any, y: Any, counts: Any = None, *, turned: bool = False, **options: Any) -> Any:
    """`multiclass_nms3`, which no function of Paddle's makes: PaddleDetection makes it by itself."""
    given = {**NMS, **options}
    taken = [boxes(pd, x, turned=turned), scores(pd, y), *([] if counts is None else [counts])]
    if pd.framework.in_pir_mode():
        return list(pd._C_ops.multiclass_nms3(*taken, *([None] if counts is None else []), *given.values()))
    from tests.programs.old_writer import appended  # imports Paddle

    roles = dict(zip(("BBoxes", "Scores", "RoisNum"), taken, strict=False))
    return appended("multiclass_nms3", roles, given, result=NMS_RESULTS)


def suppressed_regions(pd: Any, x: Any, y: Any, **options: Any) -> Any:
    """Of the regions of two images, the first of which has three."""
    counts = pd.stack([pd.full([], 3, "int32"), pd.shape(y)[0].astype("int32") - 3])
    return suppressed(pd, x, y, counts, **options)


def lowered(pd: Any, x: Any, y: Any, **options: Any) -> Any:
    """`matrix_nms`."""
    more = {"return_index": True, "return_rois_num": True, "background_label": -1, **options}
    out, counts, places = pd.vision.ops.matrix_nms(
        boxes(pd, x), scores(pd, y), 0.3, 0.6, 12, more.pop("keep_top_k", 15), **more
    )
    return [out, places, counts]


def yolo(pd: Any, x: Any, sizes: Any, **options: Any) -> Any:
    """`yolo_box` of two anchors and three classes."""
    sides = (sizes * 37 + 40).astype("int32")
    given = {"anchors": [10, 13, 33, 23], "class_num": 3, "conf_thresh": 0.4, "downsample_ratio": 16, **options}
    return list(pd.vision.ops.yolo_box(x, sides, **given))


def priors(pd: Any, x: Any, image: Any, **options: Any) -> Any:
    """`prior_box`, which has a part of it in float32."""
    given = {"min_sizes": [4.0, 9.0], "aspect_ratios": [1.0, 2.0], **options}
    return list(pd.vision.ops.prior_box(x, image, **given))


def coded(pd: Any, x: Any, y: Any, spread: Any, **options: Any) -> Any:
    """`box_coder`; with `variance` the third input is the variances' place alone."""
    back = y.ndim == 3
    target = y if back else boxes(pd, y)
    given = options.pop("variance", pd.abs(spread) + 0.5)
    kind = "decode_center_size" if back else "encode_center_size"
    return pd.vision.ops.box_coder(boxes(pd, x), given, target, kind, **options) + 0 * pd.sum(spread)


def cut_out(pd: Any, x: Any, y: Any, **options: Any) -> Any:
    """`roi_align` of two regions of the first image, and the rest of the second, some of them partly outside."""
    counts = pd.stack([pd.full([], 2, "int32"), pd.shape(y)[0].astype("int32") - 2])
    given = {"output_size": (2, 3), **options}
    return pd.vision.ops.roi_align(x, boxes(pd, y), counts, **given)
