"""A small PythonQt over PySide6: the module's code sees wrappers which show what PythonQt would show, and no more.

Properties are attributes (``spin.value`` is the value, and assigning writes it); slots, signals, Q_INVOKABLE methods
and what the generated wrappers add can be called; anything else is refused, and so is a new attribute. What may be
reached says ``reach``. Written after the behaviour of PythonQtInstanceWrapper, not after its code; tests go on working
with the widgets of PySide6 themselves (``unwrap``).
"""

from __future__ import annotations

import inspect
import sys
import types
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any

from PySide6.QtCore import QObject
from shiboken6 import Shiboken

from standins import MODULE, reach

#: what module code asked for in vain: a fault even where something caught the exception
refused: list[str] = []
_wrappers: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
_connections: weakref.WeakKeyDictionary[QObject, list[tuple[str, Any, Any]]] = weakref.WeakKeyDictionary()
#: kept beside the properties by Qt itself or by Slicer
DYNAMIC = ("SlicerParameterName",)


class WrapperClass(type):
    """The type of ``qt.QTimer`` or ``ctk.ctkSliderWidget``: static methods, enums, and a constructor."""

    def __call__(cls, *args: Any, **named: Any) -> Any:
        return wrap(cls._wraps(*unwrap(args), **unwrap(named)))

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_") or not reach.kind(cls.__name__, name):
            raise AttributeError(_refuse(f"{cls.__name__} has no attribute named '{name}'"))
        found = getattr(cls._wraps, name)
        return Method(found) if callable(found) and not isinstance(found, type) else wrap(found)


class Wrapper(metaclass=WrapperClass):
    """One object of Qt as Python sees it."""

    __slots__ = ("__weakref__", "_object")
    _wraps: Any = None

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        it = object.__getattribute__(self, "_object")
        owner = reach_name(type(it))
        name = _alias(owner, name)
        found = reach.kind(owner, name)
        if isinstance(it, QObject):
            if name in ("connect", "disconnect"):
                return lambda signal, slot: getattr(Signal(it, signal.split("(")[0]), name)(slot)
            if name == "setProperty":
                return lambda key, value: _set_property(it, key, value)
            if name in ("className", "inherits"):
                return {"className": lambda: owner, "inherits": it.inherits}[name]
            if found == "property":
                return wrap(it.property(name))
            if found == "signal":
                return Signal(it, name)
            if not found and name in it.dynamicPropertyNames():
                return wrap(it.property(name))
            if not found and (child := it.findChild(QObject, name)) is not None and child.parent() is it:
                return wrap(child)
        if not found:
            raise AttributeError(_refuse(f"{owner} has no attribute named '{name}'"))
        member = getattr(it, name)
        return Method(member) if callable(member) and not isinstance(member, type) else wrap(member)

    def __setattr__(self, name: str, value: Any) -> None:
        it = object.__getattribute__(self, "_object")
        owner = reach_name(type(it))
        name = _alias(owner, name)
        found = reach.kind(owner, name)
        if isinstance(it, QObject) and (found == "property" or name in it.dynamicPropertyNames()):
            _set_property(it, name, value)
        elif found:
            raise AttributeError(_refuse(f"{found} '{name}' can not be overwritten on {owner} object"))
        else:
            raise AttributeError(_refuse(
                f"'{name}' does not exist on {owner} and creating new attributes on C++ objects is not allowed"))

    def __eq__(self, other: object) -> bool:
        return bool(unwrap(self) == unwrap(other))

    def __hash__(self) -> int:
        return hash(unwrap(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__} (wrapping {unwrap(self)!r})"


class Method:
    """A function of Qt that takes and gives wrappers."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **named: Any) -> Any:
        return wrap(self.function(*unwrap(args), **unwrap(named)))


class Signal:
    """A signal of one object; a slot gets as many arguments as it takes."""

    def __init__(self, owner: QObject, name: str) -> None:
        self.owner, self.name = owner, name
        if reach.kind(reach_name(type(owner)), name) != "signal":
            raise AttributeError(_refuse(f"{reach_name(type(owner))} has no signal '{name}'"))

    def connect(self, slot: Any) -> bool:
        adapted = unwrap(slot)
        getattr(self.owner, self.name).connect(adapted)
        _connections.setdefault(self.owner, []).append((self.name, slot, adapted))
        return True

    def disconnect(self, slot: Any) -> bool:
        made = _connections.get(self.owner, [])
        for entry in made:
            if entry[:2] == (self.name, slot):
                getattr(self.owner, self.name).disconnect(entry[2])
                made.remove(entry)
                return True
        return False

    def emit(self, *args: Any) -> None:
        getattr(self.owner, self.name).emit(*unwrap(args))


def wrap(value: Any) -> Any:
    """What Python sees of a value: objects and classes of Qt wrapped, everything else as it is."""
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(map(wrap, value))
    if isinstance(value, type) and issubclass(value, Shiboken.Object):
        return wrapper_class(value)
    if not isinstance(value, Shiboken.Object):
        return value
    found = _wrappers.get(id(value))
    if found is None or unwrap(found) is not value:
        found = object.__new__(wrapper_class(type(value)))
        object.__setattr__(found, "_object", value)
        _wrappers[id(value)] = found
    return found


def unwrap(value: Any) -> Any:
    """What Qt gets: wrapped objects themselves, and callables that wrap what they are given."""
    if isinstance(value, Wrapper):
        return object.__getattribute__(value, "_object")
    if isinstance(value, WrapperClass):
        return value._wraps
    if isinstance(value, Method):
        return value.function
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(map(unwrap, value))
    if type(value) is dict:
        return {key: unwrap(item) for key, item in value.items()}
    if isinstance(value, (types.FunctionType, types.MethodType)):
        return _adapted(value)
    return value


def unwrapped(ui: Any) -> types.SimpleNamespace:
    """The widgets of ``childWidgetVariables`` as PySide6 knows them."""
    return types.SimpleNamespace(**{name: unwrap(widget) for name, widget in vars(ui).items()})


@cache
def wrapper_class(wrapped: type) -> Any:
    """The wrapper's class, derived as the table or PySide6 say."""
    name = reach_name(wrapped)
    if name != wrapped.__name__:  # a class of the stand-ins' own: seen as the one it derives from
        return wrapper_class(wrapped.__mro__[1])
    base: Any = wrapped.__mro__[1]
    if name in reach.TABLE:
        while name in reach.TABLE:
            name = reach.TABLE[name]["base"]
        base = reach.qt(name) or QObject
    bases = (wrapper_class(base),) if issubclass(base, Shiboken.Object) and base is not Shiboken.Object else (Wrapper,)
    return WrapperClass(wrapped.__name__, bases, {"__slots__": (), "_wraps": wrapped})


@cache
def reach_name(wrapped: type) -> str:
    """The name under which ``reach`` knows a class: the nearest one that Slicer, CTK or Qt has."""
    return next(c.__name__ for c in wrapped.__mro__ if c.__name__ in reach.TABLE or c.__module__.startswith("PySide6"))


def module(name: str, members: Any) -> types.ModuleType:
    """A module that shows the members of an object, wrapped when they are asked for."""
    made = types.ModuleType(name)

    def member(key: str) -> Any:
        if key.startswith("_"):
            raise AttributeError(f"module {name} has no attribute '{key}'")
        value = wrap(getattr(members, key))
        setattr(made, key, value)
        return value

    made.__getattr__ = member  # type: ignore[method-assign]
    return made


def _alias(owner: str, name: str) -> str:
    """``name`` is another word for ``objectName`` in classes that have no such property."""
    return "objectName" if name == "name" and not reach.kind(owner, name) else name


def _adapted(function: Any) -> Callable[..., Any]:
    kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    takes_all = inspect.Parameter.VAR_POSITIONAL in kinds
    most = sum(k in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for k in kinds)

    def called(*args: Any) -> Any:
        return unwrap(function(*map(wrap, args if takes_all else args[:most])))

    return called


def _set_property(it: QObject, name: str, value: Any) -> bool:
    owner = reach_name(type(it))
    if reach.kind(owner, name) != "property" and name not in it.dynamicPropertyNames() and name not in DYNAMIC:
        _refuse(f"{owner} has no property '{name}': Qt makes a new one that nobody reads")
    if not reach.properties(type(it)).get(name, True):
        raise AttributeError(_refuse(f"Property '{name}' of {owner} object is not writable"))
    return bool(it.setProperty(name, unwrap(value)))


def _refuse(what: str) -> str:
    """Note it where the module's code asked for it; others may look whether something is there."""
    frame: Any = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    if frame is not None and frame.f_code.co_filename.startswith(str(MODULE)):
        refused.append(f"{frame.f_code.co_filename}:{frame.f_lineno}: {what}")
    return what
