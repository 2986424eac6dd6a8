"""Has PaddleSeg build a model and save it with `paddle.save`, as its training does: a checkpoint to try ppls on.

By default it is a PP-LiteSeg-T. The weights are not trained, but scaled and calibrated on photographs so that every
layer matters to the output.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from ppls import Error
from ppls.parity.embedded import build_embedded_default
from ppls.parity.process import ReferenceProcess


def main() -> int:
    if len(sys.argv) not in (2, 3):
        print(f"usage: {sys.argv[0]} DESTINATION.pdparams [ARCHITECTURE]", file=sys.stderr)
        return 2
    architecture = sys.argv[2] if len(sys.argv) > 2 else None
    try:
        with tempfile.TemporaryDirectory() as name, ReferenceProcess(Path(name)) as process:
            shutil.move(build_embedded_default(process, Path(name), architecture=architecture), sys.argv[1])
    except Error as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
