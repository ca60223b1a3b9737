"""Arrays of every kind and type, in and out."""

import ml_dtypes
import models
import numpy as np
import pytest
import shadernet
from onnx import TensorProto as T
from shadernet.capi.onnxruntime_pybind11_state import InvalidArgument

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def identity(number, providers):
    x, y = (models.value(name, number, None) for name in "xy")
    return shadernet.InferenceSession(models.one("Identity", [x], [y], opset=25), providers=providers)


@pytest.mark.parametrize(
    "given",
    [X, X.T, X[::-1], X[:, ::2], X[..., 1:], X[:, :0], X[0, 0, 0:1].reshape(()), np.asfortranarray(X), X.astype(">f4")],
    ids=["whole", "transposed", "reversed", "stepped", "cut", "empty", "scalar", "columns", "big-endian"],
)
def test_arrays_of_every_layout(given, providers):
    (made,) = identity(T.FLOAT, providers).run(None, {"x": given})
    assert made.dtype == np.float32 and made.shape == given.shape
    np.testing.assert_array_equal(made, given)


SMALL = {
    T.BFLOAT16: ml_dtypes.bfloat16,
    T.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn,
    T.FLOAT8E4M3FNUZ: ml_dtypes.float8_e4m3fnuz,
    T.FLOAT8E5M2: ml_dtypes.float8_e5m2,
    T.FLOAT8E5M2FNUZ: ml_dtypes.float8_e5m2fnuz,
    T.FLOAT8E8M0: ml_dtypes.float8_e8m0fnu,
    T.FLOAT4E2M1: ml_dtypes.float4_e2m1fn,
    T.INT4: ml_dtypes.int4,
    T.UINT4: ml_dtypes.uint4,
}
# onnx for Python 3.9 does not know them
INT2 = getattr(T, "INT2", None)
if INT2:
    SMALL |= {T.INT2: ml_dtypes.int2, T.UINT2: ml_dtypes.uint2}


@pytest.mark.parametrize("number", SMALL, ids=T.DataType.Name)
def test_types_of_ml_dtypes(number, providers):
    dtype = np.dtype(SMALL[number])
    values = [-2, -1, 0, 1] if number in (T.INT4, INT2) else [0.5, 1, 2, 1] if number == T.FLOAT8E8M0 else [0, 1, 2, 3]
    given = np.array(values).astype(dtype)
    s = identity(number, providers)
    (made,) = s.run(None, {"x": given[::-1]})
    assert s.get_inputs()[0].type == shadernet.OrtValue.ortvalue_from_numpy(given).data_type()
    assert made.dtype == dtype
    np.testing.assert_array_equal(made.astype(np.float32), given[::-1].astype(np.float32))
    x, y = models.value("x", number, None), models.value("y", T.FLOAT, None)
    cast = shadernet.InferenceSession(models.one("Cast", [x], [y], opset=25, to=T.FLOAT), providers=providers)
    np.testing.assert_array_equal(cast.run(None, {"x": given})[0], given.astype(np.float32))


def test_int4_ignores_the_bits_above():
    codes = np.array([0xF7, 0x0F, 0x18], np.uint8).view(ml_dtypes.int4)
    x, y = models.value("x", T.INT4, None), models.value("y", T.INT32, None)
    cast = shadernet.InferenceSession(
        models.one("Cast", [x], [y], opset=25, to=T.INT32), None, ["CPUExecutionProvider"]
    )
    assert cast.run(None, {"x": codes})[0].tolist() == [7, -1, -8]


def test_complex_numbers_on_the_interpreter():
    given = np.array([1 + 2j, 3], np.complex64)
    np.testing.assert_array_equal(identity(T.COMPLEX64, ["CPUExecutionProvider"]).run(None, {"x": given})[0], given)


@pytest.mark.parametrize("given", [np.array([b"a", b"cc"]), np.array([b"a", "cc"], object)], ids=["bytes", "objects"])
def test_strings_from_bytes(given, providers):
    (made,) = shadernet.InferenceSession(models.STRINGS, providers=providers).run(None, {"x": given})
    assert made.tolist() == ["a", "cc"]


def test_items_of_sequences_are_checked(providers):
    s = shadernet.InferenceSession(models.AT, providers=providers)
    with pytest.raises(InvalidArgument, match="tensor.double"):
        s.run(None, {"s": [X.astype(np.float64)], "i": np.array(0)})


def test_types_without_a_number(providers):
    with pytest.raises(RuntimeError, match="datetime64"):
        identity(T.INT64, providers).run(None, {"x": np.zeros(2, "M8[s]")})


def test_outputs_are_the_callers_own(providers):
    given = X.copy()
    (made,) = identity(T.FLOAT, providers).run(None, {"x": given})
    made[...] = -1
    np.testing.assert_array_equal(given, X)
    weights = shadernet.InferenceSession(models.DEFAULT, providers=providers)
    for _ in range(2):
        (made,) = weights.run(None, {"x": np.zeros(2, np.float32)})
        assert made.tolist() == [1, 2]
        made[...] = -1


def test_arrays_outlive_their_sessions(providers):
    s = shadernet.InferenceSession(models.NET, providers=providers)
    made = s.run(None, {"x": np.ones((1, 3, 16, 16), np.float32)})
    kept = [m.copy() for m in made]
    del s
    for a, b in zip(made, kept):
        np.testing.assert_array_equal(a, b)


def test_large_arrays_are_not_copied():
    resource = pytest.importorskip("resource")
    mebibyte = 1 << 20
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // mebibyte  # noqa: E731
    cpu = ["CPUExecutionProvider"]
    x, y = models.value("x", T.FLOAT, [None]), models.value("y", T.INT64, [1])
    shape_of = shadernet.InferenceSession(models.one("Shape", [x], [y]), providers=cpu)
    fill = models.one("ConstantOfShape", [models.value("x", T.INT64, [1])], [models.value("y", T.FLOAT, [None])])
    fill = shadernet.InferenceSession(fill, providers=cpu)
    before = peak()
    # the pages of this array are never touched, unless it is copied
    assert shape_of.run(None, {"x": np.zeros(200 * mebibyte, np.float32)})[0] == [200 * mebibyte]
    assert peak() - before < 400
    (made,) = fill.run(None, {"x": np.array([100 * mebibyte])})
    assert made.shape == (100 * mebibyte,) and not made[:: 1 << 10].any()
    assert peak() - before < 600
