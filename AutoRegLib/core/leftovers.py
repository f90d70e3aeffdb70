"""Names of files that are being written or are private to a process, and what one that was killed left of them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import tempfile
import time
import zlib
from pathlib import Path

from AutoRegLib.core.processes import process_lives

_NAME = re.compile(r"^\..+-([0-9a-f]{8})\.(\d+)-[^-]{8,}$")
_TEMPORARY = re.compile(r"^autoreg-(?:[a-z]+-)?([0-9a-f]{8})\.(\d+)-")
_FORMER = re.compile(r"^autoreg-(?:[a-z]+-)?[a-z0-9_]{8}(?:\.\w+)?$")  # of versions that wrote no process down
_LOG = re.compile(r"^autoreg-\d{8}-\d{6}-\d+\.log$")
_OLD = 86400.0  # seconds


def unfinished(name: str) -> str:
    """How a hidden file that will become ``name`` begins: it tells the machine and the process that writes it."""
    return f".{name[:40]}-{_host()}.{os.getpid()}-"


def private_prefix(kind: str = "") -> str:
    """How a temporary file or folder begins that nobody needs after this process; ``kind``: letters."""
    return f"autoreg-{kind}{'-' if kind else ''}{_host()}.{os.getpid()}-"


def temporary_leftovers(folder: str | Path) -> list[Path]:
    """What processes of ours that are gone left in the folder of temporary files, and logs of faults."""
    found = []
    with contextlib.suppress(OSError):
        for path in sorted(Path(folder).glob("autoreg-*")):
            with contextlib.suppress(OSError):
                told = path.lstat()
                if hasattr(os, "getuid") and told.st_uid != os.getuid():
                    continue
                mark = _TEMPORARY.match(path.name)
                dead = mark is not None and mark[1] == _host() and not process_lives(int(mark[2]))
                former = _FORMER.match(path.name) and time.time() - told.st_mtime > _OLD
                if dead or former or _LOG.match(path.name):
                    found.append(path)
    return found


def sweep_temporary() -> None:
    """Remove the copies of images that a killed process was reading from; logs stay; quiet."""
    for path in temporary_leftovers(tempfile.gettempdir()):
        if not _LOG.match(path.name):
            _remove(path)


def sweep(folder: str | Path) -> None:
    """Remove unfinished files and folders in and below ``folder`` whose process on this machine is gone; quiet."""
    with contextlib.suppress(OSError):
        for path in list(Path(folder).rglob(".*")):
            found = _NAME.match(path.name)
            if found and found[1] == _host() and not process_lives(int(found[2])):
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()


def _host() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"
