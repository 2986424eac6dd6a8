"""The commands as a user runs them: options parsed, errors told, results printed, in a terminal of any encoding."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

from click.testing import CliRunner

from ppls.cli.convert import convert
from ppls.cli.inspect import inspect
from ppls.cli.verify import verify
from ppls.errors import Error
from tests.fuzz import examples
from tests.fuzz.case import Case
from tests.fuzz.runner import Place, Target
from tests.fuzz.targets import checkpoints, documents, dumps
from tests.fuzz.targets.checkpoints import only_json

_OPTIONS = "options.json"  # a list, changed as any other file


class RefusedError(Error):
    """A command's refusal, with what it said."""


class WrongUsageError(Error):
    """Wrong usage."""


_STATUS = {1: RefusedError, 2: WrongUsageError}


@lru_cache
def _commands() -> Sequence[Case]:
    model = examples.model()["model.pdparams"]
    of_a_model = [
        ["--set", "cm_bin_sizes=[1,2,4]", "--upsample", "nearest"],
        ["--arch", "PPLiteSeg", "--dtype", "float16", "--json"],
        ["--config", "run.yml"],
    ]
    texts = {"run.yml": examples.CONFIG, "base.yml": examples.BASE_CONFIG, "map.yaml": examples.TINY_MAP}
    sized = examples.pickled(examples.tiny_tensors())
    found = [_case("convert", options, {"model.pdparams": model, **texts}) for options in of_a_model]
    found += [
        _case("convert", ["--map", "map.yaml", "--set", "mode=nearest"], {"sized.pdparams": sized, **texts}),
        _case("convert", ["--to", "paddle"], {"model.pt": examples.model()["model.pt"]}),
        _case("inspect", ["--map", "map.yaml", "--json"], {"sized.pdparams": sized, **texts}),
        _case("inspect", ["--map", "pp_liteseg"], {"model.pdparams": model}),
    ]
    for files in examples.checkpoints().values():
        found += [_case("inspect", options, files) for options in ([], ["--json"])]
    found += [_case("inspect", ["--json"], case.files, case.given) for case in checkpoints.weights()[::9]]
    found += [_case("inspect", ["--map", case.given], case.files, "") for case in documents.maps()[::5]]
    found += [_case("verify", ["--json"], case.files, case.given) for case in dumps.judged()[:2]]
    return found


def _case(command: str, options: list[str], files: dict[str, bytes], given: str | None = None) -> Case:
    name = next(iter(files)) if given is None else given
    return Case({**files, _OPTIONS: json.dumps(options).encode()}, name, {"command": command})


def _run(place: Place, case: Case) -> Iterable[str]:
    folder = place.given.parent if case.given else place.given
    options = [str(folder / option) if option in case.files else option for option in _options(case)]
    name = str(case.options["command"])
    if name == "verify":
        arguments = [str(folder / "model.pdparams"), "--reference", str(place.given)]
    else:
        arguments = [str(place.given)] if case.given or "--map" not in options else []
        arguments += [str(place.out / "written")] if name == "convert" else []
    command = {"convert": convert, "inspect": inspect, "verify": verify}[name]
    encoding = "ascii" if len(options) % 2 else "utf-8"
    result = CliRunner(charset=encoding).invoke(command, [*options, "--", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code:
        assert result.exit_code in _STATUS, result.exit_code
        raise _STATUS[result.exit_code](result.stderr)
    yield result.stderr
    yield only_json(result.stdout) if "--json" in options else result.stdout


def _options(case: Case) -> list[str]:
    """As a system passes them on: without NUL, and bytes that are no UTF-8 as lone surrogates."""
    try:
        found = json.loads(case.files[_OPTIONS])
    except (ValueError, KeyError, RecursionError):
        found = []
    if not isinstance(found, list):
        found = [found]
    texts = [item if isinstance(item, str) else json.dumps(item) for item in found if item is not None][:200]
    return [text.encode("utf-8", "replace").decode().replace("\0", "") for text in texts]


TARGETS = (Target("commands", 8, _commands, _run, reads_elsewhere=True),)
