"""What a model says of itself, and the names and numbers of element types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Union

import ml_dtypes
import numpy as np

Dim = Union[int, str, None]


@dataclass(frozen=True)
class NodeArg:
    """An input or output of a model."""

    name: str
    """The name to feed or ask for."""
    type: str
    """Such as ``tensor(float)``, ``seq(map(string,tensor(float)))``."""
    shape: list[Dim]
    """Extents: numbers, names of those that a caller chooses, ``None`` for those without a name."""

    def __str__(self) -> str:
        return f"NodeArg(name='{self.name}', type='{self.type}', shape={self.shape})"


@dataclass(frozen=True)
class ModelMetadata:
    """Who made a model, and what for."""

    custom_metadata_map: dict[str, str]
    description: str
    domain: str
    graph_description: str
    graph_name: str
    producer_name: str
    version: int


# by TensorProto.DataType: ONNX's name, and numpy's or ml_dtypes' type
_ELEMENTS: dict[int, tuple[str, Any]] = {
    1: ("float", np.float32),
    2: ("uint8", np.uint8),
    3: ("int8", np.int8),
    4: ("uint16", np.uint16),
    5: ("int16", np.int16),
    6: ("int32", np.int32),
    7: ("int64", np.int64),
    8: ("string", np.object_),
    9: ("bool", np.bool_),
    10: ("float16", np.float16),
    11: ("double", np.float64),
    12: ("uint32", np.uint32),
    13: ("uint64", np.uint64),
    14: ("complex64", np.complex64),
    15: ("complex128", np.complex128),
    16: ("bfloat16", ml_dtypes.bfloat16),
    17: ("float8e4m3fn", ml_dtypes.float8_e4m3fn),
    18: ("float8e4m3fnuz", ml_dtypes.float8_e4m3fnuz),
    19: ("float8e5m2", ml_dtypes.float8_e5m2),
    20: ("float8e5m2fnuz", ml_dtypes.float8_e5m2fnuz),
    21: ("uint4", ml_dtypes.uint4),
    22: ("int4", ml_dtypes.int4),
    23: ("float4e2m1", ml_dtypes.float4_e2m1fn),
    24: ("float8e8m0", ml_dtypes.float8_e8m0fnu),
    25: ("uint2", ml_dtypes.uint2),
    26: ("int2", ml_dtypes.int2),
}
_NUMBERS = {np.dtype(t): number for number, (_, t) in _ELEMENTS.items()}


def element_number(dtype: np.dtype) -> int:
    """ONNX's number of an array's element type; a ``RuntimeError`` where it has none."""
    if dtype.kind in "USOT":
        return 8
    try:
        return _NUMBERS[dtype.newbyteorder("=") if dtype.isbuiltin == 1 else dtype]
    except KeyError:
        raise RuntimeError(f"arrays of type {dtype} stand for no ONNX type") from None


def type_text(dtype: np.dtype) -> str:
    """The type of a tensor of such elements, such as ``tensor(float)``."""
    return f"tensor({_ELEMENTS[element_number(dtype)][0]})"


def element_type(given: Any) -> np.dtype:
    """The element type that a number of ONNX's, or anything that numpy takes for a type, stands for."""
    if isinstance(given, int):
        if given not in _ELEMENTS:
            raise ValueError(f"{given} is the number of no ONNX element type")
        given = _ELEMENTS[given][1]
    dtype: np.dtype = np.dtype(given)
    return dtype
