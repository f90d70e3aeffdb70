"""Pictures are beside the point: one that cannot be drawn costs nobody the results that it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from AutoRegLib.core.errors import AutoRegError


def attempted(draw: Callable[[], Any], name: str) -> str:
    """Draw; why there is no ``name`` in words where that fails, else empty.

    Raises what is ours: DiskError, InputError, CancelledError.
    """
    try:
        draw()
    except AutoRegError:
        raise
    except ImportError:
        return f"No {name}: the package matplotlib is not installed (pip install matplotlib)."
    except Exception as problem:
        return f"No {name}: {type(problem).__name__}: {str(problem)[:300]}."
    return ""
