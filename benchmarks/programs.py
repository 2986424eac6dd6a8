"""Times programs beside the models that they are of: `python benchmarks/programs.py [NAME ...]`.

Of each network PaddleSeg's own export is made, for one image of 3x256x256 in float32. In turns run: ppls's model and
the module that ppls makes of the program, eager and by `ppls.optimize`; the program's ONNX file in ONNX Runtime; and
the export itself in Paddle Inference. It prints a table for docs/programs.md: milliseconds of the shortest run, and how
far each is off ppls's model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import ppls  # noqa: E402
from ppls.converter.expected import recipe_config  # noqa: E402
from ppls.converter.reference import upstream_model  # noqa: E402
from ppls.deploy.benchmark import threads_set  # noqa: E402
from ppls.deploy.modes import open_mode  # noqa: E402
from ppls.deploy.optimize import scaled_error  # noqa: E402
from ppls.deploy.paddle_inference import job_of_export, paddle_modes  # noqa: E402
from ppls.deploy.runtimes import onnx_file_on_demand  # noqa: E402
from ppls.deploy.timing import Turn, take_turns, time_turn  # noqa: E402
from ppls.errors import ParityError  # noqa: E402
from ppls.mappings.map_file import architectures  # noqa: E402
from ppls.mappings.map_index import on_recipe  # noqa: E402
from ppls.programs.module import load_program  # noqa: E402

NETWORKS = [
    "BiSeNetV2",
    "DDRNet_23",
    "DeepLabV3P",
    "FastSCNN",
    "FCN",
    "MobileSeg",
    "PPLiteSeg",
    "PSPNet",
    "SegFormer",
    "UNet",
]
SIZE = (256, 256)
COLUMNS = ("eager", "program, eager", "optimized", "program, optimized", "program, ONNX Runtime", "Paddle")
TIMEOUT = 600.0  # seconds that an answer of Paddle may take


def exported(name: str, folder: Path) -> Path:
    """PaddleSeg's export of the smallest recipe of an architecture, for one image."""
    map = architectures()[name]
    recipe = next(iter(map.recipes))
    model = upstream_model(on_recipe(map, recipe), recipe_config(map, recipe))
    job = {"name": name, "model": model, "seed": 1, "shape": (1, 3, *SIZE), "export": True}
    jobs = folder / "jobs.json"
    jobs.write_text(json.dumps([job]))
    subprocess.run([sys.executable, str(ROOT / "tests" / "upstream.py"), str(jobs), str(folder)], check=True)
    return folder / name


def measured(export: Path, rounds: int, threads: int) -> dict[str, tuple[float, float]]:
    """Of each column the milliseconds of the shortest run, and how far it is off ppls's model."""
    own, program = ppls.load(export, program=False), load_program(export).logits()
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = own(image)[0]
    turns: dict[str, Turn] = {}
    errors: dict[str, float] = {}
    with ExitStack() as stack:
        stack.enter_context(threads_set(threads))
        for model, prefix in ((own, ""), (program, "program, ")):
            onnx = stack.enter_context(onnx_file_on_demand(model, image))
            for mode, title in (("eager", "eager"), ("optimized", "optimized"), ("onnxruntime", "ONNX Runtime")):
                if prefix + title not in COLUMNS:
                    continue
                run = open_mode(mode, model, image, threads, onnx)
                with torch.inference_mode():
                    errors[prefix + title] = scaled_error(expected, run())
                turns[prefix + title] = partial(time_turn, run, image.device)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        job = job_of_export(export, program.program.outputs[0], folder)
        modes = stack.enter_context(paddle_modes(job, pythons=(), threads=threads, cuda=False, timeout=TIMEOUT))
        for paddle in modes("float32"):
            try:
                errors[paddle.name] = scaled_error(expected, torch.from_numpy(paddle.open(image.numpy())))
                turns[paddle.name] = paddle.turn
            except ParityError as error:  # Paddle 3.3's oneDNN does not run every program
                print(f"{export.name}: {paddle.name}: {str(error)[:200]}", file=sys.stderr)
        seconds = take_turns(list(turns.values()), rounds)
    return {name: (min(times) * 1000, errors[name]) for name, times in zip(turns, seconds, strict=True)}


def row_of(name: str, found: dict[str, tuple[float, float]]) -> str:
    paddle = min((found[each] for each in found if each.startswith("Paddle")), default=None)
    cells = [found.get(column) for column in COLUMNS[:-1]] + [paddle]
    times = ["-" if cell is None else f"{cell[0]:.1f}" for cell in cells]
    ratios = [f"{found[f'program, {way}'][0] / found[way][0]:.2f}" for way in ("eager", "optimized")]
    worst = max(cell[1] for cell in cells if cell is not None)
    return f"| {' | '.join([name, *times, *ratios, f'{worst:.0e}'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NETWORKS, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    heads = ["network", *COLUMNS, "program by model, eager", "optimized", "off by"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for name in given.names:
        with tempfile.TemporaryDirectory() as folder:
            print(row_of(name, measured(exported(name, Path(folder)), given.rounds, given.threads)), flush=True)


if __name__ == "__main__":
    main()
