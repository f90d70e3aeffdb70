"""Results that belong together replace earlier ones together."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from AutoRegLib.core.errors import DiskError
from AutoRegLib.core.leftovers import unfinished
from AutoRegLib.core.records import persist


@contextmanager
def together(folder: str | Path, *, last: str, obsolete: Iterable[str] = ()) -> Iterator[Path]:
    """A hidden folder in ``folder``; when the block ends, the files in it take their places there.

    An error, a full disk or a kill within the block leaves every earlier file. Taking the places needs no room and
    lasts a moment; ``last``, without which the set does not read as whole, goes first and comes last, so that a kill in
    that moment leaves no mixture of two sets that could be taken for one. ``obsolete``: earlier files, which go where
    they have no successor. Raises DiskError.
    """
    folder = Path(folder)
    try:
        stage = Path(tempfile.mkdtemp(prefix=unfinished("results"), dir=folder))
    except OSError as problem:
        raise DiskError(f"cannot write into {folder}", got=problem.strerror or problem,
                        remedy="choose a folder that exists, is writable and has space left") from None
    try:
        yield stage
        names = sorted(path.relative_to(stage) for path in stage.rglob("*") if path.is_file())
        for old in {last, *obsolete} - {str(name) for name in names if str(name) != last}:
            (folder / old).unlink(missing_ok=True)
        for name in sorted(names, key=lambda name: str(name) == last):
            (folder / name).parent.mkdir(exist_ok=True)
            persist(functools.partial(os.replace, stage / name, folder / name))
    except DiskError as problem:  # of files by their final names: nobody knows the hidden folder
        raise DiskError(problem.what.replace(str(stage), str(folder)), expected=problem.expected, got=problem.got,
                        remedy=problem.remedy) from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)
