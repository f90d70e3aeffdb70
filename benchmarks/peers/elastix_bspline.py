"""elastix by itk-elastix: the default affine and B-spline parameter maps, or the B-spline alone.

The papers' settings: B-spline of 16 voxels, Mattes mutual information, four scales of 500 iterations.
"""

import itk
from task import read_task, timed

task = read_task()
fixed, moving, labels = (itk.imread(name, itk.F) for name in (task.fixed, task.moving, task.moving_labels))
maps = itk.ParameterObject.New()
for name in ("affine", "bspline") if task.affine else ("bspline",):
    chosen = maps.GetDefaultParameterMap(name)
    if task.paper:
        chosen["NumberOfResolutions"], chosen["MaximumNumberOfIterations"] = ["4"], ["500"]
        chosen["Metric"] = ["AdvancedMattesMutualInformation", *chosen["Metric"][1:]]
        chosen.pop("FinalGridSpacingInPhysicalUnits", None)
        chosen["FinalGridSpacingInVoxels"] = ["16"]
    if task.quick:
        chosen["MaximumNumberOfIterations"] = ["4"]
    maps.AddParameterMap(chosen)
# number_of_threads and log_to_console stay as they are: given together they end itk-elastix 0.25.4 in a crash
with timed(task):
    _, found = itk.elastix_registration_method(fixed, moving, parameter_object=maps)
itk.imwrite(itk.transformix_deformation_field(moving, found), task.displacement_file)
for index in range(found.GetNumberOfParameterMaps()):
    found.SetParameter(index, "FinalBSplineInterpolationOrder", "0")  # nearest neighbour: these are labels
itk.imwrite(itk.transformix_filter(labels, found).astype(itk.US), task.labels_file)
