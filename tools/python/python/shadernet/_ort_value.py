"""Values on their way into and out of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np

from . import _dlpack
from ._memory import GPU, on_device
from ._shadernet import DeviceValue
from ._types import element_number, element_type, type_text


class OrtValue:
    """A tensor in host memory or on a device, a sequence, a map, or an optional without a value."""

    def __init__(self, value: Any, data_type: Optional[str] = None) -> None:
        self._value = value
        self._type = data_type

    @classmethod
    def ortvalue_from_numpy(
        cls, numpy_obj: np.ndarray, /, device_type: str = "cpu", device_id: int = 0, vendor_id: int = -1
    ) -> OrtValue:
        """A value over an array, whose memory they share where it is contiguous; or, with device type ``gpu``, a copy on
        the device. ``device_id`` is a number in :func:`shadernet.adapters`; 0 is the one that sessions take by default.
        """
        if not isinstance(numpy_obj, np.ndarray) or numpy_obj.dtype.kind in "USOT":
            raise RuntimeError("Creation of OrtValues is currently only supported from non-string numpy arrays")
        element_number(numpy_obj.dtype)
        if on_device(device_type):
            return cls(DeviceValue(numpy_obj, {"device_id": str(device_id)} if device_id else {}))
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
        zeros = np.zeros(shape, _element_type(element_type))
        return cls.ortvalue_from_numpy(zeros, device_type, device_id)

    @classmethod
    def from_dlpack(cls, data: Any, /) -> OrtValue:
        """A value over the memory of an object that speaks DLPack, or of a capsule of its."""
        return cls.ortvalue_from_numpy(_dlpack.to_numpy(data))

    @property
    def _on_device(self) -> bool:
        return isinstance(self._value, DeviceValue)

    def _tensor(self) -> Union[np.ndarray, DeviceValue]:
        if not self.is_tensor():
            raise RuntimeError(f"Only OrtValues that hold tensors have that; this one is {self.data_type()}")
        return self._value  # type: ignore[no-any-return]

    def _array(self) -> np.ndarray:
        value = self._tensor()
        return value.numpy() if isinstance(value, DeviceValue) else value

    def _memory(self) -> np.ndarray:
        value = self._tensor()
        if isinstance(value, DeviceValue):
            raise BufferError("memory on a device has no address: numpy() gives a copy")
        return value

    def numpy(self) -> np.ndarray:
        """The array, which shares this value's memory, or is a copy of what lies on a device; a ``RuntimeError`` where it is
        no tensor.
        """
        return self._array()

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> np.ndarray:
        array = self._array() if dtype is None else self._array().astype(dtype, copy=False)
        return array.copy() if copy else array

    def __dlpack__(self, *, stream: Any = None, **kwargs: Any) -> Any:
        """A capsule over this value's memory, for ``from_dlpack`` of other libraries; a ``BufferError`` on a device."""
        return _dlpack.from_numpy(self._memory())

    def __dlpack_device__(self) -> tuple[int, int]:
        """Host memory or WebGPU's, in DLPack's numbers."""
        return (15 if self._on_device else 1, 0)

    def update_inplace(self, data: Union[np.ndarray, OrtValue]) -> None:
        """Copies another array of as many elements of the same type into this value's memory."""
        source, target = data._array() if isinstance(data, OrtValue) else data, self._tensor()
        if not isinstance(source, np.ndarray):
            raise TypeError("data must be a numpy.ndarray or an OrtValue.")
        if source.size != math.prod(target.shape) or source.dtype != target.dtype:
            raise RuntimeError("The input size of numpy arrays does not match the size of the OrtValue.")
        source = source.reshape(target.shape)
        if isinstance(target, DeviceValue):
            target.write(source)
        else:
            target[...] = source

    def data_ptr(self) -> int:
        """The address of the first element; a ``BufferError`` on a device."""
        return self._memory().ctypes.data

    def device_name(self) -> str:
        """``cpu`` in host memory, ``gpu`` on a device."""
        return GPU if self._on_device else "cpu"

    def shape(self) -> list[int]:
        """The extents of a tensor."""
        return list(self._tensor().shape)

    def data_type(self) -> str:
        """Such as ``tensor(float)``, ``seq(tensor(int64))``."""
        if self.is_tensor():
            return type_text(self._value.dtype)
        return self._type or ""

    def element_type(self) -> int:
        """ONNX's number of a tensor's element type."""
        return element_number(self._tensor().dtype)

    def tensor_size_in_bytes(self) -> int:
        """The bytes of a tensor."""
        tensor = self._tensor()
        return math.prod(tensor.shape) * tensor.dtype.itemsize

    def has_value(self) -> bool:
        """False for an optional without a value."""
        return self._value is not None

    def is_tensor(self) -> bool:
        """Whether this is a tensor."""
        return isinstance(self._value, (np.ndarray, DeviceValue))

    def is_sparse_tensor(self) -> bool:
        """False: sparse tensors are written out."""
        return False

    def is_tensor_sequence(self) -> bool:
        """Whether this is a sequence of tensors."""
        return isinstance(self._value, list) and not any(isinstance(v, dict) for v in self._value)


_element_type = element_type
