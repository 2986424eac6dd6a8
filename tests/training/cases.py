"""What both sides run: the same numbers for Paddle, in a process of its own, and for ppls. numpy only."""

from __future__ import annotations

import numpy as np

STEPS = 200
SHAPES = {"a.w": (37,), "a.b": (4, 16), "norm.w": (3, 5, 1, 1), "head.w": (65, 3), "unused.w": (2, 3)}
GROUPS = [{"name": "a.", "lr_mult": 0.1}, {"name": "norm", "lr_mult": 3.0, "weight_decay_mult": 0.0}]
CLIPS = {
    "clip_all": ("ClipGradByGlobalNorm", {"clip_norm": 5.0}),
    "clip_each": ("ClipGradByNorm", {"clip_norm": 4.0}),
    "clip_values": ("ClipGradByValue", {"max": 0.7}),
}

# name: class, options, groups of parameters or not
OPTIMIZERS = {
    "sgd": ("SGD", {}, False),
    "sgd_l2": ("SGD", {"weight_decay": 5e-4}, False),
    "momentum": ("Momentum", {"momentum": 0.9}, False),
    "momentum_l2": ("Momentum", {"momentum": 0.9, "weight_decay": 5e-4}, False),
    "nesterov": ("Momentum", {"momentum": 0.9, "use_nesterov": True, "weight_decay": 4e-5}, False),
    "momentum_groups": ("Momentum", {"momentum": 0.9, "weight_decay": 5e-4}, True),
    "sgd_groups": ("SGD", {"weight_decay": 5e-4}, True),
    "adam": ("Adam", {}, False),
    "adam_l2": ("Adam", {"weight_decay": 1e-3, "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-6}, False),
    "adam_groups": ("Adam", {"weight_decay": 1e-3}, True),
    "adamw": ("AdamW", {"weight_decay": 0.01}, False),
    "adamw_groups": ("AdamW", {"weight_decay": 0.05}, True),
    "adamw_none": ("AdamW", {"weight_decay": 0.0}, False),
    **{name: ("Momentum", {"weight_decay": 5e-4}, False) for name in CLIPS},
    "clip_groups": ("Momentum", {"weight_decay": 5e-4}, True),
}
EXACT = [name for name in OPTIMIZERS if name not in ("clip_all", "clip_each", "clip_groups")]


def clip_of(name: str):
    return CLIPS.get({"clip_groups": "clip_all"}.get(name, name))


def rate(step: int) -> float:
    return 0.01 * (1 - step / STEPS) ** 0.9


def start(dtype: str) -> dict[str, np.ndarray]:
    random = np.random.RandomState(0)
    return {name: random.standard_normal(shape).astype("float32").astype(dtype) for name, shape in SHAPES.items()}


def gradients(step: int, dtype: str) -> dict[str, np.ndarray]:
    """Of each parameter but one; another is without in every seventh step."""
    random = np.random.RandomState(step + 1)
    made = {name: random.standard_normal(shape).astype("float32").astype(dtype) for name, shape in SHAPES.items()}
    del made["unused.w"]
    if step % 7 == 3:
        del made["head.w"]
    return made


def grouped(names, decay):
    """PaddleSeg's groups (`custom_cfg`): the first whose name is part of the parameter's; the rest at the end."""
    left = list(names)
    groups = []
    for group in GROUPS:
        within = [name for name in left if group["name"] in name]
        left = [name for name in left if name not in within]
        options = {"lr_mult": group["lr_mult"]}
        if "weight_decay_mult" in group:
            options["weight_decay"] = decay * group["weight_decay_mult"]
        groups.append((within, options))
    return [*groups, (left, {})]


# name: Paddle's class, its options, warmup
SCHEDULES = {
    "poly": ("PolynomialDecay", {"learning_rate": 0.01, "decay_steps": 300, "end_lr": 0, "power": 0.9}, None),
    "poly_defaults": ("PolynomialDecay", {"learning_rate": 0.01, "decay_steps": 250}, None),
    "poly_cycle": (
        "PolynomialDecay",
        {"learning_rate": 0.01, "decay_steps": 70, "end_lr": 1e-5, "power": 2.0, "cycle": True},
        None,
    ),
    "poly_warm": (
        "PolynomialDecay",
        {"learning_rate": 0.01, "decay_steps": 250, "end_lr": 0.0, "power": 0.9},
        (50, 1e-5),
    ),
    "cosine": ("CosineAnnealingDecay", {"learning_rate": 0.02, "T_max": 90, "eta_min": 1e-4}, None),
    "cosine_warm": ("CosineAnnealingDecay", {"learning_rate": 0.02, "T_max": 260}, (30, 0.0)),
    "piecewise": ("PiecewiseDecay", {"boundaries": [30, 200], "values": [0.1, 0.01, 0.001]}, None),
    "piecewise_warm": ("PiecewiseDecay", {"boundaries": [30, 200], "values": [0.1, 0.01, 0.001]}, (20, 1e-3)),
    "step": ("StepDecay", {"learning_rate": 0.1, "step_size": 33, "gamma": 0.7}, None),
    "step_warm": ("StepDecay", {"learning_rate": 0.1, "step_size": 33}, (11, 1e-6)),
    "multistep": ("MultiStepDecay", {"learning_rate": 0.1, "milestones": [10, 50, 200], "gamma": 0.3}, None),
    "exponential": ("ExponentialDecay", {"learning_rate": 0.1, "gamma": 0.99}, None),
    "onecycle": ("OneCycleLR", {"max_learning_rate": 0.1, "total_steps": 320}, None),
    "onecycle_linear": (
        "OneCycleLR",
        {
            "max_learning_rate": 0.1,
            "total_steps": 320,
            "phase_pct": 0.2,
            "anneal_strategy": "linear",
            "three_phase": True,
            "divide_factor": 10,
            "end_learning_rate": 1e-6,
        },
        None,
    ),
    "onecycle_warm": ("OneCycleLR", {"max_learning_rate": 0.1, "total_steps": 320}, (15, 1e-4)),
}
RUN = 310  # iterations of a schedule

CLASSES = 4
WEIGHTS = [0.5, 1.0, 2.0, 1.25]  # sums of them are exact in float32, which PaddleSeg adds them in
# name: class, options, what it is given
LOSSES = {
    "ce": ("CrossEntropyLoss", {}, "pixels"),
    "ce_ignored": ("CrossEntropyLoss", {}, "ignored"),
    "ce_weight": ("CrossEntropyLoss", {"weight": WEIGHTS}, "pixels"),
    "ce_top": ("CrossEntropyLoss", {"top_k_percent_pixels": 0.3}, "pixels"),
    "ce_top_weight": ("CrossEntropyLoss", {"top_k_percent_pixels": 0.3, "weight": WEIGHTS}, "pixels"),
    "ce_all": ("CrossEntropyLoss", {"avg_non_ignore": False}, "pixels"),
    "ohem": ("OhemCrossEntropyLoss", {"min_kept": 40}, "pixels"),
    "ohem_kept": ("OhemCrossEntropyLoss", {"min_kept": 250, "thresh": 0.3}, "pixels"),
    "ohem_few": ("OhemCrossEntropyLoss", {"min_kept": 100000}, "pixels"),
    "ohem_none": ("OhemCrossEntropyLoss", {"min_kept": 0}, "pixels"),
    "ohem_ignored": ("OhemCrossEntropyLoss", {"min_kept": 40}, "ignored"),
    "bootstrapped": ("BootstrappedCrossEntropyLoss", {"min_K": 50, "loss_th": 1.2}, "pixels"),
    "bootstrapped_few": ("BootstrappedCrossEntropyLoss", {"min_K": 150, "loss_th": 2.0, "weight": WEIGHTS}, "pixels"),
    "edges": ("EdgeAttentionLoss", {"edge_threshold": 0.1}, "with_edges"),
    "ohem_edges": ("OhemEdgeAttentionLoss", {"edge_threshold": 0.1, "min_kept": 30}, "with_edges"),
    "dice": ("DiceLoss", {}, "pixels"),
    "dice_weight": ("DiceLoss", {"weight": WEIGHTS, "smooth": 0.5}, "pixels"),
    "lovasz": ("LovaszSoftmaxLoss", {}, "pixels"),
    "lovasz_all": ("LovaszSoftmaxLoss", {"classes": "all"}, "two_labels"),
    "lovasz_present": ("LovaszSoftmaxLoss", {}, "two_labels"),
    "lovasz_list": ("LovaszSoftmaxLoss", {"classes": [1, 3]}, "pixels"),
    "hinge": ("LovaszHingeLoss", {}, "two"),
    "hinge_one": ("LovaszHingeLoss", {}, "one"),
    "hinge_ignored": ("LovaszHingeLoss", {}, "one_ignored"),
    "bce": ("BCELoss", {}, "one"),
    "bce_classes": ("BCELoss", {}, "pixels"),
    "bce_dynamic": ("BCELoss", {"weight": "dynamic"}, "one"),
    "bce_dynamic_classes": ("BCELoss", {"weight": "dynamic"}, "two"),
    "bce_positive": ("BCELoss", {"pos_weight": 3.0}, "one"),
    "bce_positive_dynamic": ("BCELoss", {"pos_weight": "dynamic"}, "one"),
    "focal": ("FocalLoss", {}, "two"),
    "focal_options": ("FocalLoss", {"alpha": 0.6, "gamma": 3.0}, "two"),
    "focal_classes": ("MultiClassFocalLoss", {"num_class": CLASSES, "alpha": 0.5, "gamma": 1.5}, "pixels"),
    "mixed": (
        "MixedLoss",
        {"losses": [["CrossEntropyLoss", {}], ["LovaszSoftmaxLoss", {}]], "coef": [0.8, 0.2]},
        "pixels",
    ),
    "kl": ("KLLoss", {"temperature": 2.0}, "two_logits"),
    "kl_labels": ("KLLoss", {}, "two_logits_labels"),
    "l1": ("L1Loss", {}, "two_logits_255"),
    "l1_sum": ("L1Loss", {"reduction": "sum"}, "two_logits_255"),
    "mse": ("MSELoss", {}, "two_logits_255"),
    "mse_sum": ("MSELoss", {"reduction": "sum"}, "two_logits"),
    "distilled": ("DistillCrossEntropyLoss", {}, "two_logits_labels"),
    "distilled_top": (
        "DistillCrossEntropyLoss",
        {"weight": WEIGHTS, "top_k_percent_pixels": 0.4},
        "two_logits_labels",
    ),
    "connectivity": ("SemanticConnectivityLoss", {}, "areas"),
    "connectivity_few": ("SemanticConnectivityLoss", {"max_pred_num_conn": 3}, "pixels"),
    "detail": ("DetailAggregateLoss", {}, "detail"),
    "semantic": ("SECrossEntropyLoss", {"ignore_index": 255}, "vector"),
    "relax": ("RelaxBoundaryLoss", {}, "pixels"),
    "points": ("PointCrossEntropyLoss", {}, "at_points"),
    "dual": ("DualTaskLoss", {}, "pixels"),
    "contrast": ("PixelContrastCrossEntropyLoss", {"max_views": 20}, "embedded"),
    "contrast_few": ("PixelContrastCrossEntropyLoss", {"max_views": 40, "max_samples": 60}, "embedded"),
    "rmi": ("RMILoss", {"num_classes": CLASSES}, "larger"),
    "rmi_options": ("RMILoss", {"num_classes": CLASSES, "rmi_radius": 2}, "larger"),
}
FUSE_KERNEL = (0.6, 0.3, 0.1)


def uniform(shape) -> np.ndarray:
    """What a loss draws in place of random numbers."""
    return np.random.RandomState(3).random_sample(tuple(shape)).astype("float32")


def given(kind: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Logits, whose gradients are compared, and labels."""
    random = np.random.RandomState(7)
    channels = {"two": 2, "one": 1, "one_ignored": 1, "detail": 1}.get(kind, CLASSES)
    height, width = {"detail": (9, 17), "larger": (45, 42)}.get(kind, (16, 12))
    logits = [random.standard_normal((2, channels, height, width)) * 2]
    labels = random.randint(
        0, 2 if kind in ("two", "one", "two_labels", "one_ignored") else CLASSES, (2, height, width)
    )
    if kind == "detail":
        # Larger, by a ratio that float32 holds, which Paddle keeps it in.
        labels = np.kron(random.randint(0, CLASSES, (2, 3, 5)), np.ones((1, 8, 8), int))[:, :17, :33]
    labels[random.rand(*labels.shape) < 0.1] = 255
    if kind in ("ignored", "one_ignored"):
        labels[:] = 255
    if kind == "with_edges":
        logits.append(random.standard_normal((2, 1, height, width)))
    if kind.startswith("two_logits"):
        logits.append(random.standard_normal(logits[0].shape))
    if kind == "two_logits_255":
        logits[1][..., :3] = 255
    if kind == "areas":
        logits = [np.kron(logits[0], np.ones((1, 1, 4, 4)))]
        labels = np.roll(np.kron(labels, np.ones((1, 4, 4), int)), 2, 1)
    if kind == "vector":
        logits = [random.standard_normal((2, CLASSES))]
        labels[1] = np.where(labels[1] == 255, 255, labels[1] % 2)
    if kind == "embedded":
        labels = np.kron(labels, np.ones((1, 2, 2), int))
        logits.append(random.standard_normal((2, 6, height, width)) / 3)
    if kind == "at_points":
        logits = [random.standard_normal((2, CLASSES, 30)), random.rand(2, 30, 2)]
    return logits, labels.astype("int64")


AVERAGED = {
    "0.weight": (3, 2, 1, 1),
    "0.bias": (3,),
    "1.weight": (3,),
    "1.bias": (3,),
    "1.running_mean": (3,),
    "1.running_var": (3,),
}
ITERATIONS = (0, *range(1, 20), 2000, 2001)  # the first is that of the start


def averaged(iteration: int, dtype: str) -> dict[str, np.ndarray]:
    """The tensors of a model after an iteration."""
    random = np.random.RandomState(iteration)
    return {name: random.standard_normal(shape).astype(dtype) for name, shape in AVERAGED.items()}
