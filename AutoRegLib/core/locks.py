"""Files that one process at a time may hold; one that a crash left behind is nobody's."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from AutoRegLib.core.errors import DiskError, InputError
from AutoRegLib.core.leftovers import unfinished
from AutoRegLib.core.processes import birth_tick, process_lives
from AutoRegLib.core.strict_json import read_object

#: seconds after which a lock that names nobody is an old one
OLD_SECONDS = 5.0


def take(path: Path, *, what: str) -> None:
    """Make ``path`` the mark of this process; of many that try at once, one succeeds. ``what``: for the message.

    Taking what is ours already does nothing. Raises InputError (another process holds it), DiskError.
    """
    mine = path.with_name(unfinished(path.name) + secrets.token_hex(4))
    try:
        mine.write_text(json.dumps(process_mark()), encoding="utf-8")
        for _ in range(100):
            if _appear(mine, path):
                return
            holder = holder_of(path)
            if holder is not None and _is_us(holder):
                return
            if _is_held(path, holder):
                raise _held(path, holder, what)
            _remove(path, holder)
        raise _held(path, holder_of(path), what)
    except OSError as problem:
        raise DiskError(f"cannot write {path}", got=problem.strerror or problem,
                        remedy="choose a folder that exists, is writable and has space left") from None
    finally:
        with contextlib.suppress(OSError):
            mine.unlink(missing_ok=True)


def release(path: Path) -> None:
    """Let go of a lock that this process holds; anybody else's stays. Quiet where it cannot be removed."""
    holder = holder_of(path)
    if holder is not None and _is_us(holder):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def clear(path: Path) -> bool:
    """Remove a lock that is nobody's (see :func:`take`); whether none is left. Somebody's stays."""
    holder = holder_of(path)
    try:
        if _is_held(path, holder):
            return False
        _remove(path, holder)
    except OSError:
        return not path.exists()
    return not path.exists()


def process_mark(pid: int | None = None) -> dict[str, Any]:
    """What tells a process (None: this one) from all others: its number, its birth in the system's ticks, a time at
    which it lived, the machine and its start."""
    number = os.getpid() if pid is None else pid
    tick = birth_tick(number)
    return {"pid": number, "started": time.time(), "host": socket.gethostname(), "boot": _boot(),
            **({} if tick is None else {"birth": tick})}


def mark_lives(holder: Mapping[str, Any]) -> bool:
    """Whether the marked process runs, as far as this machine can tell: another one's processes do not."""
    if holder.get("host") != socket.gethostname() or _restarted(holder):
        return False
    return process_lives(holder["pid"], known_since=_since(holder), birth=_birth(holder))


def holder_of(path: Path) -> dict[str, Any] | None:
    """The mark in a lock; None where there is none that can be read."""
    try:
        holder = read_object(path)
    except InputError:
        return None
    return holder if isinstance(holder.get("pid"), int) else None


def _appear(mine: Path, path: Path) -> bool:
    """Give the finished mark its final name, where nothing has it: never seen half written, by nobody twice."""
    try:
        os.link(mine, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        with os.fdopen(handle, "wb") as stream:
            stream.write(mine.read_bytes())
    return True


def _is_us(holder: dict[str, Any]) -> bool:
    return bool(holder["pid"] == os.getpid() and mark_lives(holder))


def _is_held(path: Path, holder: dict[str, Any] | None) -> bool:
    """Whether somebody holds the lock, or may."""
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    if holder is None:  # damaged; or being written, where there are no links. A clock that is set back makes none new
        return -OLD_SECONDS < age < OLD_SECONDS
    if holder.get("host") != socket.gethostname():  # its processes cannot be seen from here
        return True
    return mark_lives(holder)


def _remove(path: Path, seen: dict[str, Any] | None) -> None:
    """Take away an old lock, and never one that took its place meanwhile.

    Whoever removes is alone in the folder, as far as the system has locks for that, and looks once more: what is there
    then stays there until it is removed. Elsewhere it is renamed, looked at, and given back, which leaves an instant
    in which a third may take the place.
    """
    with _alone_in(path.parent):
        if holder_of(path) != seen or _is_held(path, seen):
            return
        aside = path.with_name(unfinished(f"{path.name}-old") + secrets.token_hex(4))
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return
        if holder_of(aside) != seen:
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
        if aside.is_dir():
            aside.rmdir()
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process at a time, on systems that lock folders (not Windows, nor some network drives); ends with it."""
    handle = None
    try:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _held(path: Path, holder: dict[str, Any] | None, what: str) -> InputError:
    if holder is None:
        return InputError(f"{what} is being taken", got="a lock of this moment", remedy="try again")
    host, here = holder.get("host"), socket.gethostname()
    place = "" if host == here else f" on the machine {host}"
    return InputError(
        f"{what} is already running", expected="one process at a time", got=f"process {holder['pid']}{place}",
        remedy="wait for it" if host == here else f"wait for it; if it is certain that it ended, delete {path}")


def _birth(holder: Mapping[str, Any]) -> int | None:
    tick = holder.get("birth")
    return tick if isinstance(tick, int) else None


def _restarted(holder: Mapping[str, Any]) -> bool:
    """Whether the machine was started anew since: then the number means another process."""
    return bool(holder.get("boot")) and holder["boot"] != _boot()


def _since(holder: Mapping[str, Any]) -> float | None:
    since = holder.get("started")
    return float(since) if isinstance(since, (int, float)) else None


def _boot() -> str:
    """What names the present run of the system; empty where it does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
