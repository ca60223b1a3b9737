"""ONNX's backend interface. With SHADERNET_BACKEND_SUITE set, all of ONNX's own cases too, on each device."""

import os
import pathlib

import models
import numpy as np
import onnx
import pytest
import shadernet.backend
from onnx import helper

X = np.arange(6, dtype=np.float32).reshape(2, 3)
DEVICES = [d for d in ["CPU", "GPU"] if shadernet.backend.supports_device(d)]


@pytest.mark.parametrize("device", DEVICES)
def test_models_and_nodes(device, tmp_path):
    (tmp_path / "m.onnx").write_bytes(models.ADD)
    for model in [models.ADD, onnx.load_from_string(models.ADD), tmp_path / "m.onnx"]:
        assert shadernet.backend.is_compatible(model, device)
        made = shadernet.backend.run_model(model, [X, X], device)
        np.testing.assert_array_equal(made.z, 2 * X)
        rep = shadernet.backend.prepare(model, device)
        np.testing.assert_array_equal(rep.run({"x": X, "y": X})[0], 2 * X)
    node = helper.make_node("Clip", ["x", "", "most"], ["y"])
    made = shadernet.backend.run_node(node, [X, np.float32(3)], device)
    assert made.y.tolist() == [[0, 1, 2], [3, 3, 3]]
    assert not shadernet.backend.is_compatible(models.one("Foo", [], [models.value("y", 1, [])]), device)


def test_devices():
    assert shadernet.backend.supports_device("CPU") and not shadernet.backend.supports_device("TPU")


def suite():
    """ONNX's cases but those that cannot be compared, and those that tests/suite-expectations.txt explains."""
    import onnx.backend.test

    cases = onnx.backend.test.BackendTest(shadernet.backend.ShadernetBackend, __name__)
    # random results
    cases.exclude(r"^test_(bernoulli|training_dropout(?!_zero_ratio))")
    # its sequence begins with a scalar, whose length the runner asks for
    cases.exclude("^test_loop16_seq_none_")
    lines = pathlib.Path(__file__).parents[3].joinpath("tests/suite-expectations.txt").read_text().splitlines()
    for line in lines:
        if line.startswith("test_"):
            cases.exclude(f"^{line.split()[0]}_(cpu|cuda)$")
    return cases.enable_report().test_cases


# cases of older versions are wrong here and there
if os.environ.get("SHADERNET_BACKEND_SUITE") and onnx.__version__.startswith("1.23."):
    globals().update(suite())
