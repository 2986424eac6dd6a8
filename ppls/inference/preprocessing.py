"""What happens to an image before a model sees it: by PaddleSeg's config of the run, or by a user's options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppls.converter.run_config import load_run
from ppls.converter.usage import transforms_of_run
from ppls.errors import UsageError
from ppls.images.transforms import Size, Transforms


class Preprocessing(Transforms):
    """PaddleSeg's `Compose` in evaluation, see `Transforms`."""

    @classmethod
    def asked(cls, given: Transforms | None, config: str | Path | None) -> Transforms | None:
        """What was `given`, else what the config of a run says, if there is one. Raises what `from_run` does."""
        return cls.from_run(config) if given is None and config is not None else given

    @classmethod
    def from_run(cls, path: str | Path) -> Preprocessing:
        """The preprocessing of `val_dataset` in PaddleSeg's config of a run, or of an export's `deploy.yaml`.

        Raises:
            ConversionError: the file is missing, no config, or lists a transform that is not known or is random.
            UsageError: it lists no transforms for evaluation.
        """
        listed = transforms_of_run(load_run(Path(path)))
        if listed is None:
            raise UsageError(f"{path}: has no val_dataset with transforms; give --mean, --std and --resize instead")
        return cls.of(listed, str(path))

    @classmethod
    def from_options(
        cls, mean: Sequence[float] | None = None, std: Sequence[float] | None = None, resize: Size | None = None
    ) -> Preprocessing:
        """A resize to `resize` (height, width), then `Normalize`; mean and std of pixels in 0..1, default 0.5."""
        steps: list[dict[str, Any]] = []
        if resize is not None:
            steps.append({"type": "Resize", "target_size": [resize[1], resize[0]]})
        normalize = {"mean": mean, "std": std}
        steps.append({"type": "Normalize", **{key: list(v) for key, v in normalize.items() if v is not None}})
        return cls(steps, "--mean, --std, --resize")
