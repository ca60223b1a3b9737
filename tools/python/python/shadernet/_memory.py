"""Host memory, the only one that values lie in."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def on_host(device_type: str) -> None:
    """A ``RuntimeError`` unless the memory asked for is the host's."""
    if device_type.lower() != "cpu":
        raise RuntimeError(f"Can't allocate memory on device type {device_type!r}: values lie in host memory ('cpu').")


def array_at(address: int, dtype: np.dtype, shape: Sequence[int], owner: Any = None) -> np.ndarray:
    """An array over memory that the caller, or `owner`, keeps."""
    memory = (ctypes.c_ubyte * (math.prod(shape) * dtype.itemsize)).from_address(address)
    memory.owner = owner  # type: ignore[attr-defined]
    array: np.ndarray = np.ndarray(shape, dtype, memory)  # type: ignore[arg-type]
    return array
