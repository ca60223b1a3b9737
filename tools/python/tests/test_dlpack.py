"""Arrays of other libraries, by DLPack."""

import ml_dtypes
import models
import numpy as np
import pytest
import shadernet
from onnx import TensorProto as T


class Foreign:
    """An array of a library that speaks nothing but DLPack."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **kwargs):
        return shadernet.OrtValue.ortvalue_from_numpy(self._array).__dlpack__()

    def __dlpack_device__(self):
        return (1, 0)


def test_foreign_arrays_are_fed(providers):
    s = shadernet.InferenceSession(models.ADD, providers=providers)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    (made,) = s.run(None, {"x": Foreign(x), "y": x})
    np.testing.assert_array_equal(made, 2 * x)


@pytest.mark.parametrize("dtype", ["f4", "f2", "f8", "i8", "u1", "?", "c8"])
def test_types_of_numpy(dtype):
    given = np.array([[0, 1, 1]]).astype(dtype)
    value = shadernet.OrtValue.from_dlpack(given)
    assert value.data_ptr() == given.ctypes.data
    back = np.from_dlpack(value)
    assert back.dtype == given.dtype and back.ctypes.data == given.ctypes.data
    np.testing.assert_array_equal(back, given)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"])
def test_types_of_ml_dtypes(name):
    given = np.array([0.5, 1, 2]).astype(getattr(ml_dtypes, name))
    value = shadernet.OrtValue.ortvalue_from_numpy(given)
    assert value.__dlpack_device__() == (1, 0)
    back = shadernet.OrtValue.from_dlpack(value.__dlpack__())
    assert back.data_ptr() == given.ctypes.data and back.numpy().dtype == given.dtype


def test_outputs_go_out(providers):
    s = shadernet.InferenceSession(models.ADD, providers=providers)
    feed = {n: shadernet.OrtValue.ortvalue_from_numpy(np.ones((1, 3), np.float32)) for n in "xy"}
    (made,) = s.run_with_ort_values(None, feed)
    assert np.from_dlpack(made).tolist() == [[2, 2, 2]]


def test_capsules_are_used_once():
    capsule = np.ones(2).__dlpack__()
    shadernet.OrtValue.from_dlpack(capsule)
    for given in [capsule, 5, "abc"]:
        with pytest.raises(TypeError):
            shadernet.OrtValue.from_dlpack(given)


def test_types_that_share_bytes_stay():
    with pytest.raises(BufferError):
        shadernet.OrtValue.ortvalue_from_numpy(np.ones(2, ml_dtypes.int4)).__dlpack__()


@pytest.mark.parametrize("number", [T.FLOAT, T.BOOL, T.BFLOAT16, T.FLOAT8E4M3FN, T.FLOAT8E5M2, T.FLOAT8E5M2FNUZ])
def test_onnxruntime_takes_them_for_the_same(number):
    onnxruntime = pytest.importorskip("onnxruntime", minversion="1.32")
    ours = shadernet.OrtValue.ortvalue_from_shape_and_type([2, 3], number)
    theirs = onnxruntime.OrtValue.from_dlpack(ours)
    assert theirs.element_type() == number and theirs.data_ptr() == ours.data_ptr()
    back = shadernet.OrtValue.from_dlpack(theirs)
    assert back.element_type() == number and back.shape() == [2, 3] and back.data_ptr() == ours.data_ptr()


def test_bfloat16_with_torch():
    torch = pytest.importorskip("torch")
    value = shadernet.OrtValue.from_dlpack(torch.tensor([1.5, 2], dtype=torch.bfloat16))
    assert value.element_type() == T.BFLOAT16 and torch.from_dlpack(value).tolist() == [1.5, 2]
