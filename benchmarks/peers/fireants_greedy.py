"""FireANTs' greedy method at half resolution: CC of 5 voxels, Adam 0.25, scales 4 and 2, 100 and 50 iterations."""

import SimpleITK as sitk
import torch
from fireants.io.image import BatchedImages, Image
from fireants.registration.affine import AffineRegistration
from fireants.registration.greedy import GreedyRegistration
from task import read_task, timed

task = read_task()
torch.set_num_threads(task.threads)
scales, iterations = ([4, 2], [2, 1]) if task.quick else ([4, 2], [100, 50])
fixed, moving = (BatchedImages([Image.load_file(name, device="cpu")]) for name in (task.fixed, task.moving))
with timed(task):
    start = None
    if task.affine:
        affine = AffineRegistration(scales, iterations, fixed, moving, optimizer="Adam", optimizer_lr=3e-3,
                                    loss_type="cc", cc_kernel_size=5, progress_bar=False)
        affine.optimize()
        start = affine.get_affine_matrix().detach()
    found = GreedyRegistration(scales=scales, iterations=iterations, fixed_images=fixed, moving_images=moving,
                               loss_type="cc", cc_kernel_size=5, optimizer="Adam", optimizer_lr=0.25,
                               init_affine=start, progress_bar=False)
    found.optimize()
    with torch.no_grad():
        positions = found.get_warped_coordinates(fixed, moving)
found.save_as_ants_transforms([task.displacement_file])
labels = sitk.ReadImage(task.moving_labels)
array = torch.from_numpy(sitk.GetArrayFromImage(labels).astype("float32"))[None, None]
with torch.no_grad():
    warped = torch.nn.functional.grid_sample(array, positions, mode="nearest", align_corners=True)
picture = sitk.GetImageFromArray(warped[0, 0].numpy().astype("uint16"))
picture.CopyInformation(sitk.ReadImage(task.fixed))
sitk.WriteImage(picture, task.labels_file)
