"""Greedy by picsl-greedy: an affine by NCC and the deformation by NCC of 2x2x2, or the latter alone."""

import SimpleITK as sitk
from picsl_greedy import Greedy2D, Greedy3D
from task import read_task, timed

task = read_task()
dims = sitk.ReadImage(task.fixed).GetDimension()
greedy = (Greedy3D if dims == 3 else Greedy2D)()
levels, radius = ("2x1x1" if task.quick else "100x50x10"), "x".join(["2"] * dims)
affine, warp, whole = (str(task.output / name) for name in ("affine.mat", "warp.nii.gz", "whole.nii.gz"))
pair = f"-i {task.fixed} {task.moving} -m NCC {radius} -n {levels} -threads {task.threads}"
with timed(task):
    if task.affine:
        greedy.execute(f"{pair} -a -dof 12 -ia-image-centers -o {affine}")
    greedy.execute(f"{pair} {f'-it {affine}' if task.affine else ''} -o {warp}")
chain = f"-r {warp} {affine if task.affine else ''}"
greedy.execute(f"-rf {task.fixed} -ri NN -rm {task.moving_labels} {task.labels_file} -rc {whole} {chain}")
sitk.WriteImage(sitk.ReadImage(whole), task.displacement_file)
