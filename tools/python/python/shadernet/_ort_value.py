"""Values on their way into and out of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np

from . import _dlpack
from ._memory import on_host
from ._types import element_number, element_type, type_text


class OrtValue:
    """A tensor in host memory, a sequence, a map, or an optional without a value."""

    def __init__(self, value: Any, data_type: Optional[str] = None) -> None:
        self._value = value
        self._type = data_type

    @classmethod
    def ortvalue_from_numpy(
        cls, numpy_obj: np.ndarray, /, device_type: str = "cpu", device_id: int = 0, vendor_id: int = -1
    ) -> OrtValue:
        """A value over an array, whose memory they share where it is contiguous."""
        on_host(device_type)
        if not isinstance(numpy_obj, np.ndarray) or numpy_obj.dtype.kind in "USOT":
            raise RuntimeError("Creation of OrtValues is currently only supported from non-string numpy arrays")
        element_number(numpy_obj.dtype)
        return cls(numpy_obj if numpy_obj.flags.c_contiguous else numpy_obj.copy("C"))

    @classmethod
    def ortvalue_from_numpy_with_onnx_type(cls, data: np.ndarray, /, onnx_element_type: int) -> OrtValue:
        """A value whose elements are an array's bits, read as another type of the same size."""
        wanted = element_type(onnx_element_type)
        if wanted.itemsize != data.dtype.itemsize:
            raise RuntimeError(f"elements of {data.dtype} and {wanted} differ in size")
        return cls.ortvalue_from_numpy(np.require(data, requirements="C").view(wanted))

    @classmethod
    def ortvalue_from_shape_and_type(
        cls,
        shape: Sequence[int],
        element_type: Any,
        device_type: str = "cpu",
        device_id: int = 0,
        vendor_id: int = -1,
    ) -> OrtValue:
        """A value of zeros. ``element_type``: a type of numpy's or ml_dtypes', or a number of ONNX's."""
        on_host(device_type)
        return cls.ortvalue_from_numpy(np.zeros(shape, _element_type(element_type)))

    @classmethod
    def from_dlpack(cls, data: Any, /) -> OrtValue:
        """A value over the memory of an object that speaks DLPack, or of a capsule of its."""
        return cls.ortvalue_from_numpy(_dlpack.to_numpy(data))

    def _array(self) -> np.ndarray:
        if not isinstance(self._value, np.ndarray):
            raise RuntimeError(f"Only OrtValues that hold tensors have that; this one is {self.data_type()}")
        return self._value

    def numpy(self) -> np.ndarray:
        """The array, which shares this value's memory; a ``RuntimeError`` where it is no tensor."""
        return self._array()

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> np.ndarray:
        array = self._array() if dtype is None else self._array().astype(dtype, copy=False)
        return array.copy() if copy else array

    def __dlpack__(self, *, stream: Any = None, **kwargs: Any) -> Any:
        """A capsule over this value's memory, for ``from_dlpack`` of other libraries."""
        return _dlpack.from_numpy(self._array())

    def __dlpack_device__(self) -> tuple[int, int]:
        """Host memory, in DLPack's numbers."""
        return (1, 0)

    def update_inplace(self, data: Union[np.ndarray, OrtValue]) -> None:
        """Copies another array of as many elements of the same type into this value's memory."""
        source, target = data._array() if isinstance(data, OrtValue) else data, self._array()
        if not isinstance(source, np.ndarray):
            raise TypeError("data must be a numpy.ndarray or an OrtValue.")
        if source.size != target.size or source.dtype != target.dtype:
            raise RuntimeError("The input size of numpy arrays does not match the size of the OrtValue.")
        target[...] = source.reshape(target.shape)

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._array().ctypes.data

    def device_name(self) -> str:
        """``cpu``: values lie in host memory."""
        return "cpu"

    def shape(self) -> list[int]:
        """The extents of a tensor."""
        return list(self._array().shape)

    def data_type(self) -> str:
        """Such as ``tensor(float)``, ``seq(tensor(int64))``."""
        if isinstance(self._value, np.ndarray):
            return type_text(self._value.dtype)
        return self._type or ""

    def element_type(self) -> int:
        """ONNX's number of a tensor's element type."""
        return element_number(self._array().dtype)

    def tensor_size_in_bytes(self) -> int:
        """The bytes of a tensor."""
        return self._array().nbytes

    def has_value(self) -> bool:
        """False for an optional without a value."""
        return self._value is not None

    def is_tensor(self) -> bool:
        """Whether this is a tensor."""
        return isinstance(self._value, np.ndarray)

    def is_sparse_tensor(self) -> bool:
        """False: sparse tensors are written out."""
        return False

    def is_tensor_sequence(self) -> bool:
        """Whether this is a sequence of tensors."""
        return isinstance(self._value, list) and not any(isinstance(v, dict) for v in self._value)


_element_type = element_type
