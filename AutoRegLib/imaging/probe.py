"""Files of formats that only ITK can read, tried first in a process that may crash, hang or want too much memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from AutoRegLib.core.errors import InputError

_SECONDS = 60.0  # and one more for each of these bytes
_BYTES_A_SECOND = 5_000_000
_WANTS = "it asks for more memory than an image of that length needs"
_PROGRAM = """
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except ImportError:  # Windows
    pass
import SimpleITK
SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
try:
    getattr(SimpleITK, sys.argv[1])(sys.argv[2])
except UnicodeDecodeError:
    sys.exit(3)
except MemoryError:
    sys.exit(4)
except (RuntimeError, KeyError) as problem:  # the caller's own reading says what it is, unless it has no limit
    sys.exit(4 if "allocat" in str(problem) or "bad_alloc" in str(problem) else 0)
"""


def check_readable(path: Path, function: str) -> None:
    """Let SimpleITK's ``function`` (ReadImage, ReadTransform) read the file in a process of its own.

    Costs some tenths of a second; for formats that are rare. Raises: InputError when that process is ended by the file,
    needs more than a minute or more memory than any whole file of that length.
    """
    size = path.stat().st_size
    memory = 2**32 + 64 * size
    try:
        done = subprocess.run([sys.executable, "-c", _PROGRAM, function, str(path), str(memory)], check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS + size / _BYTES_A_SECOND)
        why = "" if done.returncode == 0 else _WANTS if done.returncode == 4 else "it ends the reader"
    except subprocess.TimeoutExpired:
        why = "the reader does not come to an end"
    if why:
        raise InputError(f"{path} is damaged", expected="a file that ITK can read", got=why,
                         remedy="export it again, images as NIfTI or NRRD, transforms as .nrrd or .tfm")
