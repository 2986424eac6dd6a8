"""Models that are wrapped, compiled, traced, scripted, or made a program of."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.layers import ConvBNAct

from .form import Form, exchanged_branches, wrong_auxiliary_head, wrong_corners

LIKE = torch.zeros(1, 3, 64, 64)


class Around(nn.Module):
    """Something before and something after, which change nothing; what is returned has another form."""

    def __init__(self, model: nn.Module, form: Any = tuple) -> None:
        super().__init__()
        self.network = model
        self.form = form

    def forward(self, image: Tensor) -> Any:
        return self.form(self.network(image * 1.0))


def as_dict(outputs: list[Tensor]) -> Any:
    if len(outputs) == 1:
        return outputs[0]
    return {"out": outputs[0], "aux": outputs[1:]}


def in_place(model: nn.Module) -> nn.Module:
    for part in model.children():
        part.compile(backend="eager")
    return model


def traced(model: nn.Module, *, frozen: bool = False) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.jit.trace(model, LIKE, check_trace=False)
        return torch.jit.freeze(made) if frozen else made


class Choosing(nn.Module):
    """What is scripted around what is traced: flow of its own, and the model's tensors under their names."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = traced(model)

    def forward(self, image: Tensor) -> list[Tensor]:
        if image.dim() == 3:
            image = image.unsqueeze(0)
        found: list[Tensor] = self.model(image)
        return [found[0]]


def scripted(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: nn.Module = torch.jit.script(Choosing(model))  # type: ignore[no-untyped-call]
        return made


def shared(model: Any) -> nn.Module:
    """One ReLU for all, and one module that pools for all blocks that pool alike."""
    relu, pool = nn.ReLU(), None
    for part in model.modules():
        if isinstance(part, ConvBNAct) and part.activation is F.relu:
            part.activation = relu
        if isinstance(getattr(part, "pool", None), nn.AvgPool2d):
            pool = part.pool = pool or part.pool
    return model.eval()  # type: ignore[no-any-return]


def by_fx(model: nn.Module) -> nn.Module:
    """The encoder as a graph; what normalises asks for sizes, and stays a module in it."""

    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, module: nn.Module, name: str) -> bool:
            return isinstance(module, nn.BatchNorm2d) or super().is_leaf_module(module, name)

    blocks: Any = model.backbone.blocks
    for number, block in enumerate(blocks):
        blocks[number] = torch.fx.GraphModule(block, Tracer().trace(block))
    return model


class Scripted(nn.Module):
    """Parts that TorchScript understands stand in a module of Python's."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for head in model.heads:
                head.classifier = torch.jit.script(nn.Sequential(head.classifier))
        self.model = model

    def forward(self, image: Tensor) -> Any:
        return self.model(image)


def called_otherwise(model: nn.Module) -> nn.Module:
    """`__call__` is wrapped, as libraries that measure do it."""

    class Measured(type(model)):  # type: ignore[misc]
        def __call__(self, *inputs: Any, **options: Any) -> Any:
            return super().__call__(*inputs, **options)

    model.__class__ = Measured
    return model


class Hidden(nn.Module):
    """Half of the model stands in a plain list, where torch does not look."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.heads, self.decoder = model.heads, model.decoder
        self.rest = [model]

    def forward(self, image: Tensor) -> Any:
        return self.rest[0](image)


def hooked(model: nn.Module) -> nn.Module:
    seen: list[int] = []
    for part in model.modules():
        part.register_forward_hook(lambda part, inputs, output: seen.append(1))
        part.register_forward_pre_hook(lambda part, inputs: None)
    return model


FORMS = [
    Form("in a Sequential", nn.Sequential),
    Form("in a DataParallel", nn.DataParallel, exchanged_branches),
    Form("in a wrapper that returns a tuple", Around, wrong_auxiliary_head),
    Form("in a wrapper that returns a tensor, or a dictionary in training", lambda m: Around(m, as_dict)),
    Form("compiled", lambda m: torch.compile(m, backend="eager"), wrong_corners),
    Form("compiled in place", in_place, wrong_corners),
    Form("traced", traced, layers=0, heads=False),
    Form("traced and frozen", lambda m: traced(m, frozen=True), layers=0, heads=False),
    Form("scripted around what is traced", scripted, exchanged_branches, layers=0, heads=False),
    Form("with modules that are shared", shared, wrong_corners, layers=103),
    Form("with scripted parts", Scripted, wrong_auxiliary_head, layers=102),
    Form("traced by fx", by_fx, wrong_corners),
    Form("with a call of its own", called_otherwise),
    Form("half in a plain list", Hidden, exchanged_branches, layers=15, heads=False),
    Form("with hooks", hooked, wrong_corners),
    Form("between quantisation stubs", lambda m: nn.Sequential(torch.ao.quantization.QuantStub(), m).eval()),
]
