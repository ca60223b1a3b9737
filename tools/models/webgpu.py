"""Times of ONNX Runtime's WebGPU provider beside shadernet's, on real models: webgpu.py OUT SHADERNET PYTHON [NAME …]

PYTHON is an interpreter whose onnxruntime has WebGpuExecutionProvider; SHADERNET is the command. Both run on the Vulkan driver
that the environment chooses, in rounds that take turns, one process a round, on the first case's inputs. Writes
OUT/webgpu.json: medians in milliseconds, the greatest difference of the provider's outputs from the golden ones as a share of
the greatest magnitude, and whether the provider runs all nodes alone, without the CPU's.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 2
RUNS = 5
SECONDS = 300  # for a round of one runtime

WORKER = """
import json, sys, time
from pathlib import Path
import numpy as np, onnxruntime as ort, onnx
from onnx import numpy_helper
folder, runs = Path(sys.argv[1]), int(sys.argv[2])
options = ort.SessionOptions()
options.log_severity_level = 4
session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["WebGpuExecutionProvider"])
assert "WebGpuExecutionProvider" in session.get_providers()
def load(path):
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return tensor.name, numpy_helper.to_array(tensor)
data = folder / "test_data_set_0"
inputs = dict(load(p) for p in sorted(data.glob("input_*.pb")))
wanted = dict(load(p) for p in sorted(data.glob("output_*.pb")))
outputs = session.run(list(wanted), inputs)
worst = 0.0
for got, want in zip(outputs, wanted.values()):
    if isinstance(got, np.ndarray) and got.dtype.kind == "f" and got.shape == want.shape and got.size:
        want = want.astype(np.float64)
        worst = max(worst, float(np.nanmax(np.abs(got - want)) / max(np.nanmax(np.abs(want)), 1e-300)))
times = []
end = time.perf_counter() + 60
while len(times) < 1 or (len(times) < runs and time.perf_counter() < end):
    start = time.perf_counter()
    session.run(list(wanted), inputs)
    times.append(1e3 * (time.perf_counter() - start))
print(json.dumps({"ms": times, "error": worst, "version": ort.__version__}))
"""

# exits with 0 where the provider takes every node
ALONE = """
import sys, onnxruntime as ort
options = ort.SessionOptions()
options.log_severity_level = 4
options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
ort.InferenceSession(sys.argv[1], options, providers=["WebGpuExecutionProvider"])
"""


def last_json(command: list[str]) -> dict:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:200])
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(folder: Path, shadernet: str, python: str) -> dict:
    own, other, row = [], [], {}
    files = sorted((folder / "test_data_set_0").glob("input_*.pb"))
    names = [n.split("=")[0] for n in input_names(folder, python)]
    feeds = [arg for name, file in zip(names, files) for arg in ("--input", f"{name}={file}")]
    for _ in range(ROUNDS):
        got = last_json([shadernet, "bench", str(folder / "model.onnx"), "--runs", str(RUNS), "--warmup", "1", "--json", *feeds])
        own.append(got["median_ms"])
        if "failed" in row:
            continue
        try:
            got = last_json([python, "-c", WORKER, str(folder), str(RUNS)])
            other += got["ms"]
            row |= {key: got[key] for key in ("error", "version")}
        except (RuntimeError, subprocess.TimeoutExpired) as e:
            row["failed"] = "timeout" if isinstance(e, subprocess.TimeoutExpired) else str(e)
    command = [python, "-c", ALONE, str(folder / "model.onnx")]
    row["alone"] = subprocess.run(command, capture_output=True, timeout=SECONDS).returncode == 0
    row["shadernet_ms"] = round(statistics.median(own), 3)
    if other:
        row["webgpu_ms"] = round(statistics.median(other), 3)
    return row


def input_names(folder: Path, python: str) -> list[str]:
    code = "import onnx, sys; from pathlib import Path\nfor p in sorted(Path(sys.argv[1]).glob('input_*.pb')):\n t = onnx.TensorProto(); t.ParseFromString(p.read_bytes()); print(t.name)"
    return subprocess.run([python, "-c", code, str(folder / "test_data_set_0")], capture_output=True, text=True, check=True).stdout.split("\n")[:-1]


def main() -> None:
    out, shadernet, python, names = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
    file = out / "webgpu.json"
    found = json.loads(file.read_text()) if file.is_file() else {}
    for folder in sorted(p for p in out.iterdir() if (p / "model.onnx").is_file() and (not names or p.name in names)):
        start = time.perf_counter()
        try:
            found[folder.name] = measure(folder, shadernet, python)
        except (RuntimeError, subprocess.TimeoutExpired) as e:
            found[folder.name] = {"failed": f"shadernet: {e}"}
        print(f"{folder.name:32} {found[folder.name]} {time.perf_counter() - start:.0f} s", flush=True)
        file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
