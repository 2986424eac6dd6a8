"""Where the files lie that tests read: small ones in the repository, real checkpoints, too large for it, beside it."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
SAMPLES = DATA / "samples"  # what every release of Paddle writes, and hostile files; see README.md there
SMALL_RUN = DATA / "run"  # a small model trained, exported and evaluated by PaddleSeg's tools
SHARED = HERE.parent.parent / "shared"  # absent in most clones: tests that need it skip
