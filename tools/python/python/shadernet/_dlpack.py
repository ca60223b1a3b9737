"""DLPack in and out, for all element types that take whole bytes.

numpy speaks DLPack for its own types only. Those of ml_dtypes travel as integers of their size, and the type's code in
the capsule's struct is put right on the way.
"""

from __future__ import annotations

import ctypes
from typing import Any

import ml_dtypes
import numpy as np

from ._memory import array_at

# DLDataTypeCode, and bits, of types that numpy does not know
_CODES = {
    (4, 16): ml_dtypes.bfloat16,
    (10, 8): ml_dtypes.float8_e4m3fn,
    (11, 8): ml_dtypes.float8_e4m3fnuz,
    (12, 8): ml_dtypes.float8_e5m2,
    (13, 8): ml_dtypes.float8_e5m2fnuz,
    (14, 8): ml_dtypes.float8_e8m0fnu,
}
_UNSIGNED = 1


class _Tensor(ctypes.Structure):
    """The head of DLManagedTensor."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
    ]


_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def _head(capsule: Any) -> _Tensor:
    try:
        address = _pointer(capsule, b"dltensor")
    except (ValueError, ctypes.ArgumentError):
        raise TypeError("expected a DLPack capsule named 'dltensor' that nobody has used yet") from None
    return _Tensor.from_address(address)


class _Holder:
    """What numpy asks for a capsule."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def to_numpy(given: Any) -> np.ndarray:
    """An array over the memory of an object that speaks DLPack, or of a capsule; a ``TypeError`` for anything else."""
    capsule = given.__dlpack__() if hasattr(given, "__dlpack__") else given
    head = _head(capsule)
    if head.device_type != 1:
        raise RuntimeError(f"DLPack device type {head.device_type}: only host memory can be read")
    wanted = _CODES.get((head.code, head.bits))
    if wanted is not None:
        head.code = _UNSIGNED
    array = np.from_dlpack(_Holder(capsule))
    array = array if wanted is None else array.view(wanted)
    # such a capsule cannot say that memory is read-only, so numpy, to be safe, takes it for that
    return array_at(array.ctypes.data, array.dtype, array.shape, array) if array.flags.c_contiguous else array


def from_numpy(array: np.ndarray) -> Any:
    """A capsule over an array's memory; a ``BufferError`` for types that share bytes."""
    code = next((code for code, t in _CODES.items() if array.dtype == t), None)
    if code is None:
        return array.__dlpack__()
    capsule = array.view(f"u{array.dtype.itemsize}").__dlpack__()
    _head(capsule).code = code[0]
    return capsule
