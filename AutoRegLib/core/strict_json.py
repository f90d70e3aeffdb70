"""The one door for JSON: whatever stands in a file, what comes out is a plain value or an InputError.

Files of strangers may be huge, nested without end, or hold numbers that no computation bears. All of it is refused
here, so that no reader behind has to think of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from AutoRegLib.core.errors import InputError

MOST_BYTES = 64_000_000  # a markups file of 100,000 points has 30 million
MOST_VALUES = 8_000_000  # in lists and objects; 100,000 points have some 2,500,000
MOST_DEPTH = 40  # the deepest of ours has 6
MOST_DIGITS = 18  # of a whole number: fits into 64 bits


class _Refused(ValueError):
    """What the standard reader would let pass."""


def parse_json(text: str | bytes, *, where: str) -> Any:
    """The value that ``text`` holds. ``where`` names its source for the message.

    Raises InputError: not JSON, not UTF-8, too large, nested too deeply, a key twice in one object, numbers that are
    not finite or whole numbers beyond 64 bits.
    """
    if len(text) > MOST_BYTES:
        raise _too_large(where, len(text))
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        if sum(map(text.count, ",[{")) > MOST_VALUES:  # each takes many times its length as memory
            raise _Refused(f"more than {MOST_VALUES} values")
        value = json.loads(text, parse_constant=_no_constant, parse_float=_float, parse_int=_int,
                           object_pairs_hook=_object)
        _check_depth(value)
        if "\\u" in text:  # half of a pair that no text can be written with
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise _invalid(where, f"more than {MOST_DEPTH} levels") from None
    except ValueError as problem:
        raise _invalid(where, problem) from None
    return value


def parse_object(text: str | bytes, *, where: str) -> dict[str, Any]:
    """Like :func:`parse_json`, and what it gives is an object. Raises InputError."""
    value = parse_json(text, where=where)
    if not isinstance(value, dict):
        raise InputError(f"{where} holds no JSON object", expected="{...}", got=_kind(value),
                         remedy="restore the file or write it again")
    return value


def read_object(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file. Raises InputError (also when it is not there, or cannot be read)."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if not path.is_file() and not path.is_dir():  # a device or a pipe may have no end
            raise InputError(f"{path} is no ordinary file", expected="a JSON file", remedy="copy it into a file first")
        if size > MOST_BYTES:  # before memory is taken for it
            raise _too_large(str(path), size)
        return parse_object(path.read_bytes(), where=str(path))
    except FileNotFoundError:
        raise InputError(f"no such file: {path}", expected="a JSON file", remedy="check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder", expected="a JSON file", remedy="name the file inside it") from None
    except OSError as problem:
        raise InputError(f"cannot read {path}", got=problem.strerror, remedy="check its permissions") from None
    except ValueError as problem:  # a name that no file can have
        raise InputError(f"cannot read {path}", got=problem, remedy="check the path") from None


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"the number {name}")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused(f"the number {text[:40]}, which is too large")
    return value


def _int(text: str) -> int:
    if len(text.lstrip("-")) > MOST_DIGITS:
        raise _Refused(f"a whole number of {len(text)} digits")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Refused(f"the key '{twice[:80]}' twice in one object")
    return found


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [item for part in level for item in _children(part)]:
        depth += 1
        if depth > MOST_DEPTH:
            raise _Refused(f"more than {MOST_DEPTH} levels")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _kind(value: Any) -> str:
    words = {type(None): "null", list: "a list", str: "text", bool: "true or false"}
    return words.get(type(value), "a number")


def _too_large(where: str, size: int) -> InputError:
    return InputError(f"{where} is too large", expected=f"at most {MOST_BYTES} bytes", got=f"{size} bytes",
                      remedy="check that this is the right file")


def _invalid(where: str, problem: object) -> InputError:
    return InputError(f"{where} is not valid JSON", expected="a complete JSON object with finite numbers", got=problem,
                      remedy="restore the file or write it again")
