"""Each cause is named where it is at fault, and no near neighbour of it is blamed on it."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ppls.models.resize import resize_from_corner
from ppls.parity.causes import search
from ppls.parity.causes.search import cause_before_layer, cause_in_layer, cause_in_output
from ppls.parity.compare import compare
from ppls.parity.pairing import SameName
from ppls.parity.reference_run import RecordedCall, Stored

IMAGE = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 4, 12, 12)).astype(np.float32))


def stored(path, tensor):
    np.save(path, tensor.detach().numpy())
    return Stored(path, 1e-7)


def recorded(folder, value, result, call=0, numerics=None):
    value, result = stored(folder / "in.npy", value), stored(folder / "out.npy", result)
    return RecordedCall(0, "layer", call, "layer", False, numerics or {}, value, result)


def in_layer(right, wrong, folder, numerics=None, x=IMAGE):
    right.eval(), wrong.eval()
    expected = right(x)
    found = compare(expected.detach().numpy(), wrong(x).detach().numpy(), tolerance=1e-4, floor=1e-7)
    assert found.verdict == "fail"
    return cause_in_layer(wrong, SameName("layer", "layer"), recorded(folder, x, expected, 0, numerics), found)


def conv(**options):
    torch.manual_seed(0)
    return nn.Conv2d(4, 4, options.pop("kernel", 3), **{"padding": 1, **options})


def changed(layer, change):
    other = copy.deepcopy(layer)
    change(other)
    return other


def set_weight(change):
    def put(layer):
        layer.weight = nn.Parameter(change(layer.weight.detach()).contiguous())

    return put


def norm(**options):
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(4, **options)
    for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
        nn.init.uniform_(tensor, 0.5, 2.0)
    return layer


class OfTheBatch(nn.BatchNorm2d):
    def forward(self, x):
        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.1, self.eps)


class Maxima(nn.Module):
    """Pools and has no pooling's interface: nothing about it is known."""

    def forward(self, x):
        return F.max_pool2d(x, 3, 1, 1)


class DropsAlways(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, training=True)


def become(kind):
    return lambda layer: setattr(layer, "__class__", kind)


def exchange(bn):
    bn.running_mean, bn.running_var = bn.running_var.clone(), bn.running_mean.clone()


def exchange_affine(bn):
    bn.weight, bn.bias = nn.Parameter(bn.bias.detach().clone()), nn.Parameter(bn.weight.detach().clone())


def reorder(layer, order):
    layer.weight.data, layer.bias.data = layer.weight.data[order], layer.bias.data[order]


IN_LAYER = {
    "epsilon": (norm(), norm(eps=1e-2), "its epsilon is 0.01, the reference's 1e-05"),
    "statistics exchanged": (norm(), changed(norm(), exchange), "its running mean and variance are exchanged"),
    "batch statistics": (norm(), changed(norm(), become(OfTheBatch)), "it normalises with the statistics of the batch"),
    "variance scaled": (norm(), changed(norm(), lambda bn: bn.running_var.mul_(1.1)), None),
    "mean zeroed": (norm(), changed(norm(), lambda bn: bn.running_mean.zero_()), None),
    "deviation": (norm(), changed(norm(), lambda bn: bn.running_var.sqrt_()), "its running variance holds the"),
    "affine exchanged": (norm(), changed(norm(), exchange_affine), "its weight and bias are exchanged"),
    "affine of one channel": (norm(), changed(norm(), lambda bn: bn.weight.data[0].fill_(3.0)), None),
    "padding counted": (nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.AvgPool2d(3, 1, 1), "it counts its padding"),
    "maxima": (nn.AvgPool2d(3, 1, 1), nn.MaxPool2d(3, 1, 1), "it takes maxima, the reference means"),
    "maxima of what is no pooling": (nn.AvgPool2d(3, 1, 1), Maxima(), None),
    "ceil_mode": (nn.AvgPool2d(5, 2, ceil_mode=True), nn.AvgPool2d(5, 2), "its ceil_mode is False"),
    "bins": (nn.AdaptiveAvgPool2d(3), nn.AdaptiveAvgPool2d(2), "it pools to 2, the reference to 3"),
    "transposed": (conv(), changed(conv(), set_weight(lambda w: w.transpose(0, 1))), "its weight is transposed"),
    "kernels transposed": (conv(), changed(conv(), set_weight(lambda w: w.transpose(2, 3))), "its kernels are trans"),
    "turned": (conv(), changed(conv(), set_weight(lambda w: w.flip(2, 3))), "its kernels are turned by half a turn"),
    "mirrored": (conv(), changed(conv(), set_weight(lambda w: w.flip(3))), "its kernels are mirrored, left and right"),
    "upside down": (conv(), changed(conv(), set_weight(lambda w: w.flip(2))), "its kernels are mirrored, top"),
    "rolled": (conv(), changed(conv(), set_weight(lambda w: w.roll(1, 3))), None),
    "sign": (conv(), changed(conv(), set_weight(torch.neg)), "its weight has the other sign"),
    "groups": (conv(groups=2), changed(conv(groups=2), set_weight(lambda w: w[[0, 2, 1, 3]])), "the outputs of its 2"),
    "dilation": (conv(), conv(dilation=2, padding=2), "its dilation is 2, the reference's 1"),
    "dilation unknown": (conv(dilation=5, padding=5), conv(), None),
    "stride": (conv(stride=2), conv(), "its stride is 1, the reference's 2"),
    "padding": (conv(), conv(padding=0), "its padding is 0, the reference's 1"),
    "padding mode": (conv(), conv(padding_mode="reflect"), "it pads with mode reflect, the reference with zeros"),
    "padding mode of the reference": (conv(padding_mode="replicate"), conv(), "it pads with mode zeros, the ref"),
    "factor": (conv(bias=False), changed(conv(bias=False), set_weight(lambda w: w * 1.1)), "a constant factor"),
    "factor and bias": (conv(), changed(conv(), set_weight(lambda w: w * 1.1)), None),
    "bias": (conv(), changed(conv(), lambda layer: setattr(layer, "bias", None)), "its bias is missing"),
    "bias of one": (conv(), changed(conv(), lambda layer: layer.bias.data.mul_(2)), None),
    "order of channels": (conv(), changed(conv(), lambda layer: reorder(layer, [1, 0, 2, 3])), "its channels stand in"),
    "one kernel zeroed": (conv(), changed(conv(), lambda layer: layer.weight.data[0].zero_()), None),
    "activation inside": (nn.Sequential(conv(), nn.GELU()), nn.Sequential(conv(), nn.GELU("tanh")), "it applies GELU"),
    "dropout": (conv(), nn.Sequential(conv(), DropsAlways()), "it drops values at random"),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_LAYER)
def test_what_is_wrong_with_a_layer_is_named_and_nothing_else_is(name, tmp_path):
    right, wrong, sentence = IN_LAYER[name]
    cause = in_layer(right, wrong, tmp_path)
    assert cause is None if sentence is None else (cause or "").startswith(sentence), cause


class Net(nn.Module):
    """Two layers and what stands between them."""

    def __init__(self, between, before=lambda x: x, after=lambda x: x):
        super().__init__()
        self.first, self.second = conv(), conv()
        self.between, self.before, self.after = between, before, after

    def forward(self, x):
        return self.after(self.second(self.between(self.first(self.before(x)))))


def resized(**options):
    return lambda x: F.interpolate(x, size=(29, 31), **{"mode": "bilinear", **options})


def joined(*parts):
    return lambda x: torch.cat([x[:, part] for part in parts], 1)


FIRST, LAST = slice(0, 1), slice(1, 4)
BETWEEN = {
    "GELU by tanh": (F.gelu, lambda x: F.gelu(x, approximate="tanh"), "it applies GELU by tanh, the reference GELU"),
    "GELU by a third formula": (F.gelu, lambda x: x * torch.sigmoid(1.702 * x), None),
    "ReLU6": (lambda x: F.relu(4 * x), lambda x: F.relu6(4 * x), "it applies ReLU6, the reference ReLU"),
    "a clamp at 5": (lambda x: F.relu(4 * x), lambda x: (4 * x).clamp(0, 5), None),
    "LeakyReLU": (F.relu, F.leaky_relu, "it applies LeakyReLU of slope 0.01, the reference ReLU"),
    "slope": (lambda x: F.leaky_relu(x, 0.2), F.leaky_relu, "it applies LeakyReLU of slope 0.01, the ref"),
    "an unknown slope": (lambda x: F.leaky_relu(x, 0.05), lambda x: F.leaky_relu(x, 0.1), None),
    "hard sigmoid": (torch.sigmoid, F.hardsigmoid, "it applies hard sigmoid, the reference sigmoid"),
    "slope of a hard sigmoid": (
        lambda x: (0.2 * x + 0.5).clamp(0, 1), F.hardsigmoid,
        "it applies hard sigmoid, the reference hard sigmoid of"),
    "activation missing": (F.relu, lambda x: x, "an activation is missing: the reference applies ReLU"),
    "activation too many": (lambda x: x, F.relu, "it applies ReLU, the reference no activation"),
    "align_corners": (resized(), resized(align_corners=True), "its resize has align_corners=True, the ref"),
    "no align_corners": (resized(align_corners=True), resized(), "its resize has align_corners=False, the ref"),
    "nearest": (resized(), resized(mode="nearest"), "its resize is nearest, the reference's is bilinear"),
    "bilinear": (resized(mode="nearest"), resized(), "its resize is bilinear, the reference's is nearest"),
    "bicubic": (resized(), resized(mode="bicubic"), "its resize is bicubic, the reference's is bilinear"),
    "align_mode": (lambda x: resize_from_corner(x, (29, 31)), resized(), "its resize aligns the centres of pixels"),
    "nearest-exact": (resized(mode="nearest-exact"), resized(mode="nearest"), None),
    "tanh GELU beside a right resize": (
        lambda x: resized()(F.gelu(x)), lambda x: resized()(F.gelu(x, approximate="tanh")), "it applies GELU by tanh"),
    "softmax": (lambda x: x.softmax(1), lambda x: x.softmax(2), "its softmax is over another dimension"),
    "softmax of something scaled": (lambda x: x.softmax(1), lambda x: (x / 2).softmax(1), None),
    "softmax too many": (lambda x: x, lambda x: x.softmax(1), "it applies a softmax, the reference none"),
    "concatenation": (joined(FIRST, LAST), joined(LAST, FIRST), "what it concatenates stands in reverse order"),
    "channels": (lambda x: x, lambda x: x[:, [2, 0, 1, 3]], "its channels stand in another order"),
    "factor": (lambda x: x, lambda x: x / 8, "a constant factor: the reference's is 8 times as large"),
    "offset": (lambda x: x, lambda x: 2 * x + 1, None),
    "mirrored": (lambda x: x, lambda x: x.flip(-1), "it is mirrored, left and right"),
    "images": (lambda x: x, lambda x: x.flip(0), "its images stand in reverse order"),
    "shifted": (lambda x: x, lambda x: x.roll(1, -2), "it is shifted by a pixel down"),
    "dropout": (lambda x: x, lambda x: F.dropout(x, 0.1, True), "it drops values at random"),
    "noise": (lambda x: x, lambda x: x + 0.01 * torch.randn_like(x), None),
    "raises when it is changed": (F.gelu, lambda x: only_tanh(x), None),
}  # fmt: skip


def only_tanh(x):
    result, cubed = F.gelu(x, approximate="tanh"), x + 0.044715 * x**3
    if (result - 0.5 * x * (1 + (cubed * (2 / torch.pi) ** 0.5).tanh())).abs().max() > 1e-5:
        raise SystemExit(3)
    return result


def between(right, wrong, folder, call=0, x=IMAGE):
    values = []
    handle = right.second.register_forward_pre_hook(lambda layer, inputs: values.append(inputs[0]))
    with torch.no_grad():
        right(x)
    handle.remove()
    found = compare(values[call].numpy(), values[call].numpy() + 1, tolerance=1e-4, floor=1e-7)
    seen = recorded(folder, values[call], values[call], call)
    pair = SameName("second", "conv")
    names = ["first", "second"]
    return cause_before_layer(wrong, names, ("second", call), x.numpy(), pair, seen, found, nullcontext)


@pytest.mark.parametrize("name", BETWEEN)
def test_what_is_wrong_between_layers_is_named_and_nothing_else_is(name, tmp_path):
    right, wrong, sentence = BETWEEN[name]
    cause = between(Net(right).eval(), Net(wrong).eval(), tmp_path)
    assert cause is None if sentence is None else (cause or "").startswith(sentence), cause


@pytest.mark.parametrize(
    ("before", "sentence"),
    [
        (lambda x: x.flip(1), "its channels are in reverse order: BGR for RGB"),
        (lambda x: (x - 0.5) / 0.5, "it is normalised otherwise: the reference's is 0.5 x + 0.5"),
        (lambda x: x[:, [1, 0, 2]], "its channels stand in another order"),
        (lambda x: (x * 127.5).round() / 127.5, None),
    ],
)
def test_what_a_model_does_with_its_image_first_is_named(before, sentence, tmp_path):
    def net(before):
        found = Net(F.relu, before=before).eval()
        torch.manual_seed(0)
        found.first = nn.Conv2d(3, 4, 3, padding=1)
        return found

    x, wrong = IMAGE[:, :3].contiguous(), net(before)
    found = compare(x.numpy(), x.numpy() + 1, tolerance=1e-4, floor=1e-7)
    seen = recorded(tmp_path, x, x)
    place = "first", 0
    names = ["first", "second"]
    cause = cause_before_layer(wrong, names, place, x.numpy(), SameName("first", "conv"), seen, found, nullcontext)
    assert cause is None if sentence is None else (cause or "").startswith(sentence), cause


class Twice(Net):
    """Runs its second layer twice; only the later time is something wrong before it."""

    def forward(self, x):
        return self.second(self.between(self.second(self.first(x))))


def test_the_call_that_diverged_is_the_one_that_is_explained(tmp_path):
    right, wrong = Twice(resized()).eval(), Twice(resized(align_corners=True)).eval()
    assert (between(right, wrong, tmp_path, call=1) or "").startswith("its resize has align_corners=True")
    assert between(right, wrong, tmp_path, call=0) is None


def test_an_output_that_differs_though_all_layers_agree_is_explained_too():
    right, wrong = Net(F.relu, after=resized()).eval(), Net(F.relu, after=resized(mode="nearest")).eval()
    with torch.no_grad():
        expected, other = right(IMAGE).numpy(), wrong(IMAGE).numpy()
    found = compare(expected, other, tolerance=1e-4, floor=1e-7)
    cause = cause_in_output(wrong, ["first", "second"], 0, IMAGE.numpy(), expected, found, nullcontext)
    assert (cause or "").startswith("its resize is nearest, the reference's is bilinear")


def test_a_fault_before_all_layers_that_are_known_is_explained_everywhere():
    """A port without a map: its outputs alone are compared."""
    right, wrong = Net(F.gelu).eval(), Net(lambda x: F.gelu(x, approximate="tanh")).eval()
    with torch.no_grad():
        expected, other = right(IMAGE).numpy(), wrong(IMAGE).numpy()
    found = compare(expected, other, tolerance=1e-5, floor=1e-7)
    assert found.verdict == "fail"
    cause = cause_in_output(wrong, [], 0, IMAGE.numpy(), expected, found, nullcontext)
    assert cause == "it applies GELU by tanh, the reference GELU"


def test_a_layer_that_raises_when_it_is_run_alone_has_no_cause(tmp_path):
    class Needs(nn.Conv2d):
        def forward(self, x, y):
            return super().forward(x) + y

    found = compare(np.ones(3), np.zeros(3), tolerance=1e-4)
    call = recorded(tmp_path, IMAGE, IMAGE)
    assert cause_in_layer(Needs(4, 4, 3), SameName("layer", "layer"), call, found) is None


def test_a_layer_that_cannot_be_copied_is_no_error(tmp_path):
    class Uncopied(nn.Conv2d):
        def __deepcopy__(self, memo):
            raise RuntimeError("this cannot be copied")

    wrong = changed(conv(bias=False), set_weight(lambda w: w * 1.1))
    wrong.__class__ = Uncopied
    assert (in_layer(conv(bias=False), wrong, tmp_path) or "").startswith("a constant factor")


def test_a_layer_is_left_as_it_was_and_so_is_what_watches_it(tmp_path):
    right, wrong = Net(resized()).eval(), Net(resized(align_corners=True)).eval()
    before = {name: tensor.clone() for name, tensor in wrong.state_dict().items()}
    between(right, wrong, tmp_path)
    assert all(torch.equal(before[name], tensor) for name, tensor in wrong.state_dict().items())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in wrong.modules())


def test_no_experiment_is_begun_when_the_time_is_up(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "SECONDS", 0.0)
    assert between(Net(resized()).eval(), Net(resized(align_corners=True)).eval(), tmp_path) is None


def test_a_wrong_epsilon_is_told_by_the_references_own(tmp_path):
    unusual = {"epsilon": 0.02}
    right, wrong = norm(eps=0.02), norm(eps=0.01)
    assert in_layer(right, wrong, tmp_path) is None  # none of the usual ones
    assert in_layer(right, wrong, tmp_path, unusual) == "its epsilon is 0.01, the reference's 0.02"
