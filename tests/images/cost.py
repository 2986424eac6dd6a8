"""What reading an image costs, in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """
import resource, sys
from ppls.errors import InputError
from ppls.images import read_rgb
try:
    said = str(read_rgb(sys.argv[1]).shape)
except InputError as error:
    said = str(error)
used = resource.getrusage(resource.RUSAGE_SELF)
# not ru_maxrss, which begins with what the process had that started this one
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(used.ru_utime + used.ru_stime, peak, said)
"""
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Cost:
    """Seconds of CPU and MiB of a whole process, and what it said."""

    seconds: float
    memory: float
    said: str


def cost_of(path: Path) -> Cost:
    """Of `read_rgb`; beyond 4 GiB it is stopped."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=_ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    seconds, kilobytes, said = done.stdout.split(maxsplit=2)
    return Cost(float(seconds), int(kilobytes) / 1024, said.strip())
