"""Names of files that are being written, and what a process that was killed left of them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import zlib
from pathlib import Path

from AutoRegLib.core.processes import process_lives

_NAME = re.compile(r"^\..+-([0-9a-f]{8})\.(\d+)-[^-]{8,}$")


def unfinished(name: str) -> str:
    """How a hidden file that will become ``name`` begins: it tells the machine and the process that writes it."""
    return f".{name[:40]}-{_host()}.{os.getpid()}-"


def sweep(folder: str | Path) -> None:
    """Remove unfinished files and folders in and below ``folder`` whose process on this machine is gone; quiet."""
    with contextlib.suppress(OSError):
        for path in list(Path(folder).rglob(".*")):
            found = _NAME.match(path.name)
            if found and found[1] == _host() and not process_lives(int(found[2])):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                    continue
                with contextlib.suppress(OSError):
                    path.unlink()


def _host() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"
