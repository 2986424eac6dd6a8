"""What training a model further asks of it: its features, its parts, and which of them learn, and how fast."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from torch import Tensor, nn

from ppls.errors import Error
from ppls.models.building import tensors_of, without_values
from ppls.models.config import config_of, options_of, own_names
from ppls.models.initialization import drawn
from ppls.models.provenance import Described
from ppls.models.refitting import with_options
from ppls.shown import listed

if TYPE_CHECKING:
    from typing_extensions import Self

# What a layer says of its shape, and which axis of its tensors that is; a transposed convolution has the two exchanged.
_SIDES = (
    *(("out_channels", 0), ("out_features", 0), ("in_channels", 1), ("in_features", 1)),
    *(("num_features", 0), ("num_parameters", 0)),
)


class _NoneError(Error, AttributeError):
    """A model has nothing of the kind that a property of it gives."""


class FineTuned(Described):
    """The parts of a segmentation model: the encoder, `backbone`, and the head, which is all else.

    Attributes:
        encoder: the modules that the encoder is made of, where it is not one called `backbone`.
    """

    encoder: ClassVar[tuple[str, ...]] = ("backbone",)
    _frozen = False
    _known_classifiers: dict[str, int] = {}  # noqa: RUF012 - replaced, never changed

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """The encoder's feature maps, the finest first: of `feat_channels` channels, at 1 / `feat_strides` of the size.

        Args:
            image: (N, in_channels, H, W).
        """
        maps: list[Tensor] = self.get_submodule("backbone")(image)
        return maps

    @property
    def feat_channels(self) -> Sequence[int]:
        """Of each map of `forward_features`, its channels."""
        channels: list[int] = self._of_backbone("feat_channels")
        return channels

    @property
    def feat_strides(self) -> Sequence[int]:
        """Of each map of `forward_features`, how many pixels of the image, each way, one of it stands for."""
        strides: list[int] = self._of_backbone("feat_strides")
        return strides

    @property
    def num_classes(self) -> int:
        """How many classes the model tells apart. Raises `Error` for a class that has no such option."""
        known, axes = self._decided(), self._classifiers()
        first = min(known, key=lambda name: axes[name])  # of a transposed convolution it is the second axis
        return known[first].shape[axes[first]]

    def classifier_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters whose shapes the number of classes decides, those of the heads of training included."""
        return (tensor for tensor in self._decided().values() if isinstance(tensor, nn.Parameter))

    def reset_classifier(self, num_classes: int) -> None:
        """Draws every classifier anew, as PaddleSeg would, for so many classes; in place, and as timm calls it.

        Raises:
            ConversionError: the model has parts that its class does not build.
            UsageError: it has no classes, or cannot have so many.
        """
        built = without_values(type(self), with_options(type(self), config_of(self), {"num_classes": num_classes}))
        for name, old in self._decided().items():
            path, _, own = name.rpartition(".")
            layer, new = self.get_submodule(path), drawn(built, name, old.dtype).to(old.device)
            learns = isinstance(old, nn.Parameter)
            setattr(layer, own, nn.Parameter(new, requires_grad=old.requires_grad) if learns else new)
            for key, axis in _SIDES:
                axis = 1 - axis if isinstance(layer, nn.ConvTranspose2d) else axis
                if hasattr(layer, key) and new.dim() > axis and new.shape[axis] != old.shape[axis]:
                    setattr(layer, key, new.shape[axis])

    def _decided(self) -> dict[str, Tensor]:
        """The tensors of `_classifiers`, by name."""
        known = own_names({**dict(self.named_parameters()), **dict(self.named_buffers())})
        if lost := [name for name in self._classifiers() if name not in known]:
            raise _NoneError(
                f"this {type(self).__name__} has another classifier than its class builds: no {listed(lost)}"
            )
        return {name: known[name] for name in self._classifiers()}

    def _classifiers(self) -> dict[str, int]:
        """The tensors whose shape the number of classes decides, of the first output first, and its first such axis."""
        if self._known_classifiers:
            return self._known_classifiers
        options = options_of(self)
        if "num_classes" not in options:
            raise _NoneError(f"{type(self).__name__} has no option `num_classes`")
        # not one more: a fifth of 20 classes, which ESPNetV1 counts in, is that of 21
        more = tensors_of(type(self), {**options, "num_classes": 2 * options["num_classes"] + 5})
        shapes = tensors_of(type(self), options)
        self._known_classifiers = {
            name: next(axis for axis, sides in enumerate(zip(shape, more[name], strict=True)) if len(set(sides)) > 1)
            for name, shape in shapes.items()
            if more.get(name, shape) != shape
        }
        return self._known_classifiers

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the encoder."""
        for part in self._encoder():
            yield from part.parameters()

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that are not the encoder's: of the decoder and of every classifier."""
        inside = {id(parameter) for parameter in self.backbone_parameters()}
        return (parameter for parameter in self.parameters() if id(parameter) not in inside)

    def freeze_backbone(self, frozen: bool = True) -> Self:
        """Keeps the encoder as it is: no gradients, and eval mode, so that its BatchNorms' statistics stay.

        It stays in eval mode after `model.train()` too. `freeze_backbone(False)` takes it back.

        Returns:
            The model.
        """
        self._frozen = frozen
        for parameter in self.backbone_parameters():
            parameter.requires_grad_(not frozen)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self._frozen:
            for part in self._encoder():
                part.eval()
        return self

    def parameter_groups(
        self,
        lr: float,
        *,
        backbone_lr_mult: float = 1.0,
        head_lr_mult: float = 1.0,
        weight_decay: float | None = None,
        filter_bias_and_bn: bool = False,
    ) -> list[dict[str, Any]]:
        """What optimizers of torch take: the parameters that are not frozen, in groups that are named.

        Args:
            lr: the learning rate.
            backbone_lr_mult: times this, for the encoder.
            head_lr_mult: times this, for all else.
            weight_decay: None for the optimizer's own.
            filter_bias_and_bn: no weight decay on biases and normalisations, as timm has it; PaddleSeg decays all.
        """
        groups = []
        for name, parameters, rate in (
            ("backbone", self.backbone_parameters(), lr * backbone_lr_mult),
            ("head", self.head_parameters(), lr * head_lr_mult),
        ):
            learning = [parameter for parameter in parameters if parameter.requires_grad]
            small = [parameter for parameter in learning if filter_bias_and_bn and parameter.dim() < 2]
            large = [parameter for parameter in learning if not (filter_bias_and_bn and parameter.dim() < 2)]
            decay = {} if weight_decay is None else {"weight_decay": weight_decay}
            groups += [
                {"name": name, "params": large, "lr": rate, **decay},
                {"name": f"{name}, no weight decay", "params": small, "lr": rate, "weight_decay": 0.0},
            ]
        return [group for group in groups if group["params"]]

    def _of_backbone(self, attribute: str) -> Any:
        backbone = self._modules.get("backbone")
        if not hasattr(backbone, attribute):
            raise _NoneError(f"the backbone, a {type(backbone).__name__}, does not say its `{attribute}`")
        return getattr(backbone, attribute)

    def _encoder(self) -> Iterable[nn.Module]:
        return [self.get_submodule(name) for name in self.encoder]

    def __prepare_scriptable__(self) -> NoReturn:
        """What `torch.jit.script` asks first. Raises `Error`."""
        raise Error(
            f"torch.jit.script does not compile {type(self).__name__}, which decides in Python what it resizes to and "
            "which heads run; ppls.export(model, 'model.pt') gives TorchScript, torch.compile(model) trains"
        )
