"""convexAdam with MIND features: coupled convex optimisation, then Adam on the pair, defaults of the package."""

import numpy as np
import SimpleITK as sitk
import torch
from convexAdam.convex_adam_MIND import convex_adam_pt
from scipy.ndimage import map_coordinates
from task import read_task, timed

task = read_task()
torch.set_num_threads(task.threads)
fixed, moving, labels = (sitk.ReadImage(name) for name in (task.fixed, task.moving, task.moving_labels))
pictures = [torch.from_numpy(sitk.GetArrayFromImage(image).astype("float32")) for image in (fixed, moving)]
settings = {"selected_niter": 2} if task.quick else {}
with timed(task):
    found = convex_adam_pt(*pictures, dtype=torch.float32, device=torch.device("cpu"), **settings)
# its own apply_convex is linear; labels take the nearest voxel, which may be of none
positions = np.moveaxis(found, -1, 0) + np.indices(found.shape[:3])
warped = map_coordinates(sitk.GetArrayFromImage(labels), positions, order=0)
# voxels (z, y, x) to mm LPS; the images share one lattice, which the method takes for granted
step = np.array(fixed.GetDirection()).reshape(3, 3) * np.array(fixed.GetSpacing())
field = sitk.GetImageFromArray((found[..., ::-1] @ step.T).astype("float32"), isVector=True)
for picture, name in ((sitk.GetImageFromArray(warped), task.labels_file), (field, task.displacement_file)):
    picture.CopyInformation(fixed)
    sitk.WriteImage(picture, name)
