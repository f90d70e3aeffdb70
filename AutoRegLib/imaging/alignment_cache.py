"""Affine alignments remembered between runs: twelve numbers a pair, found again by the files' contents."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import SimpleITK as sitk

from AutoRegLib.core.errors import DiskError, InputError
from AutoRegLib.core.places import cache_folder
from AutoRegLib.core.records import digest, read_json, write_json
from AutoRegLib.imaging import align
from AutoRegLib.imaging.files import file_sha256
from AutoRegLib.imaging.volume import Volume

SCHEMA = "autoreg-alignment/2"


def cached_alignment(reference: Volume, image: Volume, files: tuple[str, str]) -> sitk.Transform:
    """Affine from reference to image points, remembered between runs by the files' contents."""
    key = digest([SCHEMA, sitk.Version_VersionString(), align.METHOD_VERSION, *(file_sha256(f) for f in files)])
    path = cache_folder() / "alignments" / f"{key}.json"
    dims = reference.geometry.dims
    transform = sitk.AffineTransform(dims)
    if path.is_file():
        # a damaged entry is made again
        with suppress(InputError, KeyError, TypeError, ValueError, OverflowError, RecursionError, RuntimeError):
            stored = read_json(path, schema=SCHEMA)
            whole = stored["digest"] == digest([key, stored["parameters"], stored["centre"]])
            if whole and np.isfinite([*stored["parameters"], *stored["centre"]]).all():
                transform.SetParameters(stored["parameters"])
                transform.SetFixedParameters(stored["centre"])
                return transform
    found = align.affine_align(reference, image, threads=1).transform
    stored = {"parameters": list(found.GetParameters()), "centre": list(found.GetFixedParameters())}
    stored["digest"] = digest([key, stored["parameters"], stored["centre"]])
    with suppress(OSError, DiskError):  # what cannot be remembered is found again
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, stored, schema=SCHEMA)
    return found
