"""Strict, versioned JSON for frozen dataclasses, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import time
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from AutoRegLib.core.errors import DiskError, InputError
from AutoRegLib.core.leftovers import unfinished
from AutoRegLib.core.strict_json import MOST_DIGITS, read_object

T = TypeVar("T")
PERSIST_SECONDS = 3.0
IN_USE = (5, 32, 33)  # Windows: access denied, shared by another process, locked


def within(default: Any, low: float, high: float) -> Any:
    """A field with the range that :func:`from_plain` holds each of its numbers to."""
    return dataclasses.field(default=default, metadata={"range": (low, high)})


def to_plain(value: Any) -> Any:
    """A dataclass, tuple, mapping or path as plain JSON values; fields that are None are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: to_plain(item) for name, item in pairs if item is not None}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, os.PathLike) else value


def from_plain(kind: type[T], data: Any, *, where: str) -> T:
    """Build the frozen dataclass ``kind`` from JSON values, refusing unknown keys, wrong types and numbers that are
    not finite or out of their field's range (see :func:`within`).

    ``where`` names the file and key for the message. Raises InputError.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{where} is not an object", expected="a JSON object", got=type(data).__name__)
    hints, fields = _declared(kind)  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            near = difflib.get_close_matches(str(key)[:80], fields, n=1)
            remedy = f"did you mean '{near[0]}'?" if near else "remove the key"
            raise InputError(
                f"unknown key '{str(key)[:80]}' in {where}", expected=", ".join(fields), remedy=remedy
            )
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], f"{where}: {name}")
            low, high = field.metadata.get("range", (-math.inf, math.inf))
            for number in _numbers(values[name]):
                if not math.isfinite(number) or not low <= number <= high:
                    raise InputError(f"{where}: {name} is out of range", got=number, remedy="correct the value",
                                     expected="a finite number" if math.isinf(low) else f"{low:g} to {high:g}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"missing key '{name}' in {where}", expected=name, remedy=f"add '{name}'")
    return kind(**values)


@functools.cache
def _declared(kind: type) -> tuple[dict[str, Any], dict[str, dataclasses.Field[Any]]]:
    """The annotated types and the fields of a record, by name; a file may hold 100,000 of one kind."""
    return typing.get_type_hints(kind), {f.name: f for f in dataclasses.fields(kind)}


def _convert(hint: Any, value: Any, where: str) -> Any:
    """One JSON value as the annotated type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type, hint), value, where=where)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _one_of([a for a in args if a is not type(None)], value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise InputError(f"{where} is not a list", expected="a list", got=value)
        if args[-1] is not Ellipsis and len(args) != len(value):
            raise InputError(f"{where} has the wrong length", expected=len(args), got=len(value))
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else args
        return tuple(_convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise InputError(f"{where} is not an object", expected="a JSON object", got=value)
        found = {_convert(args[0], _key(args[0], key), where): _convert(args[1], item, f"{where}.{key}")
                 for key, item in value.items()}
        if len(found) < len(value):  # 1 and 01
            raise InputError(f"{where} has one key twice", expected="different numbers", got=", ".join(value),
                             remedy="remove one of them")
        return found
    if origin is typing.Literal:
        if not any(value == arg and type(value) is type(arg) for arg in args):  # 1 is neither 1.0 nor true
            raise InputError(f"{where} has an unknown value", expected=" or ".join(map(str, args)), got=value)
        return value
    if isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        raise InputError(f"{where} is out of range", expected=f"at most {MOST_DIGITS} digits", got=f"{value:.3e}"
                         if abs(value) < 10**300 else "hundreds of digits", remedy="correct the value")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Any:
        return value
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise InputError(f"{where} has the wrong type", expected=hint.__name__, got=repr(value))
    return value


def _key(hint: Any, key: Any) -> Any:
    """A key of an object, which in JSON is always text."""
    return int(key) if hint is int and isinstance(key, str) and re.fullmatch(r"-?[0-9]{1,18}", key) else key


def _one_of(hints: list[Any], value: Any, where: str) -> Any:
    """The value as the first of several annotated types that takes it."""
    if len(hints) > 1:
        for hint in hints:
            try:
                return _convert(hint, value, where)
            except InputError:
                continue
        words = " or ".join(a if isinstance(a, str) else getattr(a, "__name__", str(a)) for hint in hints
                            for a in (typing.get_args(hint) or (hint,)))
        raise InputError(f"{where} has an unknown value", expected=words, got=repr(value))
    return _convert(hints[0], value, where)


def _numbers(value: Any) -> Iterator[float]:
    """The numbers in a converted field; records inside have checked their own."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _numbers(item)


def read_json(path: str | Path, *, schema: str) -> dict[str, Any]:
    """The JSON object in ``path``, its ``schema`` checked (``name/version``) and taken out. Raises InputError."""
    data = read_object(path)
    found = data.pop("schema", None)
    if found != schema:
        raise InputError(
            f"{path} has another schema", expected=schema, got=found,
            remedy="use the AutoReg version that wrote it, or convert the file",
        )
    return data


def write_json(path: str | Path, value: Any, *, schema: str | None = None) -> None:
    """Write ``value`` as JSON under its final name in one step. Raises DiskError."""
    plain = to_plain(value)
    if schema is not None:
        plain = {"schema": schema, **plain}
    text = json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False)
    text = re.sub(r"\[\s+([^\[\]{}\"]*?)\s+\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
    text = re.sub(r"\[\s+((?:\"[\w .-]*\",?\s*)+)\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
    write_text(path, text + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) under its final name in one step. Raises DiskError."""
    write_whole(path, lambda temporary: Path(temporary).write_text(
        text, encoding="utf-8", errors="backslashreplace"))  # of a file name that is no text


def write_whole(path: str | Path, write: Callable[[str], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it: readers never see half a file.

    The temporary name keeps the suffix, since image writers choose the format by it. Raises DiskError.
    """
    path = Path(path)
    suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=unfinished(path.name), suffix=suffix, dir=path.parent)
        os.close(handle)
        os.chmod(temporary, 0o666 & ~_umask())
        write(temporary)
        if path.exists():
            _flush(temporary)
        persist(functools.partial(os.replace, temporary, path))
        temporary = None
    except Exception as problem:
        if not isinstance(problem, OSError) and not (temporary and _is_full(temporary, problem)):
            raise
        raise DiskError(
            f"cannot write {path}", got=getattr(problem, "strerror", None) or str(problem).split("\n")[0][:160],
            remedy="choose a folder that exists, is writable and has space left",
        ) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):  # the folder may be gone as well
                os.unlink(temporary)


def _flush(temporary: str) -> None:
    """Have the system put the file on the disk before it replaces another: a power cut leaves one of both whole."""
    handle = os.open(temporary, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_full(temporary: str, problem: Exception) -> bool:
    """Whether a writer of another language failed for the disk's sake: torch and safetensors say so in words only."""
    said = r"(?i)no space left|disk full|file write failed|inline_container|I/O ?error|os error (5|27|28|122)"
    if re.search(said, str(problem)):
        return True
    try:
        return shutil.disk_usage(os.path.dirname(temporary)).free < 2**16
    except OSError:
        return True


def persist(action: Callable[[], Any]) -> None:
    """Do what renames a file; on Windows again and again for some seconds while somebody else has it open.

    A virus scanner, an indexer or a reader of the same file is enough for a refusal there, and goes away soon.
    Elsewhere a refusal is final. Raises OSError.
    """
    until, pause = time.monotonic() + PERSIST_SECONDS, 0.01
    while True:
        try:
            action()
            return
        except PermissionError as problem:
            if getattr(problem, "winerror", None) not in IN_USE or time.monotonic() > until:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 0.2)


def make_folder(path: str | Path) -> Path:
    """Create the output folder (and parents) and check that it can be written. Raises DiskError."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as problem:
        raise DiskError(
            f"the output folder {path} is not writable", got=problem.strerror or problem,
            remedy="choose another --output",
        ) from None
    return path


def digest(value: Any) -> str:
    """A short stable hash of any JSON-able value."""
    text = json.dumps(to_plain(value), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _umask() -> int:
    """The process's file mode mask (mkstemp makes private files, results should not be)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
