"""The model folders on this computer, as ``autoreg models`` sees them too. No Qt, no torch."""

from __future__ import annotations

from pathlib import Path

from AutoRegLib.core import bundle_folder
from AutoRegLib.core.bundle_folder import (
    FILES,
    Bundle,
    delete,
    free_folder,
    import_archive,
    list_bundles,
    read_bundle,
    rename,
)
from AutoRegLib.core.places import models_folder

__all__ = ["FILES", "Bundle", "delete", "export_archive", "free_folder", "import_archive", "list_bundles",
           "models_folder", "read_bundle", "rename"]


def export_archive(bundle: Bundle, archive: str | Path) -> Path:
    """Pack a model into a new zip archive, with that suffix. Raises InputError when the file exists, DiskError."""
    archive = Path(archive)
    archive = archive if archive.suffix == ".zip" else archive.with_name(archive.name + ".zip")
    return bundle_folder.export_archive(bundle.folder, archive)
