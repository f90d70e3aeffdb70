"""The searched thing as a readable literal: which operator sits on which edge of which cell at which scale."""

from __future__ import annotations

from dataclasses import dataclass, fields
from random import Random

from AutoRegLib.core.errors import InputError

#: The candidates of the default search space (METHOD 1.2), in the order of the architecture logits.
OPERATORS = ("conv1", "conv3", "conv5", "sep3", "sep5", "dil3", "dil5", "dil7")
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
