"""Arrays of either library, segment algebra, specs and errors."""

from tod.base.arrays import Array, constant_like, detach, is_numpy, namespace, to_numpy
from tod.base.errors import (
    DataError,
    MissingLogProbs,
    MissingPackage,
    ModelError,
    ResourceError,
    RunError,
    SpecError,
    TodError,
    UtilityError,
)
from tod.base.groups import Grid, Groups
from tod.base.spec import FileName, Named, Spec, concrete, explain, load_all, tagged
from tod.base.unknown import Unknown, UnknownKind
from tod.base.yaml_data import parse_yaml, read_mapping, read_yaml

__all__ = [
    "Array",
    "DataError",
    "FileName",
    "Grid",
    "Groups",
    "MissingLogProbs",
    "MissingPackage",
    "ModelError",
    "Named",
    "ResourceError",
    "RunError",
    "Spec",
    "SpecError",
    "TodError",
    "Unknown",
    "UnknownKind",
    "UtilityError",
    "concrete",
    "constant_like",
    "detach",
    "explain",
    "is_numpy",
    "load_all",
    "namespace",
    "parse_yaml",
    "read_mapping",
    "read_yaml",
    "tagged",
    "to_numpy",
]
