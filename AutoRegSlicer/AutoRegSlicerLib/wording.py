"""Words for the user: translated where Slicer runs, and in the number that belongs to a count."""

from __future__ import annotations

try:
    from slicer.i18n import tr
except ImportError:  # the scene alone, without the application

    def tr(text: str) -> str:
        """The text itself."""
        return text


__all__ = ["counted", "tr"]


def counted(count: int, one: str, many: str, **more: object) -> str:
    """"1 case" or "24 cases". Both are translated whole, since languages differ; ``{n}`` is the number.

    ``more``: other fields of the text.
    """
    return (one if count == 1 else many).format(n=count, **more)
