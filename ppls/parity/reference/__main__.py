"""Entry point: makes this folder a package under a name of its own, so that it shadows no module of the user's."""

import importlib
import importlib.util
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

if __name__ == "__main__":
    # Python puts this folder there; its `job`, `network`, ... are nobody's top-level modules
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != FOLDER]
    specification = importlib.util.spec_from_file_location(
        "ppls_reference", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    assert specification is not None
    sys.modules["ppls_reference"] = importlib.util.module_from_spec(specification)
    importlib.import_module("ppls_reference.jobs").main(Path(sys.argv[1]), *sys.argv[2:])
