"""Writes everything anew that is generated from the maps: `make tables`, or with names `make tables NAMES="unet fcn"`.

python scripts/tables.py [NAME ...]      measures what docs/zoo.md has no row of; of NAME, an architecture, all anew;
                                         then runs the tests of what has changed since they passed

| what | for | written by |
| --- | --- | --- |
| `ppls/mappings/index.json` | which map to open for a file | `ppls.mappings.map_index` |
| `ppls/mappings/expected/` | names and shapes without torch | `ppls.converter.tabulate` |
| `ppls/mappings/construction/` | exports that hold no names; needs PaddleSeg | `scripts/construction_order.py` |
| `docs/commands.md` | what the commands say of themselves | `scripts/commands.py` |
| `docs/zoo.md` | what was measured; needs PaddleSeg | `scripts/zoo.py`, `scripts/prove.py` |
"""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str) -> None:
    print(" ".join(command), file=sys.stderr, flush=True)
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args().names
    try:
        run("-m", "ppls.mappings.map_index")
        run("-m", "ppls.converter.tabulate")
        run("scripts/commands.py")
        if importlib.util.find_spec("paddleseg") is None:
            print("PaddleSeg is not installed: the orders of construction and docs/zoo.md stay as they are")
            return 1
        run("scripts/construction_order.py", *names)
        run("scripts/zoo.py", *names)
        run("scripts/prove.py", *names)
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    return 0


if __name__ == "__main__":
    sys.exit(main())
