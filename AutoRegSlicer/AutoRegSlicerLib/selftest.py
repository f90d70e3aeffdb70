"""The module's own test, in Slicer: Reload and Test, or ``py_AutoRegSlicer``."""

import logging
import tempfile
import time
import unittest
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

import AutoRegLib
from AutoRegLib.core.leftovers import private_prefix
from AutoRegLib.core.records import make_folder, write_json
from AutoRegSlicerLib import environment, logic
from AutoRegSlicerLib.jobs.jobs import JobRequest, Jobs
from AutoRegSlicerLib.module_logic import AutoRegSlicerLogic
from AutoRegSlicerLib.panels.choices import SearchPreset
from AutoRegSlicerLib.parameters import AutoRegSlicerParameterNode
from AutoRegSlicerLib.registration.scripting import waitFor


class AutoRegSlicerTest(ScriptedLoadableModuleTest):
    """Runs in Slicer (Reload and Test, or ``py_AutoRegSlicer``); needs no data and no network, and takes a minute.

    Where PyTorch is absent the part that computes is skipped, and says so.
    """

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        for test in (self.test_parameters, self.test_checks, self.test_export_and_import,
                     self.test_search_train_register):
            self.setUp()
            try:
                test()
            except unittest.SkipTest as why:
                logging.warning("AutoReg %s, %s: skipped, %s", AutoRegLib.__version__, test.__name__, why)
                self.delayDisplay(f"Skipped: {why}")

    def test_parameters(self) -> None:
        """What is set in the parameter node is read back, also by a second wrapper."""
        parameters = AutoRegSlicerLogic().getParameterNode()
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "fixed")
        parameters.fixedVolume, parameters.searchPreset, parameters.fade = volume, SearchPreset.Thorough, 0.25
        again = AutoRegSlicerParameterNode(parameters.parameterNode)
        self.assertIs(again.fixedVolume, volume)
        self.assertEqual((again.searchPreset, again.fade, again.createTransform), (SearchPreset.Thorough, 0.25, True))

    def test_checks(self) -> None:
        """An empty scene cannot be registered, and the check says why."""
        messages = logic.checkRegistration(slicer.mrmlScene, logic.RegistrationInputs(None, None, ""),
                                           logic.RegistrationOutputs())
        self.assertTrue([m for m in messages if m.blocking and m.text])

    def test_export_and_import(self) -> None:
        """Into a job folder and back without computing: a shift of 3 mm to the left, written in the job's place."""
        from AutoRegLib.imaging import files
        from AutoRegLib.imaging.displacement import DisplacementField

        fixed, moving = (self.ball(number).volume for number in range(2))
        with tempfile.TemporaryDirectory(prefix=private_prefix("test")) as folder:
            inputs = logic.RegistrationInputs(fixed, moving, "none")
            request = logic.exportRegistration(inputs, folder)
            exported = files.read_volume(Path(folder) / request.arguments["moving"], "intensity")
            self.assertTrue(np.allclose(exported.array, slicer.util.arrayFromVolume(moving), atol=1e-4))
            out = make_folder(Path(folder) / "out")
            vectors = np.zeros((*exported.geometry.shape, 3), np.float32)
            vectors[..., 0] = 3.0  # LPS
            files.write_displacement(DisplacementField(vectors, exported.geometry), out / "transform.nrrd")
            files.write_volume(exported, out / "warped.nii.gz")
            files.write_volume(replace(exported, array=np.ones_like(exported.array)), out / "jacobian.nii.gz")
            write_json(out / "report.json", {"folds": 0})
            result = logic.importRegistration(slicer.mrmlScene, folder, inputs)
        fromWorld, place = vtk.vtkGeneralTransform(), fixed.GetOrigin()
        result.transform.GetTransformFromWorld(fromWorld)
        for axis, expected in enumerate((-3.0, 0.0, 0.0)):  # RAS
            inside = [value + 12.0 for value in place]
            self.assertAlmostEqual(fromWorld.TransformPoint(inside)[axis] - inside[axis], expected, places=4)
        self.assertIs(result.transform.GetNodeReference("spatialRegistrationFixed"), fixed)
        self.assertTrue(np.allclose(slicer.util.arrayFromVolume(result.volume), slicer.util.arrayFromVolume(moving)))
        self.assertIsNone(moving.GetParentTransformNode())

    def test_search_train_register(self) -> None:
        """The whole way on made-up volumes, in background processes; skipped where PyTorch is absent."""
        found = self.environment()
        self.delayDisplay(found.text)
        if not found.ready:
            self.skipTest(found.text)
        rows = [self.ball(number) for number in range(6)]
        with tempfile.TemporaryDirectory(prefix=private_prefix("test")) as folder:
            jobs, model = Jobs(folder), str(Path(folder) / "model")
            search = jobs.create("search", "self test")
            scenario = logic.exportScenario(rows, search / "in")
            self.work(jobs, search, "search", scenario=str(scenario))
            self.work(jobs, jobs.create("train", "self test"), "train", scenario=str(scenario), output=model,
                      recipe=str(search / "out" / "recipe.json"))
            fixed, moving = rows[0].volume, rows[1].volume
            result = AutoRegSlicerLogic().registerVolumes(fixed, moving, model, jobs=jobs, timeoutSeconds=300,
                                                          movingSegmentation=rows[1].labels)
        self.assertEqual(result.volume.GetImageData().GetDimensions(), fixed.GetImageData().GetDimensions())
        self.assertTrue(result.transform and result.jacobian and result.segmentation)
        self.assertIsNone(moving.GetParentTransformNode())
        self.assertGreater(result.report["jacobian_min"], -1.0)
        self.delayDisplay("Test passed")

    def environment(self) -> environment.Environment:
        """What the Python that computes has; waits for its answer."""
        asked = environment.probe(None)
        while (found := asked.poll()) is None:
            slicer.app.processEvents()
            time.sleep(0.05)
        return found

    def work(self, jobs: Jobs, folder: Path, verb: str, **arguments: Any) -> None:
        """Run a job to its end; a few seconds of computing are enough here."""
        jobs.submit(folder, JobRequest(verb, {"minutes": 0.05, "device": "cpu", "threads": 1, **arguments}))
        waitFor(jobs, folder, timeoutSeconds=300)
        jobs.markImported(folder)

    def ball(self, number: int) -> logic.CaseRow:
        """A smooth ball of its own position, and its label map."""
        axes = np.meshgrid(*[np.arange(16.0)] * 3, indexing="ij")
        center = 7.5 + np.random.default_rng(number).uniform(-1.5, 1.5, 3)
        radius = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(axes, center, strict=True)))
        to_ras = np.diag([2.0, 2.0, 2.0, 1.0])
        volume = slicer.util.addVolumeFromArray(
            (100 * np.exp(-((radius / 4) ** 2))).astype(np.float32), to_ras, f"ball {number}")
        labels = slicer.util.addVolumeFromArray(
            (radius < 4).astype(np.uint8), to_ras, f"ball {number} labels", "vtkMRMLLabelMapVolumeNode")
        return logic.CaseRow(f"subject {number}", volume, labels)
