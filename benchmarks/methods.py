"""Who registers: a table. A new peer is one row here and one file in ``peers``."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.environments import TORCH, Needs

ANTS = Needs(("antspyx",))
ELASTIX = Needs(("itk-elastix",))
FIREANTS = Needs(("fireants",), before=(TORCH,))
CONVEX = Needs(("convexAdam",), before=(TORCH,))
GREEDY = Needs(("picsl-greedy",))
NIFTYREG = Needs(("niftyreg",))


@dataclass(frozen=True)
class Method:
    """``script``: the file in ``peers``; empty for our own command line with ``options``."""

    title: str
    affine: bool
    environment: str = ""
    needs: Needs = Needs(())
    script: str = ""
    options: tuple[str, ...] = ()
    dimensions: tuple[int, ...] = (2, 3)  # of images that the peer, or what writes its field, takes

    @property
    def packages(self) -> tuple[str, ...]:
        """Whose versions the table names."""
        return tuple(name.split("==")[0] for name in (*self.needs.packages, *self.needs.before))


REFINE = ("--model", "none", "--refine", "auto")

METHODS: dict[str, Method] = {
    "autoreg-refine": Method("AutoReg, refinement alone", False, options=(*REFINE, "--affine", "none")),
    "autoreg-affine-refine": Method("AutoReg, affine + refinement alone", True, options=REFINE),
    "autoreg-network": Method(
        "AutoReg, affine + network, no refinement, all outputs and the inverse", True,
        options=("--model", "{bundle}", "--refine", "0", "--inverse")),
    "fireants": Method("FireANTs greedy, half resolution", False, "fireants", FIREANTS, "fireants_greedy.py",
                       dimensions=(3,)),
    "convexadam": Method("convexAdam (MIND), defaults", False, "convexadam", CONVEX, "convex_adam.py",
                         dimensions=(3,)),
    "ants-synonly": Method("ANTs SyN, deformable stage alone", False, "ants", ANTS, "ants_syn.py"),
    "ants-syn": Method("ANTs SyN, default preset (affine + SyN)", True, "ants", ANTS, "ants_syn.py"),
    "elastix-bspline": Method("elastix B-spline alone", False, "elastix", ELASTIX, "elastix_bspline.py"),
    "elastix": Method("elastix, affine + B-spline", True, "elastix", ELASTIX, "elastix_bspline.py"),
    "greedy-ncc": Method("Greedy, NCC 2x2x2 alone", False, "greedy", GREEDY, "picsl_greedy_ncc.py"),
    "greedy": Method("Greedy, affine + NCC 2x2x2", True, "greedy", GREEDY, "picsl_greedy_ncc.py"),
    "niftyreg": Method("NiftyReg reg_f3d, defaults", False, "niftyreg", NIFTYREG, "niftyreg_f3d.py"),
}
