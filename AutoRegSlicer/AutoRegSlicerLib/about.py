"""What the module says of itself: help with links, a tutorial to follow, and a citation to copy."""

from __future__ import annotations

from slicer.i18n import tr as _

#: the extension's page; every address in the help begins with it
HOMEPAGE = "https://example.org/SlicerAutoReg"
PAPER = "https://arxiv.org/abs/2203.06810"
CITATION = (
    "Fan X, Li Z, Li Z, Wang X, Liu R, Luo Z, Huang H. Automated Learning for Deformable Medical Image Registration "
    "by Jointly Optimizing Network Architectures and Objective Functions. arXiv:2203.06810."
)


def helpText() -> str:
    """The text under Help, with links."""
    parts = [
        _("Registers two volumes, with a trained network or without one, and searches, on your own data, for the "
          "network and the loss that register them best. Everything is computed on this computer; nothing is sent "
          "anywhere."),
        _("To try it: Sample Data, AutoReg, AutoRegBrainPair; then open AutoReg and press Apply. The "
          "<a href=\"{tutorial}\">tutorial</a> goes on from there.").format(tutorial=f"{HOMEPAGE}#in-3d-slicer"),
        _("<a href=\"{home}\">Home page</a>, <a href=\"{guide}\">guide with pictures</a>, "
          "<a href=\"{issues}\">report a problem</a>.").format(
              home=HOMEPAGE, guide=f"{HOMEPAGE}/blob/main/docs/slicer.md", issues=f"{HOMEPAGE}/issues"),
    ]
    return "".join(f"<p>{part}</p>" for part in parts)


def acknowledgementText() -> str:
    """Whose method it is, and what to cite."""
    return "".join(f"<p>{part}</p>" for part in (
        _("If you publish results, please cite the <a href=\"{paper}\">method</a>:").format(paper=PAPER),
        CITATION,
        _("No clinical device: results are for research."),
    ))
