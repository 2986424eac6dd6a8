"""The questions that a candidate is asked: each varies one thing that an output must not depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ppls.models.modes import modules_in_training
from ppls.parity.candidate import CandidateError, to_float64
from ppls.parity.global_state import described, global_state_kept
from ppls.parity.inputs import SMALL
from ppls.parity.randomness import eager, observe_training
from ppls.parity.reference.figures import difference, projection
from ppls.parity.stages.asked import Candidate, NotAskedError, call, call_by_place
from ppls.parity.stages.outputs import compare_each
from ppls.parity.state import copied, working_copy
from ppls.parity.tolerance import GRADIENT_TOLERANCE, INEXACT_GRADIENT_TOLERANCE

CALLS = 12  # of one input: what counts its calls mostly counts to ten

Question = Callable[[Candidate], Iterator[str]]
QUESTIONS: dict[str, Question] = {}


def question(name: str) -> Callable[[Question], Question]:
    """Adds a question to the list, which is asked in order."""

    def add(ask: Question) -> Question:
        assert name not in QUESTIONS
        QUESTIONS[name] = ask
        return ask

    return add


@question("other weights after the first call")
def _other_weights(candidate: Candidate) -> Iterator[str]:
    """What is kept of weights, folded or copied, is stale once others are loaded."""
    fresh = copied(candidate.fresh) if candidate.fresh is not None else None
    if fresh is None:
        raise NotAskedError("it cannot be copied")
    right = {name: tensor.clone() for name, tensor in candidate.module.state_dict().items()}
    other = {name: tensor * 1.01 if tensor.is_floating_point() else tensor for name, tensor in right.items()}
    if not right:
        raise NotAskedError("it has no tensors")
    first = candidate.answer
    try:
        fresh.load_state_dict(other)
        candidate.module.load_state_dict(other)
        why = candidate.apart(candidate.ask(candidate.image, fresh), candidate.ask(candidate.image))
        candidate.module.load_state_dict(right)
    except (RuntimeError, NotImplementedError) as error:
        raise NotAskedError(f"its own state dict cannot be loaded: {error}") from error
    if why:
        yield f"keeps something of the weights of its first call: with others loaded since, {why}"
    why = candidate.apart(first, candidate.ask(candidate.image))
    if why:
        yield f"is another model once its own state dict is loaded again: {why}"


@question("the order of calls")
def _order(candidate: Candidate) -> Iterator[str]:
    """Each small input, last first, on a copy that was never called; all results are held to the end."""
    recording = candidate.recording
    module = candidate.module if candidate.fresh is None else candidate.fresh
    small = [name for name in recording.inputs if recording.input(name)[:, 0].size <= SMALL]
    if candidate.own_image:
        small = small or list(recording.inputs)  # it takes no others
    held = []
    for name in reversed(small):
        with torch.no_grad():
            result = call_by_place(module, torch.from_numpy(recording.input(name)))
        held.append((name, result, {place: tensor.clone() for place, tensor in result.items()}))
    if not held:
        raise NotAskedError("no input is small")
    for name, result, at_once in held:
        expected = [output for output in recording.outputs if output.input == name]
        arrays = {place: tensor.numpy() for place, tensor in at_once.items()}
        for found in compare_each(recording, expected, arrays, candidate.tolerances, candidate.by):
            if found.verdict == "fail":
                error = found.comparison.problem or f"off by {found.comparison.scaled:.1e}"
                yield f"depends on the order of its calls: asked last first, {found.name} of {name} is {error}"
        if any(_bits(result[place]) != _bits(tensor) for place, tensor in at_once.items()):
            yield f"overwrites its result of {name} in a later call"


@question("one call after another")
def _calls(candidate: Candidate) -> Iterator[str]:
    expected = candidate.answer
    for number in range(2, CALLS + 1):
        why = candidate.apart(expected, candidate.ask(candidate.image))
        if why:
            yield f"answers otherwise in call {number} of the same image: {why}"
            return


@question("another image in the same tensor")
def _refilled(candidate: Candidate) -> Iterator[str]:
    expected = candidate.other_answer
    image = candidate.image.clone()
    candidate.ask(image)
    image.copy_(candidate.other)
    why = candidate.apart(expected, candidate.ask(image))
    if why:
        yield f"keeps its answer to an image by where that lies in memory: {why}"


@question("results that are written to")
def _written(candidate: Candidate) -> Iterator[str]:
    expected = candidate.answer
    for tensor in candidate.ask(candidate.image):
        if tensor.is_floating_point():
            once = tuple(slice(1) if step == 0 else slice(None) for step in tensor.stride())  # what is expanded
            tensor[once].fill_(0.0)
    why = candidate.apart(expected, candidate.ask(candidate.image))
    if why:
        yield f"returns what it goes on using: once a result is written to, {why}"


@question("memory layout")
def _layout(candidate: Candidate) -> Iterator[str]:
    image = candidate.image
    _, channels, height, width = image.shape
    apart = torch.zeros(1, channels, height, 2 * width, dtype=image.dtype)
    apart[..., ::2] = image
    within = torch.zeros(2, channels + 2, height + 3, width + 5, dtype=image.dtype)
    within[1:, 1:-1, 1:-2, 2:-3] = image
    layouts = {
        "channels last": image.contiguous(memory_format=torch.channels_last),
        "transposed": image.transpose(2, 3).contiguous().transpose(2, 3),
        "every second column of another": apart[..., ::2],
        "a part of a larger tensor": within[1:, 1:-1, 1:-2, 2:-3],
    }
    for layout, given in layouts.items():
        why = candidate.apart(candidate.answer, candidate.ask(given))
        if why:
            yield f"depends on how its input lies in memory ({layout}): {why}"
    twice = [tensor[:1] for tensor in candidate.ask(image.expand(2, -1, -1, -1))]
    why = candidate.apart([tensor[:1] for tensor in candidate.answer], twice)
    if why:
        yield f"depends on how its input lies in memory (one image expanded to two): {why}"


@question("grad mode")
def _grad_mode(candidate: Candidate) -> Iterator[str]:
    flags = [parameter.requires_grad for parameter in candidate.module.parameters()]
    modes = {"no_grad": torch.no_grad, "enable_grad": torch.enable_grad, "inference_mode": torch.inference_mode}
    for name, mode in modes.items():
        with mode(), global_state_kept() as changed:
            found = [tensor.detach().clone() for tensor in call(candidate.module, candidate.image)]
        why = candidate.apart(candidate.answer, found)
        if why:
            yield f"answers otherwise under torch.{name}: {why}"
        for part, (before, after) in changed.items():
            yield f"leaves {described(part, before, after)} changed, called under torch.{name}"
    if [parameter.requires_grad for parameter in candidate.module.parameters()] != flags:
        yield "changes which of its parameters require a gradient"
    if modules_in_training(candidate.module):
        yield "goes into training mode by itself"


@question("random numbers")
def _random_numbers(candidate: Candidate) -> Iterator[str]:
    """None are drawn in eval mode, of whatever generator: what is rarely dropped shows in no output."""
    drawn = observe_training(candidate.module, candidate.image.numpy(), eager).draws
    if drawn:
        names = {part: name or "the model itself" for name, part in candidate.module.named_modules()}
        yield f"draws random numbers in eval mode, in {names.get(drawn[0].module, 'one of its parts')}"


@question("the number of threads")
def _threads(candidate: Candidate) -> Iterator[str]:
    expected = candidate.answer
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 2)  # global_state_kept puts it back
    why = candidate.apart(expected, candidate.ask(candidate.image))
    if why:
        yield f"depends on the number of threads: {why}"


@question("an image's place in its batch")
def _batch(candidate: Candidate) -> Iterator[str]:
    if candidate.is_wrong(candidate.recording.result.mixes):
        raise NotAskedError("PaddleSeg's model sees the other images too")
    images = [candidate.image, candidate.other, -candidate.image, candidate.other]
    alone = [candidate.answer, candidate.other_answer, [tensor.clone() for tensor in candidate.ask(images[2])]]
    alone.append(candidate.other_answer)
    for places in ([0, 1, 2, 3], [2, 0, 1], [1, 0]):
        together = candidate.ask(torch.cat([images[place] for place in places]))
        for row, place in enumerate(places):
            why = candidate.apart(alone[place], [tensor[row : row + 1] for tensor in together])
            if why:
                yield f"answers otherwise to image {row + 1} of a batch of {len(places)} than to it alone: {why}"
                return


@question("copies")
def _copies(candidate: Candidate) -> Iterator[str]:
    other = copied(candidate.module)
    if other is None:
        raise NotAskedError("it cannot be copied")
    why = candidate.apart(candidate.answer, candidate.ask(candidate.image, other))
    if why:
        yield f"is another model once it is copied: {why}"


@question("training mode and back")
def _training_and_back(candidate: Candidate) -> Iterator[str]:
    """What training mode changes in tensors is put back, for that is its right; nothing else may have changed."""
    expected = candidate.answer
    with working_copy(candidate.module) as module:
        tensors = [*module.parameters(), *module.buffers()]
        before = [tensor.detach().clone() for tensor in tensors]
        try:
            module.train()
            with torch.enable_grad():
                call(module, torch.cat([candidate.image, candidate.other]))
            module.eval()
        except (CandidateError, NotImplementedError, RuntimeError) as error:
            raise NotAskedError(f"in training mode it {error}") from error
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
        why = candidate.apart(expected, candidate.ask(candidate.image, module))
    if why:
        yield f"does not come back from training mode: with its tensors as they were, in eval mode, {why}"


@question("the gradient of the image")
def _gradient(candidate: Candidate) -> Iterator[str]:
    """In float64, beside the reference's: in float32 the kinks of ReLU part single gradients."""
    recording = candidate.recording
    recorded, name = recording.result.gradient, recording.job.gradient
    if recorded is None or name is None:
        raise NotAskedError("no input is small")
    if recorded.array is None:
        raise NotAskedError(f"PaddleSeg's model has none: {recorded.why_not}")
    learns = any(parameter.requires_grad for parameter in candidate.module.parameters())
    image = torch.from_numpy(recording.input(name).astype(np.float64)).requires_grad_()
    try:
        with working_copy(candidate.module) as module, torch.enable_grad():
            outputs = [tensor for tensor in call(to_float64(module), image) if tensor.is_floating_point()]
            total = torch.stack(
                [(tensor * torch.from_numpy(projection(tensor.shape))).sum() for tensor in outputs]
            ).sum()
            if learns and not total.requires_grad:
                yield f"has no gradient of its image (input {name}), though its parameters ask for theirs"
                return
            (found,) = torch.autograd.grad(total, image)
    except (CandidateError, RuntimeError) as error:
        raise NotAskedError(f"in double precision it {error}") from error
    expected = np.load(recording.folder / recorded.array.file)
    apart = difference(expected, found.numpy()).scaled
    if not apart <= (GRADIENT_TOLERANCE if recorded.exact else INEXACT_GRADIENT_TOLERANCE):
        yield f"has another gradient of its image than the reference: it differs by {apart:.1e} (input {name})"


def _bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()
