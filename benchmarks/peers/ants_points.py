"""ANTs by antspyx: points through transforms that we wrote.

``python ants_points.py FOLDER``: for every line of FOLDER/asked.json, [transform, points, points that came out].
"""

import json
import sys
from pathlib import Path

import ants
import numpy as np
import pandas

folder = Path(sys.argv[1])
for transform, given, found in json.loads((folder / "asked.json").read_text()):
    points = pandas.DataFrame(np.load(folder / given), columns=["x", "y", "z"])
    moved = ants.apply_transforms_to_points(3, points, [str(folder / transform)], whichtoinvert=[False])
    np.save(folder / found, moved[["x", "y", "z"]].to_numpy())
