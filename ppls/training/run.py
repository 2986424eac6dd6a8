"""A PaddleSeg config's losses and optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from ppls.errors import UsageError
from ppls.shown import listed, shown
from ppls.training import clipping, optimizers
from ppls.training.losses import LOSSES
from ppls.training.losses.distilled import DistillCrossEntropyLoss
from ppls.training.losses.joined import MixedLoss

OPTIMIZERS: dict[str, type[optimizers.PaddleOptimizer]] = {
    kind.__name__: kind for kind in (optimizers.SGD, optimizers.Momentum, optimizers.Adam, optimizers.AdamW)
}
CLIPS = {
    kind.__name__: kind for kind in (clipping.ClipGradByGlobalNorm, clipping.ClipGradByNorm, clipping.ClipGradByValue)
}
# What PaddleSeg's builder calls otherwise, or takes and ppls has no use for.
_ALSO_CALLED = {"sgd": "SGD", "adam": "Adam"}
KNOWN_OPTIMIZERS = (*OPTIMIZERS, *_ALSO_CALLED)
_WITHOUT_EFFECT = ("lazy_mode",)  # of sparse gradients
_REASONS = {
    "MaskFormerLoss": "it is MaskFormer's, an architecture that ppls does not have",
    "AdamWDL": "PaddleSeg makes it without the names that its rates go by, and fails",
    "AdamWDL_CAE": "its rates go by the layers of the backbone CAE, which ppls does not have",
}


def why_not(name: str) -> str:
    """Why ppls does not have a class that PaddleSeg has, to end a message with; empty where nothing is known."""
    return f"; {_REASONS[name]}" if name in _REASONS else ""


def build_losses(config: Mapping[str, Any], ignore_index: int | None = None) -> list[tuple[nn.Module, float]]:
    """The losses of a config's `loss`, one for each head with its coefficient.

    Args:
        config: `types`, one for each head or one for all, and `coef`.
        ignore_index: that of the training data, for losses that do not say theirs.

    Raises:
        ppls.UsageError: classes that ppls does not have, all of them listed, or an option that one does not have.
    """
    types, coefficients = config.get("types"), config.get("coef")
    if not isinstance(types, list) or not isinstance(coefficients, list) or not types:
        raise UsageError("loss has no types with a coef for each")
    if len(types) == 1:
        types = types * len(coefficients)
    if len(types) != len(coefficients):
        raise UsageError(f"loss has {len(types)} types, but {len(coefficients)} coef")
    if wrong := [coef for coef in coefficients if isinstance(coef, bool) or not isinstance(coef, (int, float))]:
        raise UsageError(f"loss has the coef {shown(repr(wrong[0]), 80)}, which is no number")
    unknown = sorted({name for name in _names(types) if name not in LOSSES})
    if unknown:
        reasons = "".join(map(why_not, unknown))
        raise UsageError(f"loss has {listed(unknown)}, which ppls does not have{reasons}; it has {', '.join(LOSSES)}")
    if DistillCrossEntropyLoss.__name__ in _names(types):
        raise UsageError("loss has DistillCrossEntropyLoss, which takes the logits of a teacher, and there is none")
    return [(_loss(item, ignore_index), coef) for item, coef in zip(types, coefficients, strict=True)]


def _names(types: Iterable[Any]) -> Iterable[str]:
    for item in types:
        if not isinstance(item, Mapping) or not isinstance(item.get("type"), str):
            raise UsageError(f"loss has {shown(repr(item), 80)}, which names no type")
        yield item["type"]
        if item["type"] == MixedLoss.__name__:
            yield from _names(item.get("losses") or [])


def _loss(item: Mapping[str, Any], ignore_index: int | None) -> nn.Module:
    options = dict(item)
    name = options.pop("type")
    if name == MixedLoss.__name__:
        options["losses"] = [_loss(inner, ignore_index) for inner in options.get("losses") or []]
    elif ignore_index is not None:
        options.setdefault("ignore_index", ignore_index)
    loss: nn.Module = _built(LOSSES[name], options, f"loss {name}")
    return loss


def build_optimizer(
    config: Mapping[str, Any], parameters: Mapping[str, nn.Parameter], rate: float
) -> optimizers.PaddleOptimizer:
    """The optimizer of a config's `optimizer`, with its groups (`custom_cfg`) and its clipping (`grad_clip_cfg`).

    Args:
        config: `type` and the options of that class; an SGD with a momentum is Momentum, as in PaddleSeg.
        parameters: by PaddleSeg's names, of which `custom_cfg` names parts: the first that fits takes a parameter.
        rate: that of the first iteration.

    Raises:
        ppls.UsageError: an unknown type, or an option that it does not have or that cannot be.
    """
    options = {key: value for key, value in config.items() if key not in _WITHOUT_EFFECT}
    kind = options.pop("type", None)
    kind = _ALSO_CALLED.get(kind, kind) if isinstance(kind, str) else kind
    kind = "Momentum" if kind == "SGD" and "momentum" in options else kind
    if not isinstance(kind, str) or kind not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise UsageError(
            f"optimizer has the type {shown(repr(kind), 80)}, which is none of {known}{why_not(str(kind))}"
        )
    clip, groups = options.pop("grad_clip_cfg", None), options.pop("custom_cfg", None)
    if options.get("weight_decay", 0) is None:
        del options["weight_decay"]
    if clip is not None:
        clip = dict(clip) if isinstance(clip, Mapping) else {}
        name = clip.pop("name", None)
        if name not in CLIPS:
            raise UsageError(f"grad_clip_cfg has the name {shown(repr(name), 80)}, which is none of {', '.join(CLIPS)}")
        options["clip"] = _built(CLIPS[name], clip, "grad_clip_cfg")
    given = _groups(groups or [], parameters, options.get("weight_decay"))
    built: optimizers.PaddleOptimizer = _built(OPTIMIZERS[kind], {**options, "lr": rate}, f"optimizer {kind}", given)
    return built


def _groups(
    custom: Any, parameters: Mapping[str, nn.Parameter], decay: float | None
) -> list[dict[str, Any]] | list[nn.Parameter]:
    if not custom:
        return list(parameters.values())
    left, groups = dict(parameters), []
    for group in custom:
        if not isinstance(group, Mapping) or not isinstance(group.get("name"), str):
            raise UsageError(f"custom_cfg has {shown(repr(group), 80)}, which has no name")
        taken = [left.pop(name) for name in list(left) if group["name"] in name]
        options = {"lr_mult": group.get("lr_mult", 1.0)}
        if decay is not None and group.get("weight_decay_mult") is not None:
            options["weight_decay"] = decay * group["weight_decay_mult"]
        groups.append({"params": taken, **options})
    return [group for group in [*groups, {"params": list(left.values())}] if group["params"]]


def _built(kind: Any, options: dict[str, Any], what: str, *first: Any) -> Any:
    """What a class makes of options, where it has all of them and needs no others."""
    known = list(inspect.signature(kind).parameters.values())[len(first) :]
    names = [parameter.name for parameter in known]
    if unknown := [name for name in options if name not in names]:
        raise UsageError(f"{what} has {listed(unknown)}, which it may not: it may have {', '.join(names)}")
    needed = [p.name for p in known if p.default is inspect.Parameter.empty and p.name not in options]
    if needed:
        raise UsageError(f"{what} lacks {', '.join(needed)}")
    try:
        return kind(*first, **options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what}: {error}") from None
