"""Images and label maps, and what is predicted of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

import ppls
from ppls.cli.tables import print_metrics
from ppls.errors import InputError
from ppls.images import read_rgb
from ppls.inference.datasets import read_label
from ppls.inference.preprocessing import Preprocessing
from tests.fuzz import examples
from tests.fuzz.case import Case
from tests.fuzz.runner import Place, Target
from tests.fuzz.targets.checkpoints import printed_json


@lru_cache
def _pictures() -> Sequence[Case]:
    made = [Case({name: content}, name) for name, content in examples.images().items()]
    grey = [case for case in made if case.given.startswith(("grey", "indexed", "deep", "bits"))]
    cityscapes = Case({"city_labelIds.png": examples.images()["grey.png"]}, "city_labelIds.png")
    return made + [replace(case, options={"label": True}) for case in [*grey, cityscapes, *_matlab()]]


def _matlab() -> list[Case]:
    try:
        import io

        from scipy.io import savemat
    except ImportError:
        return []
    packed = io.BytesIO()
    classes = np.zeros((1, 1), [("Segmentation", object)])
    classes[0, 0]["Segmentation"] = np.zeros((4, 5), np.uint8)
    savemat(packed, {"GTcls": classes})
    return [Case({"a.mat": packed.getvalue()}, "a.mat")]


def _image(place: Place, case: Case) -> Iterable[str]:
    label = bool(case.options)
    found = read_label(place.given) if label else read_rgb(place.given)
    assert found.dtype == (np.int64 if label else np.uint8)
    assert found.size > 0
    assert found.ndim == 2 if label else found.shape[2:] == (3,)
    return ()


@lru_cache
def _stub() -> object:
    import torch

    class Threshold(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
            return [torch.cat([image, -image[:, :1]], 1)]

    return Threshold().eval()


@lru_cache
def _folders() -> Sequence[Case]:
    png = examples.images()["rgb.png"]
    return [Case({"a.png": png}, "a.png"), Case({"a.png": png, "deep/b.jpg": examples.images()["x.jpg"]})]


def _predict(place: Place, case: Case) -> Iterable[str]:
    errors: list[InputError] = []
    predictions = ppls.predict(
        _stub(), place.given, place.out / "pictures", preprocessing=Preprocessing.from_options(), on_error=errors.append
    )
    if not predictions:
        raise errors[0]
    yield printed_json({"predictions": [prediction.to_json() for prediction in predictions]})
    yield from map(str, errors)


@lru_cache
def _samples() -> Sequence[Case]:
    made = examples.images()
    files = {
        "list.txt": b"a.png label.png\na.png label.png\n",
        "a.png": made["rgb.png"],
        "label.png": made["indexed.png"],
    }
    return [Case(files, name) for name in files]


def _evaluate(place: Place, case: Case) -> Iterable[str]:
    folder = place.given.parent
    metrics = ppls.evaluate(
        _stub(), ppls.read_samples(folder, folder / "list.txt"), preprocessing=Preprocessing.from_options()
    )
    print_metrics(metrics)
    yield printed_json(metrics.to_json())


TARGETS = (
    Target("image", 12, _pictures, _image),
    Target("predict", 3, _folders, _predict),
    Target("evaluate", 3, _samples, _evaluate, reads_elsewhere=True),
)
