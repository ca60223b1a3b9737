"""Where values lie: in host memory, or on a device."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import numpy as np


GPU = "gpu"


def on_device(device_type: str) -> bool:
    """Whether memory is asked for on a device, not on the host; a ``RuntimeError`` for other kinds of memory."""
    kind = device_type.lower()
    if kind not in ("cpu", GPU, "webgpu"):
        raise RuntimeError(
            f"Can't allocate memory on device type {device_type!r}: values lie in host memory ('cpu') or on a device ('gpu')."
        )
    return kind != "cpu"


def on_host(device_type: str) -> None:
    """A ``RuntimeError`` unless an address is one of the host's."""
    if on_device(device_type):
        raise RuntimeError("Memory on a device has no address: bind an OrtValue that lies there.")


def array_at(address: int, dtype: np.dtype, shape: Sequence[int], owner: Any = None) -> np.ndarray:
    """An array over memory that the caller, or `owner`, keeps."""
    memory = (ctypes.c_ubyte * (math.prod(shape) * dtype.itemsize)).from_address(address)
    memory.owner = owner  # type: ignore[attr-defined]
    array: np.ndarray = np.ndarray(shape, dtype, memory)  # type: ignore[arg-type]
    return array
