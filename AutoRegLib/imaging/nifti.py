"""What SimpleITK cannot do with NIfTI files, done by nibabel."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from AutoRegLib.core.errors import InputError
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.volume import array_to_image, geometry_of

DISPLACEMENT = 1006  # the intent code of a displacement field


def is_nifti(path: str | Path) -> bool:
    """Whether the name is that of a NIfTI file."""
    return str(path).lower().endswith((".nii", ".nii.gz"))


def check_voxels(path: Path) -> None:
    """Refuse what ITK repairs without a word: spacing 0 becomes 1 mm, NaN becomes 0. Raises InputError."""
    import nibabel

    try:
        with nibabel.openers.ImageOpener(str(path)) as stream:
            start = stream.read(540)
        if len(start) < 540:
            return
        second = 540 in (int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))
        header = nibabel.Nifti2Header(start, check=False) if second else nibabel.Nifti1Header(start[:348], check=False)
        spacing = np.asarray(header["pixdim"][1:4])[:int(header["dim"][0])]
        if spacing.all() and np.isfinite(spacing).all() and header.get_data_dtype().kind == "f":
            image: Any = nibabel.load(path)  # repairs the spacing too, so the header comes first
            wrong = int((~np.isfinite(image.dataobj.get_unscaled())).sum())
        else:
            wrong = 0
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, OSError, EOFError,
            ValueError, zlib.error):
        return  # not a readable NIfTI: ITK's own message is the better one
    if not np.all(np.isfinite(spacing)) or np.any(spacing == 0):
        raise InputError(f"{path} has a voxel spacing of zero", expected="mm above 0",
                         got=tuple(spacing.tolist()), remedy="repair the image header")
    if wrong:
        raise InputError(f"{path} has voxels that are not finite", expected="finite numbers",
                         got=f"{wrong} voxels are NaN or infinite", remedy="replace them, e.g. by 0")


def write_displacement(field: DisplacementField, name: str) -> None:
    """A field as (x, y, z, 1, 3) with intent 1006, which SimpleITK cannot set; its vectors are in RAS.

    In 2-D SimpleITK's own intent 1007 (vector, LPS) is written: ITK misreads 1006 there.
    """
    if field.geometry.dims == 2:
        sitk.WriteImage(field.to_image(), name, True)
        return
    import nibabel

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ field.geometry.index_to_physical
    vectors = field.vectors.transpose(2, 1, 0, 3) * np.array([-1.0, -1.0, 1.0], dtype=np.float32)
    image = nibabel.Nifti1Image(vectors[:, :, :, None, :], affine)
    image.header.set_intent(DISPLACEMENT)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nibabel.save(image, name)


def reread_flat_displacement(image: sitk.Image, path: Path) -> sitk.Image:
    """The vectors of a 2-D field with intent 1006, in LPS: ITK negates two of three numbers whatever their count."""
    import nibabel

    stored: Any = nibabel.load(path)
    on_disk = np.asarray(stored.dataobj).reshape(*image.GetSize(), 2)
    return array_to_image(-on_disk.transpose(1, 0, 2).astype(np.float64), geometry_of(image), vectors=True)
