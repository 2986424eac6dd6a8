"""Recurrent networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ppls.programs.attributes import Attributes, UnsupportedError
from ppls.programs.registry import Run, operator

# How each is run.
_MODES: dict[str, Callable[..., Any]] = {
    "LSTM": torch.lstm,
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
}


@operator(
    pir="rnn",
    pdmodel="rnn",
    takes="Input PreState* WeightList* SequenceLength DropoutStateIn",
    gives="Out DropoutState State* Reserve",
)
def rnn(attributes: Attributes) -> Run:
    """Of all layers the matrices stand first, then the biases; what comes behind a sequence's length is zero.

    Paddle's gates are torch's, in the same order.
    """
    mode = attributes.choice("mode", "RNN_TANH", *_MODES)
    layers, both = attributes.integer("num_layers", 1), attributes.truth("is_bidirec", False)
    if not attributes.truth("is_test", False) and attributes.number("dropout_prob", 0.0):
        raise UnsupportedError("is_test False: exported as in training")
    count = 2 * layers * (1 + both)

    def run(
        x: Tensor, before: Sequence[Tensor], weights: Sequence[Tensor], lengths: Tensor | None = None, _: object = None
    ) -> tuple[Tensor, None, list[Tensor], None]:
        """`x` (T, N, C), states (layers * directions, N, hidden) to (T, N, directions * hidden), the last states."""
        if len(weights) != 2 * count:
            raise ValueError(f"{mode} of {len(weights)} weights, {2 * count} are expected")
        flat = [each for at in range(0, count, 2) for each in (*weights[at : at + 2], *weights[count + at :][:2])]
        state = tuple(before) if mode == "LSTM" else before[0]
        if lengths is None:
            out, *after = _MODES[mode](x, state, flat, True, layers, 0.0, False, both, False)
            return out, None, after, None
        packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
        order, back = packed.sorted_indices, packed.unsorted_indices
        assert order is not None
        assert back is not None
        state = tuple(each[:, order] for each in before) if mode == "LSTM" else before[0][:, order]
        data, *after = _MODES[mode](packed.data, packed.batch_sizes, state, flat, True, layers, 0.0, False, both)
        out, _lengths = pad_packed_sequence(PackedSequence(data, packed.batch_sizes, order, back), total_length=len(x))
        return out, None, [each[:, back] for each in after], None

    return run
