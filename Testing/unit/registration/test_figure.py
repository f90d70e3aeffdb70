"""The picture of a registration says what it shows: measures on it, letters beside it, colors that can be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.colors import to_rgb

from AutoRegLib.figure_style import Sheet
from AutoRegLib.imaging.displacement import DisplacementField
from AutoRegLib.imaging.geometry import Geometry, lattice_points
from AutoRegLib.imaging.volume import Volume
from AutoRegLib.registration.figure import compose
from AutoRegLib.registration.figure_panels import CHANGE, VOLUME_CHANGE, Pictures
from AutoRegLib.registration.pair import PairInputs
from AutoRegLib.registration.report import ResultVolumes

SCORES = {"lncc_before": 0.1, "lncc": 0.4, "folds": 0, "fold_fraction": 0.0, "jacobian_min": 0.5,
          "log_jacobian_std": 0.1, "coverage": 1.0, "seconds": 3.0, "device": "cpu", "model": "model", "warnings": []}
LABELS = {"dice_before": {"mean": 0.31, "1": 0.31}, "dice_affine": {"mean": 0.5, "1": 0.5},
          "dice": {"mean": 0.92, "1": 0.92}}
TRUTH = {"truth_error_mm_before": 13.35, "truth_error_mm": 0.86}


def draw(*, labels: bool = True, dims: int = 3, **more: Any) -> Sheet:
    """The picture of a ball that was moved by two voxels."""
    grid = Geometry((20, 18, 16)[:dims], (2.0,) * dims, (-9.0,) * dims, tuple(np.eye(dims).ravel().tolist()))
    at = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)

    def ball(shift: float) -> np.ndarray:
        return (np.linalg.norm(at - np.array(grid.shape) / 2 - shift, axis=-1) < 5).astype(np.float32)

    fixed, moving = (Volume(100 * ball(shift), grid, "intensity") for shift in (0.0, 2.0))
    drawn = [Volume(ball(shift).astype(np.uint8), grid, "labels") if labels else None for shift in (0.0, 2.0)]
    field = DisplacementField(np.full((*grid.shape, dims), 4.0, np.float32), grid)
    jacobian = Volume(np.ones(grid.shape, np.float32), grid, "intensity")
    pair = PairInputs(fixed=fixed, moving=moving, files={}, fixed_labels=drawn[0], moving_labels=drawn[1])
    volumes = ResultVolumes(moving, fixed, jacobian, drawn[1], drawn[0])
    return compose(pair, field, volumes, SCORES | (LABELS if labels else {}) | more, names={1: "ball"})


def words(sheet: Sheet) -> list[str]:
    return [text.get_text() for text in sheet.figure.texts]


def test_overlap_and_true_error_stand_on_before_and_after() -> None:
    said = words(draw(**TRUTH))
    assert "Dice 0.31, 13.3 mm off" in said and "Dice 0.92, 0.9 mm off" in said
    assert not any("mm off" in text for text in words(draw()))  # the truth is known of made-up pairs only


def test_orientation_letters_stand_outside_of_the_pictures() -> None:
    sheet = draw()
    letters = [text for text in sheet.figure.texts if text.get_text() in set("RLAPSI")]
    assert len(letters) == 12
    sheet.figure.canvas.draw()
    panels = [image.get_window_extent() for axes in sheet.figure.axes for image in axes.get_images()]
    assert len(panels) == 21
    for letter in letters:
        assert not any(letter.get_window_extent().overlaps(panel) for panel in panels), letter.get_text()


def test_texts_do_not_run_into_each_other() -> None:
    sheet = draw(**TRUTH)
    sheet.figure.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in sheet.figure.texts if text.get_text()]
    for number, (first, box) in enumerate(boxes):
        assert not [second for second, other in boxes[number + 1:] if box.overlaps(other)], first


@pytest.mark.parametrize("dims", [2, 3])
def test_the_page_is_no_wider_than_a_screen_and_its_words_can_be_read(dims: int) -> None:
    sheet = draw(dims=dims)
    assert sheet.size[0] * 110 < 1600  # pixels, as saved
    assert min(text.get_fontsize() for text in sheet.figure.texts) >= 8


def test_without_labels_the_page_ends_with_its_figures() -> None:
    sheet = draw(labels=False)
    lowest = min(text.get_window_extent().y0 for text in sheet.figure.texts)
    assert lowest < 0.08 * sheet.figure.bbox.height
    assert not any("Dice" in text for text in words(sheet))


def test_no_change_of_volume_is_white_and_both_ways_are_colored() -> None:
    shrinks, keeps, grows = (np.array(to_rgb(VOLUME_CHANGE(CHANGE(value)))) for value in (0.5, 1.0, 2.0))
    assert keeps.min() > 0.98
    assert shrinks[2] > shrinks[0] + 0.4 and grows[0] > grows[2] + 0.4


def test_the_model_is_named_as_a_name() -> None:
    assert any(text.endswith("model “model”") for text in words(draw()))
    assert any(text.endswith("no trained model") for text in words(draw(model="none")))


@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, -1, 1, 0, 0, 0, -1, 0)])
def test_the_bend_of_a_slice_is_what_the_affine_part_leaves(direction: tuple[float, ...]) -> None:
    grid = Geometry((9, 8, 7), (1.0, 2.0, 3.0), (5.0, -4.0, 3.0), tuple(map(float, direction)))
    points = lattice_points(grid.size, grid.index_to_physical)
    bent = np.sin(points / 3) + points @ np.array([[0.1, 0.0, 0.02], [0.0, -0.1, 0.0], [0.0, 0.03, 0.2]]) + 1
    field = DisplacementField(bent.astype(np.float32), grid)
    image = Volume(points[..., 0].copy(), grid, "intensity")
    shown = Pictures(PairInputs(image, image), field, ResultVolumes(image, image, image))
    design = np.concatenate((points.reshape(-1, 3), np.ones((points[..., 0].size, 1))), axis=1)
    rest = bent.reshape(-1, 3) - design @ np.linalg.lstsq(design, bent.reshape(-1, 3), rcond=None)[0]
    whole = np.linalg.norm(rest, axis=1).reshape(grid.shape)
    assert whole.max() > 0.3
    for plane in shown.views.planes:
        assert np.abs(shown.bend(plane) - shown.views.cut(whole, plane)).max() < 1e-4
    assert shown.distance.vmax == pytest.approx(np.percentile(whole, 99), rel=0.05)
