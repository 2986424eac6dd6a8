"""Wrong operators: what a porter gets wrong when writing the model."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ppls.models.pp_liteseg as pp_liteseg
from ppls.models.layers import ConvBNAct
from ppls.models.norms import BatchNorm2d

from .fault import Fault
from .tensors import each_batch_norm


def _each(kind: type[nn.Module], change: Callable[[nn.Module], None]) -> Callable[[nn.Module], nn.Module]:
    def put(model: nn.Module) -> nn.Module:
        for module in model.modules():
            if isinstance(module, kind):
                change(module)
        return model

    return put


def _replaced(name: str, forward: Callable[..., object]) -> Callable[[nn.Module], nn.Module]:
    """Gives one module (`""`: the model) another forward."""

    def put(model: nn.Module) -> nn.Module:
        module = model.get_submodule(name)
        module.forward = types.MethodType(forward, module)
        return model

    return put


class WithResize(nn.Module):
    """Runs a model with another resize in place of `ppls.models.layers.resize`."""

    def __init__(self, model: nn.Module, resize: Callable[..., Tensor], final: bool) -> None:
        super().__init__()
        self.model, self.resize, self.final = model, resize, final
        self.eval()

    def named_modules(self, *args: object, **kwargs: object) -> Iterator[tuple[str, nn.Module]]:
        yield "", self  # so that the model's layers keep their names
        yield from list(self.model.named_modules())[1:]

    def state_dict(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        return self.model.state_dict()

    def forward(self, x: Tensor) -> list[Tensor]:
        right = pp_liteseg.resize

        def resize(map: Tensor, size: torch.Size, mode: str = "bilinear") -> Tensor:
            is_final = tuple(size) == tuple(x.shape[-2:])
            return (self.resize if is_final == self.final else right)(map, size, mode)

        pp_liteseg.resize = resize
        try:
            return self.model(x)
        finally:
            pp_liteseg.resize = right


def _resize(change: Callable[..., Tensor], final: bool = False) -> Callable[[nn.Module], nn.Module]:
    return lambda model: WithResize(model, change, final)


def _nearest(x: Tensor, size: torch.Size, mode: str) -> Tensor:
    return F.interpolate(x, size=size, mode="nearest")


def _align_corners(x: Tensor, size: torch.Size, mode: str) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def _bicubic(x: Tensor, size: torch.Size, mode: str) -> Tensor:
    return F.interpolate(x, size=size, mode="bicubic", align_corners=False)


def _antialiased(x: Tensor, size: torch.Size, mode: str) -> Tensor:
    # differs from bilinear in downsampling alone: blur as if it were
    return F.avg_pool2d(F.interpolate(x, size=size, mode="bilinear"), 3, 1, 1, count_include_pad=False)


def _shifted(x: Tensor, size: torch.Size, mode: str) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear").roll(1, dims=-1)


def _asymmetric(x: Tensor, size: torch.Size, mode: str) -> Tensor:
    """Paddle's align_mode=1: src = i * in / out."""
    rows = torch.arange(size[0]) * x.shape[-2] / size[0]
    columns = torch.arange(size[1]) * x.shape[-1] / size[1]
    grid_y, grid_x = torch.meshgrid(
        (2 * rows + 1) / x.shape[-2] - 1, (2 * columns + 1) / x.shape[-1] - 1, indexing="ij"
    )
    grid = torch.stack([grid_x, grid_y], -1).float()[None].expand(len(x), -1, -1, -1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


FIRST_POOL = "backbone.features.2.skip"


def _count_padding(module: nn.AvgPool2d) -> None:
    module.count_include_pad = True


def _max_for_average(model: nn.Module) -> nn.Module:
    model.backbone.blocks[2].pool = nn.MaxPool2d(3, stride=2, padding=1).eval()
    return model


def _reordered_block(self: nn.Module, x: Tensor) -> Tensor:
    x = self.convs[0](x)
    outputs = [self.pool(x)]
    x = self.downsample(x)
    for conv in self.convs[1:]:
        x = conv(x)
        outputs.append(x)
    return torch.cat([outputs[0], outputs[1], outputs[3], outputs[2]], dim=1)


def _unpooled_chain(self: nn.Module, x: Tensor) -> Tensor:
    x = self.convs[0](x)
    outputs = [self.pool(x)]
    x = self.pool(x)  # the depthwise convolution left out
    for conv in self.convs[1:]:
        x = conv(x)
        outputs.append(x)
    return torch.cat(outputs, dim=1)


def _attention_order(self: nn.Module, low: Tensor, high: Tensor) -> Tensor:
    described = [x.mean(1, keepdim=True) for x in (low, high)] + [x.amax(1, keepdim=True) for x in (low, high)]
    return torch.sigmoid(self.excite(self.squeeze(torch.cat(described, dim=1))))


def _attention_without_sigmoid(self: nn.Module, low: Tensor, high: Tensor) -> Tensor:
    described = [
        f(x) for x in (low, high) for f in (lambda x: x.mean(1, keepdim=True), lambda x: x.amax(1, keepdim=True))
    ]
    return F.hardsigmoid(self.excite(self.squeeze(torch.cat(described, dim=1))))


def _fused_the_other_way(self: nn.Module, low: Tensor, high: Tensor) -> Tensor:
    low = self.conv_low(low)
    high = pp_liteseg.resize(high, low.shape[-2:], self.resize_mode)
    weight = self.attention(low, high)
    return self.conv_out(high * weight + low * (1 - weight))


def _fused_by_sum(self: nn.Module, low: Tensor, high: Tensor) -> Tensor:
    low = self.conv_low(low)
    high = pp_liteseg.resize(high, low.shape[-2:], self.resize_mode)
    self.attention(low, high)
    return self.conv_out((low + high) / 2)


def _context_mean(self: nn.Module, x: Tensor) -> Tensor:
    pooled = [pp_liteseg.resize(branch(x), x.shape[-2:], self.resize_mode) for branch in self.branches]
    return self.conv_out(sum(pooled) / len(pooled))


def _bins_reversed(model: nn.Module) -> nn.Module:
    pools = [branch.pool for branch in model.context.branches]
    for branch, pool in zip(model.context.branches, reversed(pools), strict=True):
        branch.pool = pool
    return model


def _one_bin_changed(model: nn.Module) -> nn.Module:
    model.context.branches[2].pool = nn.AdaptiveAvgPool2d(3).eval()
    return model


def _max_pooled_bin(model: nn.Module) -> nn.Module:
    model.context.branches[1].pool = nn.AdaptiveMaxPool2d(2).eval()
    return model


def _activation(name: str, activation: Callable[[Tensor], Tensor] | None) -> Callable[[nn.Module], nn.Module]:
    def put(model: nn.Module) -> nn.Module:
        model.get_submodule(name).activation = activation
        return model

    return put


def _relu6(module: ConvBNAct) -> None:
    module.activation = module.activation and F.relu6


def _padding(model: nn.Module, mode: str = "reflect") -> nn.Module:
    conv = model.decoder[0].conv_low.conv
    conv.padding_mode, conv._reversed_padding_repeated_twice = mode, [1, 1, 1, 1]
    return model


def _same_padding(model: nn.Module) -> nn.Module:
    """TensorFlow's 'same' at stride 2: the extra row at the bottom and the right."""
    conv = model.backbone.blocks[0].conv

    def forward(self: nn.Conv2d, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, None, 2)

    conv.forward = types.MethodType(forward, conv)
    return model


def _dilated(model: nn.Module) -> nn.Module:
    conv = model.backbone.blocks[7].convs[2].conv
    conv.dilation, conv.padding = (2, 2), (2, 2)
    return model


def _running_statistics_unused(model: nn.Module) -> nn.Module:
    bn = model.decoder[0].conv_out.bn

    def forward(self: BatchNorm2d, x: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)

    bn.forward = types.MethodType(forward, bn)
    return model


def _epsilon(value: float) -> Callable[[nn.Module], nn.Module]:
    return each_batch_norm(lambda bn: setattr(bn, "eps", value))


def _epsilon_of_one(model: nn.Module) -> nn.Module:
    model.heads[0].conv.bn.eps = 1e-6
    return model


OPERATOR_FAULTS = [
    Fault("BatchNorm epsilon 1e-6 for 1e-5", _epsilon(1e-6), "backbone.features.*"),
    Fault("BatchNorm epsilon 1e-3 for 1e-5", _epsilon(1e-3), "backbone.features.0.bn"),
    Fault("one BatchNorm's epsilon 1e-6 for 1e-5", _epsilon_of_one, failure="has epsilon 1e-06, not 1e-05"),
    Fault("a BatchNorm that uses its batch", _running_statistics_unused, "ppseg_head.arm_list.0.conv_out._batch_norm"),
    Fault("AvgPool counts its padding", _each(nn.AvgPool2d, _count_padding), FIRST_POOL),
    Fault("max pooling for average pooling", _max_for_average, FIRST_POOL),
    Fault("nearest for bilinear, inside", _resize(_nearest), "ppseg_head.cm.conv_out._conv", "input"),
    Fault("align_corners, inside", _resize(_align_corners), "ppseg_head.cm.conv_out._conv", "input"),
    Fault("align_mode 1, inside", _resize(_asymmetric), "ppseg_head.cm.conv_out._conv", "input"),
    Fault("bicubic for bilinear, inside", _resize(_bicubic), "ppseg_head.cm.conv_out._conv", "input"),
    Fault("blurred bilinear, inside", _resize(_antialiased), "ppseg_head.cm.conv_out._conv", "input"),
    Fault("a resize that shifts by a pixel, inside", _resize(_shifted), "ppseg_head.cm.conv_out._conv", "input"),
    Fault("nearest for bilinear, logits", _resize(_nearest, final=True)),
    Fault("align_corners, logits", _resize(_align_corners, final=True)),
    Fault("a resize that shifts by a pixel, logits", _resize(_shifted, final=True)),
    Fault("concatenated in another order", _replaced("backbone.blocks.5", _reordered_block),
          "backbone.features.6.conv_list.0.conv", "input"),
    Fault("pooled where a convolution strides", _replaced("backbone.blocks.4", _unpooled_chain),
          "backbone.features.4.conv_list.1.conv", "input"),
    Fault("attention sees means before maxima", _replaced("decoder.1.attention", _attention_order),
          "ppseg_head.arm_list.1.conv_xy_atten.0._conv", "input"),
    Fault("hard sigmoid for sigmoid", _replaced("decoder.0.attention", _attention_without_sigmoid),
          "ppseg_head.arm_list.0.conv_out._conv", "input"),
    Fault("attention weighs the other map", _replaced("decoder.2", _fused_the_other_way),
          "ppseg_head.arm_list.2.conv_out._conv", "input"),
    Fault("attention left out", _replaced("decoder.2", _fused_by_sum), "ppseg_head.arm_list.2.conv_out._conv", "input"),
    Fault("bins averaged, not summed", _replaced("context", _context_mean), "ppseg_head.cm.conv_out._conv", "input"),
    Fault("bins in reverse order", _bins_reversed, "ppseg_head.cm.stages.0.0"),
    Fault("a bin of 3 for one of 4", _one_bin_changed, "ppseg_head.cm.stages.2.0"),
    Fault("max pooled bin", _max_pooled_bin, "ppseg_head.cm.stages.1.0"),
    Fault("an activation left out", _activation("backbone.blocks.3.convs.0", None),
          "backbone.features.3.conv_list.1.conv", "input"),
    Fault("ReLU6 for ReLU", _each(ConvBNAct, _relu6)),  # on noise alone
    Fault("ReLU6 for ReLU in one layer", _activation("decoder.2.conv_out", F.relu6)),  # on strong noise alone
    Fault("LeakyReLU for ReLU", _activation("decoder.0.conv_out", F.leaky_relu), "seg_heads.0.conv._conv", "input"),
    Fault("an activation too many", _activation("backbone.blocks.4.downsample", F.relu),
          "backbone.features.4.conv_list.1.conv", "input"),
    Fault("reflecting for zero padding", _padding, "ppseg_head.arm_list.0.conv_x._conv"),
    Fault("'same' padding at stride 2", _same_padding, "backbone.features.0.conv"),
    Fault("a dilated convolution", _dilated, "backbone.features.7.conv_list.2.conv"),
]  # fmt: skip
