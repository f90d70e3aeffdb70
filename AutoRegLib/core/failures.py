"""What an exception of any library means for the user: the one place where foreign failures become ours."""

from __future__ import annotations

import errno
import re

from AutoRegLib.core.errors import AutoRegError, CancelledError, DiskError, EnvironmentProblem, OutOfMemoryProblem

UNWRITABLE = {getattr(errno, name, -1) for name in (
    "ENOSPC", "EACCES", "EROFS", "EDQUOT", "EPERM", "EFBIG", "EIO", "EEXIST", "EISDIR", "ENOTEMPTY", "ENAMETOOLONG")}
#: a folder that was deleted, a disk that was taken away, a share that is no longer there
GONE = {getattr(errno, name, -1) for name in ("ENOENT", "ENOTDIR", "ESTALE", "ENODEV", "ENXIO", "ENOTCONN")}


def explain(problem: BaseException) -> AutoRegError:
    """Any exception as one of ours: what it means for the user and what to do about it."""
    text = str(problem).strip().split("\n")[0]
    if isinstance(problem, AutoRegError):
        return problem
    if isinstance(problem, KeyboardInterrupt):
        return CancelledError("stopped by the user")
    if isinstance(problem, MemoryError) or re.search(
        r"(?i)not enough memory|out of memory|OutOfMemory|allocate memory|bad.alloc|size calculation overflowed",
        f"{type(problem).__name__}: {problem}"
    ):
        return OutOfMemoryProblem(
            "the computation did not fit into memory",
            got=text[:200] or "no more memory",
            remedy="close other programs, use --device cpu, or a model or preset with a coarser working grid",
        )
    if isinstance(problem, ImportError):
        name = problem.name or text
        return EnvironmentProblem(
            f"the package '{name}' is not installed or does not load",
            got=text,
            remedy=f"pip install {'torch' if name.startswith('torch') else name.split('.')[0]}",
        )
    gone = isinstance(problem, OSError) and problem.errno in GONE
    if isinstance(problem, OSError) and (gone or problem.errno in UNWRITABLE):
        return DiskError(
            f"{problem.filename or 'a file'} is gone" if gone else f"cannot write {problem.filename or 'a result'}",
            got=problem.strerror,
            remedy="see that the folder is there and stays, is writable and has space left",
        )
    return AutoRegError(f"unexpected {type(problem).__name__}: {text[:300]}", remedy="please report it with the log")
