"""Builds wheel and sdist, checks them, and uses them as strangers would: `make package`.

- `twine check --strict`; the wheel built from the unpacked sdist holds the same files as the wheel built here.
- The wheel is installed without torch on the oldest Python with numpy 1 and the newest with numpy 2, as far as they are
  on this machine: it converts, inspects, converts back, and says what `ppls.load` needs.
- With this environment's torch the wheel loads what it converted. The unpacked sdist runs tests of its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = {"3.10": "numpy<2", "3.13": "numpy>=2"}

WITHOUT_TORCH = """
import json, subprocess, sys
from pathlib import Path
import numpy, ppls
assert "torch" not in sys.modules
folder, checkpoint = Path(sys.argv[1]), sys.argv[2]
bin = Path(sys.executable).parent
def run(*command):
    return subprocess.run([bin / command[0], *command[1:]], capture_output=True, text=True)
done = run("ppls-convert", checkpoint, folder / "out.safetensors", "--json")
assert done.returncode == 0, done.stderr
assert json.loads(done.stdout)["architecture"] == "PPLiteSeg"
assert run("ppls-inspect", folder / "out.safetensors").returncode == 0
back = run("ppls-convert", "--to", "paddle", folder / "out.safetensors", folder / "back.pdparams")
assert back.returncode == 0, back.stderr
a, b = ppls.read(checkpoint), ppls.read(folder / "back.pdparams")
assert set(a) == set(b) and all((a[name] == b[name]).all() for name in a)
try:
    ppls.load(folder / "out.safetensors")
except ppls.MissingDependencyError as error:
    assert "pip install" in str(error), error
else:
    raise AssertionError("torch was not to be installed")
refused = run("ppls-predict", folder / "out.safetensors", "photo.jpg", "-o", folder)
assert refused.returncode == 2 and "pip install" in refused.stderr and "Traceback" not in refused.stderr, refused.stderr
print(f"Python {sys.version.split()[0]}, numpy {numpy.__version__}, without torch: converts, inspects, goes back")
"""
WITH_TORCH = """
import sys, torch, ppls
assert ppls.__file__.startswith(sys.argv[2]), ppls.__file__
model = ppls.load(sys.argv[1])
(logits,) = model(torch.zeros(1, 3, 64, 128))
assert logits.shape == (1, 19, 64, 128)
print(f"Python {sys.version.split()[0]}, torch {torch.__version__}: the wheel's model runs")
"""


def run(*command: str | Path, **options: object) -> None:
    subprocess.run(command, check=True, **options)  # type: ignore[call-overload]


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/RECORD")}


def build(source: Path, out: Path, *what: str) -> Path:
    run(sys.executable, "-m", "build", "--installer", "pip", *what, "--outdir", out, source, stdout=subprocess.DEVNULL)
    return next(out.iterdir())


def find_python(version: str) -> Path | None:
    """A Python of this version, on the path or among pyenv's."""
    on_path = shutil.which(f"python{version}")
    found = [*([on_path] if on_path else []), *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]
    for python in found:
        done = subprocess.run([python, "-c", "import venv, sys; print(sys.version)"], capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.startswith(version):
            return Path(python)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where wheel and sdist are kept")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory(prefix="ppls-package-") as name:
        folder = Path(name)
        checkpoint = folder / "model.pdparams"
        run(sys.executable, ROOT / "examples" / "build_checkpoint.py", checkpoint)
        wheel, sdist = build(ROOT, folder / "wheel", "--wheel"), build(ROOT, folder / "sdist", "--sdist")
        run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
        with tarfile.open(sdist) as archive:
            archive.extractall(folder / "source", filter="data")
        source = next((folder / "source").iterdir())
        again = build(source, folder / "again", "--wheel")
        assert names_in(again) == names_in(wheel), names_in(again) ^ names_in(wheel)
        assert {"ppls/py.typed", "ppls/mappings/index.json", "ppls/docs/mapping-language.md"} <= names_in(wheel)
        print(f"{wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB, {sdist.name}, {sdist.stat().st_size / 1e6:.1f} MB")

        for version, numpy in PYTHONS.items():
            python = find_python(version)
            if python is None:
                print(f"Python {version} is not on this machine: not tried")
                continue
            environment, out = folder / version, folder / f"out-{version}"
            out.mkdir()
            run(python, "-m", "venv", environment)
            bare = environment / "bin" / "python"
            run(bare, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, numpy)
            run(bare, "-c", WITHOUT_TORCH, out, checkpoint, cwd=out)

        unpacked, out = folder / "unpacked", folder / "out"
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(unpacked)
        beside = {**os.environ, "PYTHONPATH": str(unpacked)}
        convert = f"import ppls; ppls.convert({str(checkpoint)!r}, {str(out)!r} + '.safetensors')"
        run(sys.executable, "-c", convert, env=beside, cwd=folder)
        run(sys.executable, "-c", WITH_TORCH, f"{out}.safetensors", unpacked, env=beside, cwd=folder)

        tests = ["tests/checkpoint", "tests/mappings", "tests/test_real_checkpoints.py"]
        own = {**os.environ, "PYTHONPATH": str(source)}
        run(
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--numprocesses",
            "logical",
            *tests,
            cwd=source,
            env=own,
        )
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            for made in (wheel, sdist):
                shutil.copy2(made, keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
