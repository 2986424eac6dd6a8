"""K-Net (Zhang et al. 2021, https://arxiv.org/abs/2106.14855), as in PaddleSeg's `models/knet.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.backbone import build_backbone, channels_of
from ppls.models.base import SegmentationModel
from ppls.models.heads import ConvHead
from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct
from ppls.models.resize import resize
from ppls.models.upernet import UPerDecoder

AUXILIARY = 1024  # channels of the map that the auxiliary head takes: PaddleSeg takes no others
UPDATER = 256  # channels within the update of a kernel
UPER, FCN = "UPerKernelHead", "FCNKernelHead"
_UPER = MappingProxyType({"head_layer": UPER, "channels": 256, "align_corners": False})
_UPDATE = MappingProxyType({"in_channels": 256, "out_channels": 256, "num_mask_fcs": 1, "conv_kernel_size": 1})


class KNet(SegmentationModel):
    """K-Net: a decoder whose classifier's weights are kernels, one for each class, that each image updates in stages.

    A kernel sees what its mask covers of the image, and then the same class's kernels of the other images of the batch:
    PaddleSeg's attention runs along the batch, so that what becomes of an image depends on those beside it.

    Args:
        num_classes: classes, the channels of the logits and the number of kernels, whatever the tables below say.
        backbone: the encoder: a name, a config dict or a module (see `ppls.models.backbone.build_backbone`).
        backbone_indices: which of the encoder's feature maps the decoder takes, the finest first.
        kernel_update_head_params: PaddleSeg's table of a stage: `in_channels`, `out_channels`, `num_heads`,
            `num_mask_fcs`, `feedforward_channels`, `dropout`, `with_ffn`, and `conv_kernel_size`, which is 1.
        kernel_generate_head_params: PaddleSeg's table of the decoder: `head_layer` says which, `UPerKernelHead` (with
            `channels`, `align_corners`) or `FCNKernelHead` (with `channels`, `num_convs`, `concat_input`,
            `dropout_prob`). The channels of the encoder's maps, which either is told, are those that it has.
        num_stages: how often the kernels are updated.
        channels: has no effect, in PaddleSeg either.
        enable_auxiliary_loss: build the auxiliary head, which only train mode needs.
        align_corners: how the logits are resized.
        dropout_prob: in the auxiliary head.
        resize_mode: how maps are resized within the decoder; PaddleSeg always does it bilinearly.
    """

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str | Mapping[str, Any] | nn.Module = "resnet50_vd",
        backbone_indices: Sequence[int] = (0, 1, 2, 3),
        kernel_update_head_params: Mapping[str, Any] = _UPDATE,
        kernel_generate_head_params: Mapping[str, Any] = _UPER,
        num_stages: int = 3,
        channels: int = 512,
        enable_auxiliary_loss: bool = False,
        align_corners: bool = False,
        dropout_prob: float = 0.1,
        resize_mode: str = "bilinear",
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.backbone_indices = list(backbone_indices)
        decode = dict(kernel_generate_head_params)
        self.decoder = _decoder(channels_of(self.backbone, backbone_indices), decode, resize_mode)
        self.classifier = nn.Conv2d(decode["channels"], num_classes, 1)  # its weights are the first kernels
        self.stages = nn.ModuleList(KernelUpdate(**_known(kernel_update_head_params)) for _ in range(num_stages))
        self.auxiliary_head: ConvHead | None = None
        if enable_auxiliary_loss:
            (third,) = channels_of(self.backbone, [2])
            if third != AUXILIARY:
                raise Error(f"the auxiliary head takes a map of {AUXILIARY} channels, and the backbone's has {third}")
            self.auxiliary_head = ConvHead(AUXILIARY, 256, num_classes, dropout_prob, bias=True)
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> list[Tensor]:
        """`image` (N, 3, H, W) to logits (N, num_classes, H, W): in eval mode those of the last stage alone.

        In train mode those of the decoder and of every stage, and then the auxiliary head's.
        """
        features = self.backbone(image)
        x = self.decoder([features[i] for i in self.backbone_indices])
        logits = [self.classifier(x)]
        kernels = self.classifier.weight[..., 0, 0].expand(x.shape[0], -1, -1)  # (N, num_classes, channels)
        for stage in self.stages:
            masks, kernels = stage(x, kernels, logits[-1])
            logits.append(masks)
        if not self.training:
            logits = logits[-1:]
        elif self.auxiliary_head is not None:
            logits.append(self.auxiliary_head(features[2]))
        return [resize(x, image.shape[-2:], align_corners=self.align_corners) for x in logits]


def _decoder(widths: list[int], options: dict[str, Any], resize_mode: str) -> nn.Module:
    """What PaddleSeg's table describes: maps of the encoder to one of `channels`."""
    name = options.get("head_layer")
    if name == UPER:
        aligned = options.get("align_corners", True)
        return UPerDecoder(widths, options["channels"], align_corners=aligned, resize_mode=resize_mode)
    if name == FCN:
        known = {key: options[key] for key in ("num_convs", "concat_input", "dropout_prob") if key in options}
        return FCNDecoder(widths[0], options["channels"], **known)
    raise Error(f"kernel_generate_head_params: head_layer is {name!r}; it is {UPER} or {FCN}")


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a stage, of PaddleSeg's table of them."""
    if options.get("conv_kernel_size", 3) != 1:
        raise Error("kernel_update_head_params: conv_kernel_size is 1, for so are the kernels that a stage is given")
    return {key: value for key, value in options.items() if key not in ("num_classes", "conv_kernel_size")}


class FCNDecoder(nn.Module):
    """Convolutions of the encoder's coarsest map, which is put beside their result and convolved with it once more."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_convs: int = 2,
        concat_input: bool = True,
        dropout_prob: float = 0.1,
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *(ConvBNAct(channels if i else in_channels, channels, 3, bias=True) for i in range(num_convs))
        )
        self.combine = ConvBNAct(in_channels + channels, channels, 3, bias=True) if concat_input else None
        self.dropout = nn.Dropout2d(dropout_prob)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """One map `(N, in_channels, H, W)` to `(N, channels, H, W)`."""
        (given,) = features
        x = self.convs(given)
        if self.combine is not None:
            x = self.combine(torch.cat([given, x], dim=1))
        return self.dropout(x)


class KernelUpdate(nn.Module):
    """A stage: what each mask covers updates its kernel, kernels see one another, and make new masks.

    Args:
        in_channels: of the map and of the kernels.
        out_channels: of the new masks' kernels, which is the same.
        num_heads: of the attention.
        num_mask_fcs: linear layers before the last, which gives the new masks' kernels.
        feedforward_channels: of the two linear layers behind the attention, which `with_ffn` has.
        dropout: in the attention and behind those two.
    """

    def __init__(
        self,
        in_channels: int = 256,
        out_channels: int = 256,
        num_heads: int = 8,
        num_mask_fcs: int = 3,
        feedforward_channels: int = 2048,
        dropout: float = 0.0,
        with_ffn: bool = True,
    ) -> None:
        super().__init__()
        self.transform = nn.Conv2d(in_channels, in_channels, 1)
        self.updater = KernelUpdater(UPDATER)
        self.attention = BatchAttention(in_channels, num_heads, dropout)
        self.attention_norm = nn.LayerNorm(in_channels)
        self.ffn = FeedForward(in_channels, feedforward_channels, dropout) if with_ffn else nn.Identity()
        self.ffn_norm = nn.LayerNorm(in_channels) if with_ffn else nn.Identity()
        self.mask_layers = nn.Sequential(*(MaskLayer(in_channels) for _ in range(num_mask_fcs)))
        self.to_mask = nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor, kernels: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """`x` (N, C, H, W), `kernels` (N, K, C) and `masks` (N, K, H, W) to new masks and kernels."""
        pixels = self.transform(x).flatten(2)  # (N, C, H * W)
        covered = masks.softmax(1).flatten(2) @ pixels.transpose(1, 2)  # (N, K, C)
        # each UPDATER channels are updated for themselves; both have one place, as have kernels of size 1
        updated = self.updater(covered.reshape(-1, UPDATER), kernels.reshape(-1, 1, UPDATER)).reshape(kernels.shape)
        kernels = self.attention_norm(self.attention(updated.transpose(0, 1))).transpose(0, 1).unsqueeze(2)
        kernels = self.ffn_norm(self.ffn(kernels))  # (N, K, 1, C)
        new = self.to_mask(self.mask_layers(kernels)).squeeze(2) @ pixels
        return new.reshape(masks.shape), kernels.squeeze(2)


class KernelUpdater(nn.Module):
    """The adaptive kernel update: a kernel and what its mask covers, each weighed by gates that both make."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.of_covered = nn.Linear(channels, 2 * channels)
        self.of_kernel = nn.Linear(channels, 2 * channels)
        self.kernel_gate, self.kernel_gate_norm = nn.Linear(channels, channels), nn.LayerNorm(channels)
        self.covered_gate, self.covered_gate_norm = nn.Linear(channels, channels), nn.LayerNorm(channels)
        self.covered_norm, self.kernel_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.project, self.norm = nn.Linear(channels, channels), nn.LayerNorm(channels)

    def forward(self, covered: Tensor, kernel: Tensor) -> Tensor:
        """`covered` (M, C) and `kernel` (M, 1, C) to the shape of `kernel`."""
        covered_in, covered_out = self.of_covered(covered).chunk(2, dim=-1)
        kernel_in, kernel_out = self.of_kernel(kernel).chunk(2, dim=-1)
        gates = kernel_in * covered_in.unsqueeze(1)
        kernel_gate = torch.sigmoid(self.kernel_gate_norm(self.kernel_gate(gates)))
        covered_gate = torch.sigmoid(self.covered_gate_norm(self.covered_gate(gates)))
        mixed = covered_gate * self.covered_norm(covered_out).unsqueeze(1) + kernel_gate * self.kernel_norm(kernel_out)
        return F.relu(self.norm(self.project(mixed)))


class BatchAttention(Layer):
    """Attention of several heads among the images of a batch, each class's kernel for itself."""

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels)
        self.heads, self.dropout = heads, dropout

    def forward(self, x: Tensor) -> Tensor:
        """`(K, N, C)`, the images second, to the same."""
        query, key, value = (self._heads(layer(x)) for layer in (self.query, self.key, self.value))
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.project(attended.transpose(1, 2).reshape(x.shape))

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class FeedForward(Layer):
    """Two linear layers in a residual."""

    def __init__(self, channels: int, hidden_channels: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, hidden_channels)
        self.shrink = nn.Linear(hidden_channels, channels)
        self.inner_dropout, self.dropout = nn.Dropout(dropout), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.shrink(self.inner_dropout(F.relu(self.expand(x)))))


class MaskLayer(Layer):
    """A linear layer without bias, normalised."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.linear(x)))
