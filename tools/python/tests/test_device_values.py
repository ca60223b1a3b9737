"""Values that stay on the device from run to run."""

import models
import ml_dtypes
import numpy as np
import pytest
import shadernet
from shadernet.capi.onnxruntime_pybind11_state import InvalidArgument

DEVICE = "ShadernetExecutionProvider"
pytestmark = pytest.mark.skipif(DEVICE not in shadernet.get_available_providers(), reason="no device")
X, ONE = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), np.float32)
OrtValue = shadernet.OrtValue


def on_device(array):
    return OrtValue.ortvalue_from_numpy(array, "gpu", 0)


def session(model=models.ADD, **options):
    return shadernet.InferenceSession(model, providers=[(DEVICE, options)])


@pytest.mark.parametrize(
    "dtype",
    [np.float32, np.float64, np.float16, np.int64, np.uint64, np.int32, np.int16, np.uint8, np.bool_]
    + [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn],
)
def test_arrays_come_back_as_they_went(dtype):
    a = np.array([[0, 1, 2], [3, 1, 0]]).astype(dtype)
    v, host = on_device(a), OrtValue.ortvalue_from_numpy(a)
    assert (v.device_name(), host.device_name()) == ("gpu", "cpu")
    assert v.is_tensor() and v.has_value() and not v.is_tensor_sequence()
    for get in ["shape", "data_type", "element_type", "tensor_size_in_bytes"]:
        assert getattr(v, get)() == getattr(host, get)()
    assert v.numpy().dtype == a.dtype and v.numpy().tobytes() == a.tobytes()
    v.update_inplace(a[::-1].copy())
    assert np.asarray(v).tobytes() == a[::-1].tobytes()
    # a copy, not a view
    v.numpy()[...] = 0
    assert v.numpy().tobytes() == a[::-1].tobytes()


def test_what_device_memory_is_not():
    v = on_device(X)
    with pytest.raises(BufferError, match="numpy"):
        v.data_ptr()
    with pytest.raises(BufferError, match="numpy"):
        np.from_dlpack(v)
    with pytest.raises(RuntimeError, match="does not match"):
        v.update_inplace(np.zeros(5, np.float32))
    binding = session().io_binding()
    with pytest.raises(RuntimeError, match="no address"):
        binding.bind_input("x", "gpu", 0, np.float32, [2, 3], X.ctypes.data)
    with pytest.raises(RuntimeError, match="'cuda'"):
        binding.bind_output("z", "cuda")
    interpreter = shadernet.InferenceSession(models.ADD, providers=["CPUExecutionProvider"]).io_binding()
    with pytest.raises(RuntimeError, match="interpreter"):
        interpreter.bind_output("z", "gpu")
    with pytest.raises(RuntimeError, match="interpreter"):
        interpreter.bind_ortvalue_output("z", v)


def test_runs_take_values_from_any_place():
    feed = {"x": on_device(X), "y": ONE}
    for s in [session(), session(profile="base"), shadernet.InferenceSession(models.ADD, providers=["CPUExecutionProvider"])]:
        assert (s.run(None, feed)[0] == X + 1).all()
        z = s.run_with_ort_values(None, {"x": feed["x"], "y": OrtValue.ortvalue_from_numpy(ONE)})[0]
        assert z.device_name() == "cpu" and (z.numpy() == X + 1).all()
    with pytest.raises(InvalidArgument, match="Unexpected input data type"):
        session().run(None, {"x": on_device(X.astype(np.float64)), "y": ONE})


def test_outputs_stay_and_become_inputs():
    s = session()
    binding = s.io_binding()
    binding.bind_ortvalue_input("y", on_device(ONE))
    binding.bind_output("z", "gpu")
    state, made = on_device(X), []
    for _ in range(20):
        binding.bind_ortvalue_input("x", state)
        s.run_with_iobinding(binding)
        state = binding.get_outputs()[0]
        made.append(state)
    binding.synchronize_outputs()
    assert state.device_name() == "gpu" and state.data_type() == "tensor(float)" and state.shape() == [2, 3]
    # each run has memory of its own
    for k, value in enumerate(made):
        assert (value.numpy() == X + k + 1).all()
    assert (binding.copy_outputs_to_cpu()[0] == X + 20).all()


def test_outputs_go_into_memory_that_is_bound():
    s = session()
    binding = s.io_binding()
    x = on_device(X)
    binding.bind_ortvalue_input("x", x)
    binding.bind_cpu_input("y", ONE)
    # in place
    binding.bind_ortvalue_output("z", x)
    for _ in range(3):
        s.run_with_iobinding(binding)
    binding.synchronize_inputs()
    assert binding.get_outputs() == [x] and (x.numpy() == X + 3).all()
    zeros = OrtValue.ortvalue_from_shape_and_type([3, 2], np.float32, "gpu", 0)
    binding.bind_ortvalue_output("z", zeros)
    with pytest.raises(InvalidArgument, match="float\\[3, 2\\]"):
        s.run_with_iobinding(binding)
    assert not zeros.numpy().any()
    other = session(profile="base").io_binding()
    other.bind_cpu_input("x", X)
    other.bind_cpu_input("y", ONE)
    other.bind_ortvalue_output("z", x)
    with pytest.raises(InvalidArgument, match="another device"):
        other._session.run_with_iobinding(other)


def test_some_outputs_stay_and_others_come():
    s = session(models.NET)
    images = np.random.default_rng(3).random((2, 3, 16, 16), np.float32)
    wanted = s.run(["y", "r"], {"x": images})
    binding = s.io_binding()
    binding.bind_cpu_input("x", images)
    binding.bind_output("r", "gpu")
    binding.bind_output("y")
    s.run_with_iobinding(binding)
    r, y = binding.get_outputs()
    assert (r.device_name(), y.device_name()) == ("gpu", "cpu")
    np.testing.assert_array_equal(y.numpy(), wanted[0])
    np.testing.assert_array_equal(r.numpy(), wanted[1])
