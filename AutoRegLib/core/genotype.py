"""The searched thing as a readable literal: which operator sits on which edge of which cell at which scale."""

from __future__ import annotations

from dataclasses import dataclass, fields
from random import Random
from typing import Literal

from AutoRegLib.core.errors import InputError


@dataclass(frozen=True)
class Operator:
    """What is known of an operator without torch. Unit: voxels of its scale."""

    kind: Literal["convolution", "separable", "full separable"]
    kernel: int
    dilation: int = 1
    searched: bool = True  # one of the candidates of the default search space

    @property
    def reach(self) -> int:
        """How far it sees from the centre; the full separable one convolves twice."""
        return (2 if self.kind == "full separable" else 1) * self.dilation * (self.kernel - 1) // 2


OPERATOR_TABLE = {
    "conv1": Operator("convolution", 1),
    "conv3": Operator("convolution", 3),
    "conv5": Operator("convolution", 5),
    "sep3": Operator("separable", 3),
    "sep5": Operator("separable", 5),
    "dil3": Operator("convolution", 3, dilation=2),
    "dil5": Operator("convolution", 5, dilation=2),
    "dil7": Operator("convolution", 7, dilation=2),
    "fullsep3": Operator("full separable", 3, searched=False),
    "fullsep5": Operator("full separable", 5, searched=False),
}
#: The candidates of the default search space (docs/method.md, section 1.2), in the order of the architecture logits.
OPERATORS = tuple(name for name, operator in OPERATOR_TABLE.items() if operator.searched)
EDGES_PER_CELL = 3
#: The cells of the two-scale network, in the order in which a pass meets them.
CELLS = ("feature_half", "feature_quarter", "deformation_quarter", "deformation_half")

Edges = tuple[str, str, str]


@dataclass(frozen=True)
class Genotype:
    """One operator name per edge; 12 edges, 8^12 networks. Default: every edge ``conv3`` (Manual-Medium)."""

    feature_half: Edges = ("conv3",) * 3
    feature_quarter: Edges = ("conv3",) * 3
    deformation_quarter: Edges = ("conv3",) * 3
    deformation_half: Edges = ("conv3",) * 3

    def __post_init__(self) -> None:
        for field in fields(self):
            names = getattr(self, field.name)
            if len(names) != EDGES_PER_CELL:
                raise InputError(
                    f"cell {field.name} has the wrong number of edges", expected=EDGES_PER_CELL, got=len(names)
                )

    @classmethod
    def uniform(cls, operator: str) -> Genotype:
        """The same operator on every edge (Manual-Small/Medium/Large are conv1, conv3, dil7)."""
        edges: Edges = (operator, operator, operator)
        return cls(edges, edges, edges, edges)

    @classmethod
    def random(cls, rng: Random) -> Genotype:
        """Every edge's operator drawn from the eight, each as likely as the others."""

        def edges() -> Edges:
            return rng.choice(OPERATORS), rng.choice(OPERATORS), rng.choice(OPERATORS)

        return cls(edges(), edges(), edges(), edges())

    def cell(self, name: str) -> Edges:
        """The three operator names of one cell."""
        edges: Edges = getattr(self, name)
        return edges

    def reach(self, *cells: str) -> int:
        """How far the edges of these cells see, added up. Unit: voxels of each cell's scale. Raises InputError."""
        names = [name for cell in cells for name in self.cell(cell)]
        for name in names:
            if name not in OPERATOR_TABLE:
                raise InputError(f"unknown operator '{name}'", expected=", ".join(OPERATOR_TABLE), got=name)
        return sum(OPERATOR_TABLE[name].reach for name in names)
