"""Sessions: threads, providers, options, profiles, bindings."""

import json
import threading
import time
import warnings

import models
import numpy as np
import pytest
import shadernet
from onnx import TensorProto as T
from onnx import helper as h
from shadernet.capi import onnxruntime_pybind11_state as state

IMAGES = np.random.default_rng(1).standard_normal((3, 3, 16, 16), np.float32)
HAS_DEVICE = shadernet.get_device() == "GPU"
on_device = pytest.mark.skipif(not HAS_DEVICE, reason="there is no device")


def test_threads_share_a_session(providers):
    s = shadernet.InferenceSession(models.NET, providers=providers)
    wanted = {n: s.run(None, {"x": IMAGES[:n]}) for n in (1, 2, 3)}
    wrong = []

    def work(n):
        for _ in range(20):
            for made, want in zip(s.run(None, {"x": IMAGES[:n]}), wanted[n]):
                if not np.array_equal(made, want):
                    wrong.append(n)

    threads = [threading.Thread(target=work, args=(1 + k % 3,)) for k in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


def test_other_threads_go_on_during_a_run():
    size = 700
    a, b, c = (models.value(name, T.DOUBLE, [size, size]) for name in "abc")
    s = shadernet.InferenceSession(models.one("MatMul", [a, b], [c]), providers=["CPUExecutionProvider"])
    x = np.ones((size, size))
    spans, done = [], threading.Event()

    def watch():
        last = time.perf_counter()
        while not done.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            spans.append(now - last)
            last = now

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    s.run(None, {"a": x, "b": x})
    took = time.perf_counter() - begin
    done.set()
    watcher.join()
    assert max(spans) < took / 2


def test_run_async(providers):
    s = shadernet.InferenceSession(models.ADD, providers=providers)
    got, done = [], threading.Event()

    def callback(outputs, data, error):
        got.append((outputs, data, error))
        done.set()

    x = np.ones((1, 3), np.float32)
    s.run_async(None, {"x": x, "y": x}, callback, "data")
    assert done.wait(60) and got[0][1:] == ("data", "") and got[0][0][0].tolist() == [[2, 2, 2]]
    done.clear()
    s.run_async(None, {"x": x, "y": x[0]}, callback, "data")
    assert done.wait(60) and got[1][0] is None and "Invalid rank for input: y" in got[1][2]


@on_device
def test_providers_and_their_options():
    session = shadernet.InferenceSession
    s = session(models.ADD)
    assert s.get_providers() == ["ShadernetExecutionProvider"] == list(s.get_provider_options())
    both = ["ShadernetExecutionProvider", "CPUExecutionProvider"]
    assert session(models.ADD, providers=both).get_providers() == both == shadernet.get_available_providers()
    adapter = {"adapter": shadernet.adapters()[0]["name"], "profile": "base"}
    s = session(models.ADD, providers=[("ShadernetExecutionProvider", adapter), "CPUExecutionProvider"])
    assert s.get_provider_options() == {"ShadernetExecutionProvider": adapter, "CPUExecutionProvider": {}}
    s = session(models.ADD, None, ["ShadernetExecutionProvider"], [{"device_id": 0}])
    x = np.ones((1, 3), np.float32)
    assert s.run(None, {"x": x, "y": x})[0].tolist() == [[2, 2, 2]]
    s.set_providers(["CPUExecutionProvider"])
    assert s.get_providers() == ["CPUExecutionProvider"] and s.run(None, {"x": x, "y": x})[0].tolist() == [[2, 2, 2]]
    with pytest.raises(state.EPFail, match='no adapter "nowhere"'):
        session(models.ADD, None, ["ShadernetExecutionProvider"], [{"adapter": "nowhere"}])
    with pytest.raises(ValueError, match="there are adapter"):
        session(models.ADD, None, ["ShadernetExecutionProvider"], [{"adaptor": "nowhere"}])
    with pytest.raises(ValueError, match="deny or allow"):
        session(models.ADD, None, ["ShadernetExecutionProvider"], [{"fallback": "maybe"}])
    with pytest.raises(ValueError, match="model or float16"):
        session(models.ADD, None, ["ShadernetExecutionProvider"], [{"precision": "half"}])
    s = session(models.ADD, None, ["ShadernetExecutionProvider"], [{"precision": "float16"}])
    assert s.run(None, {"x": x, "y": x})[0].tolist() == [[2, 2, 2]]
    with pytest.raises(ValueError, match="open or fixed"):
        session(models.ADD, None, ["ShadernetExecutionProvider"], [{"sizes": "closed"}])
    s = session(models.ADD, None, ["ShadernetExecutionProvider"], [{"sizes": "fixed"}])
    for rows in (1, 3):
        assert s.run(None, {"x": np.ones((rows, 3), np.float32), "y": x})[0].tolist() == [[2, 2, 2]] * rows
    with pytest.warns(UserWarning, match="'CUDAExecutionProvider' is not in available"):
        assert session(models.ADD, providers=["CUDAExecutionProvider", *both]).get_providers() == both


@on_device
def test_tiles_are_measured(monkeypatch):
    x = np.ones((1, 3), np.float32)
    for providers in (["ShadernetExecutionProvider"], ["CPUExecutionProvider"]):
        s = shadernet.InferenceSession(models.ADD, providers=providers)
        assert s.tune({"x": x, "y": x}) == []
        with pytest.raises(ValueError, match="Required inputs"):
            s.tune({"x": x})
    monkeypatch.setenv("SHADERNET_KERNELS", "gpu")
    shapes = {"a": [40, 64], "b": [64, 48]}
    inputs = [models.value(name, T.FLOAT, shape) for name, shape in shapes.items()]
    product = models.one("MatMul", inputs, [models.value("y", T.FLOAT, [40, 48])])
    s = shadernet.InferenceSession(product, None, ["ShadernetExecutionProvider"], [{"pipeline_cache": "off"}])
    feed = {name: np.resize(IMAGES, shape) for name, shape in shapes.items()}
    [(kernel, before, best)] = s.tune(feed)
    assert kernel and 0 < best <= before
    assert np.allclose(s.run(None, feed)[0], feed["a"] @ feed["b"], atol=1e-4)


def test_a_machine_without_a_device_takes_the_interpreter(monkeypatch):
    monkeypatch.setattr(shadernet._shadernet, "adapters", lambda: [])
    with pytest.warns(UserWarning, match="running on CPUExecutionProvider"):
        s = shadernet.InferenceSession(models.ADD)
    assert s.get_providers() == ["CPUExecutionProvider"] == shadernet.get_available_providers()
    assert shadernet.get_device() == "CPU"


# complex numbers have no form on a device
COMPLEX = models.one("Identity", [models.value("x", T.COMPLEX64, [1])], [models.value("y", T.COMPLEX64, [1])])


@on_device
def test_nodes_that_the_device_refuses():
    with pytest.raises(state.NotImplemented, match="y .Identity.*complex64"):
        shadernet.check(COMPLEX)
    shadernet.check(models.NET)
    x = {"x": np.array([1j], np.complex64)}
    with pytest.raises(state.NotImplemented, match="y .Identity.*complex64"):
        shadernet.InferenceSession(COMPLEX).run(None, x)
    s = shadernet.InferenceSession(COMPLEX, providers=["ShadernetExecutionProvider", "CPUExecutionProvider"])
    assert s.run(None, x)[0] == [1j] and s.get_host_nodes() == ["y (Identity)"]


def test_checks_tell_what_is_wrong(tmp_path):
    with pytest.raises(state.NoSuchFile):
        shadernet.check(tmp_path / "nowhere.onnx")
    with pytest.raises(state.InvalidGraph, match="Foo"):
        shadernet.check(models.one("Foo", [models.value("x", T.FLOAT, [1])], [models.value("y", T.FLOAT, [1])]))


def test_models_from_paths(tmp_path, providers):
    (tmp_path / "m.onnx").write_bytes(models.ADD)
    x = np.ones((1, 3), np.float32)
    for path in [tmp_path / "m.onnx", str(tmp_path / "m.onnx")]:
        s = shadernet.InferenceSession(path, providers=providers)
        assert s.run(["z"], {"x": x, "y": x})[0].tolist() == [[2, 2, 2]]


def test_external_data(tmp_path, providers):
    (tmp_path / "weights.bin").write_bytes(np.array([5, 6], np.float32).tobytes())
    b = T(name="b", data_type=T.FLOAT, dims=[2], data_location=T.EXTERNAL)
    b.external_data.add(key="location", value="weights.bin")
    x, z = models.value("x", T.FLOAT, [2]), models.value("z", T.FLOAT, [2])
    model = models.model([h.make_node("Add", ["x", "b"], ["z"])], [x], [z], [b])
    (tmp_path / "m.onnx").write_bytes(model)
    options = shadernet.SessionOptions()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(tmp_path))
    for given in [tmp_path / "m.onnx", model]:
        s = shadernet.InferenceSession(given, options, providers=providers)
        assert s.run(None, {"x": np.zeros(2, np.float32)})[0].tolist() == [5, 6]
    with pytest.raises(Exception, match="weights.bin"):
        shadernet.InferenceSession(model, providers=providers)


def test_profiles(tmp_path, providers):
    options = shadernet.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "trace_")
    s = shadernet.InferenceSession(models.NET, options, providers=providers)
    plain = shadernet.InferenceSession(models.NET, providers=providers)
    np.testing.assert_array_equal(s.run(["y"], {"x": IMAGES})[0], plain.run(["y"], {"x": IMAGES})[0])
    assert 0 < s.get_profiling_start_time_ns() <= time.monotonic_ns()
    events = json.loads(open(s.end_profiling()).read())
    assert events[0]["name"] == "model_run" and events[0]["dur"] > 0
    nodes = [e for e in events if e["cat"] == "Node"]
    assert all(e["dur"] <= events[0]["dur"] for e in nodes)
    # none where the adapter has no timestamps
    assert any("Conv" in e["args"]["node"] for e in nodes) or not nodes
    assert not nodes or providers != ["CPUExecutionProvider"]
    assert plain.end_profiling() == ""


def test_terminated_runs():
    options = shadernet.RunOptions()
    options.terminate = True
    with pytest.raises(state.Fail, match="terminate"):
        shadernet.InferenceSession(models.DEFAULT).run(None, {"x": np.zeros(2, np.float32)}, options)


def test_bindings_stay(providers):
    s = shadernet.InferenceSession(models.ADD, providers=providers)
    x, y = np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)
    target = shadernet.OrtValue.ortvalue_from_shape_and_type([2, 3], np.float32)
    binding = s.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_ortvalue_input("y", shadernet.OrtValue.ortvalue_from_numpy(y))
    binding.bind_ortvalue_output("z", target)
    for k in range(3):
        x[...] = k
        s.run_with_iobinding(binding)
        assert (target.numpy() == k + 1).all() and binding.get_outputs() == [target]
    binding.bind_cpu_input("x", x[:1])
    binding.bind_cpu_input("y", y[:1])
    with pytest.raises(state.InvalidArgument, match="bound to memory of"):
        s.run_with_iobinding(binding)
    with pytest.raises(RuntimeError, match="host memory"):
        binding.bind_output("z", "cuda")


def test_nothing_warns(providers):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shadernet.InferenceSession(models.ADD, providers=providers)
