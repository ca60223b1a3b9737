"""Test data for real models: goldens.py OUT [NAME …] writes OUT/NAME/test_data_set_<n>/{input,output}_<i>.pb beside model.onnx.

Inputs come from a generator that is seeded by the model's, the case's and the input's names; outputs are those of ONNX
Runtime on the CPU. OUT/times.json holds the median of its times in milliseconds with one thread, for `times` as second word.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import numpy_helper

from fetch import models

MASK64 = (1 << 64) - 1
GOLDEN_GAMMA = 0x9E3779B97F4A7C15


# --- deterministic generators -------------------------------------------------


def fnv1a(text: str) -> int:
    """64-bit FNV-1a of the UTF-8 bytes of `text`."""
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK64
    return h


def splitmix64(seed: int, count: int) -> np.ndarray:
    """The first `count` outputs of SplitMix64 seeded with `seed`, as uint64."""
    with np.errstate(over="ignore"):
        steps = np.arange(1, count + 1, dtype=np.uint64)
        z = np.uint64(seed) + steps * np.uint64(GOLDEN_GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def unit(seed: int, count: int) -> np.ndarray:
    """`count` doubles in [0, 1): the top 53 bits of each SplitMix64 output."""
    return (splitmix64(seed, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def smooth_image(seed: int, shape: list[int], layout: str) -> np.ndarray:
    """A field in [0, 1]: three plane waves per channel plus 15% noise."""
    if layout == "NHWC":
        n, h, w, c = shape
    else:
        n, c, h, w = shape
    params = unit(seed, n * c * 9).reshape(n, c, 3, 3)
    ys = np.linspace(0.0, 1.0, h)[:, None]
    xs = np.linspace(0.0, 1.0, w)[None, :]
    waves = np.zeros((n, c, h, w))
    for i in range(n):
        for j in range(c):
            for fx, fy, phase in params[i, j]:
                waves[i, j] += np.cos(2 * np.pi * (6 * fx * xs + 6 * fy * ys + phase))
    noise = unit(seed ^ GOLDEN_GAMMA, n * c * h * w).reshape(n, c, h, w)
    out = 0.85 * (0.5 + waves / 6.0) + 0.15 * noise
    return out.transpose(0, 2, 3, 1) if layout == "NHWC" else out


def document(seed: int, shape: list[int], layout: str) -> np.ndarray:
    """A page-like picture in [0, 1]: light background, rows of small dark glyph
    blocks, and one ruled grid in the lower half, plus 2% noise."""
    if layout == "NHWC":
        n, h, w, c = shape
    else:
        n, c, h, w = shape
    page = np.full((n, h, w), 0.95)
    rnd = iter(unit(seed, 1 << 14))
    line = max(8, h // 20)
    glyph = max(3, line // 2)
    for i in range(n):
        for y in range(line, h // 2 - line, 2 * line):
            x = line
            while x < w - line:
                width = 1 + int(glyph * (0.5 + next(rnd)))
                if next(rnd) > 0.18:  # else a word space
                    for bar in range(0, width, 3):
                        page[i, y : y + line, x + bar] = 0.05
                    page[i, y + int(line * next(rnd)) % line, x : x + width] = 0.05
                x += width + 2
        for y in range(h // 2 + line, h - line, 2 * line):
            page[i, y : y + 2, line : w - line] = 0.1
        for x in range(line, w - line, max(4, w // 6)):
            page[i, h // 2 + line : h - line, x : x + 2] = 0.1
    out = np.repeat(page[:, None], c, axis=1)
    out = 0.98 * out + 0.02 * unit(seed ^ GOLDEN_GAMMA, out.size).reshape(out.shape)
    return out.transpose(0, 2, 3, 1) if layout == "NHWC" else out


def tone(seed: int, shape: list[int], sample_rate: float) -> np.ndarray:
    """A waveform in [-1, 1] along the longest axis: three partials plus noise."""
    count = int(np.prod(shape))
    f0, phase = unit(seed, 2)
    t = np.arange(count) / sample_rate
    base = 110.0 + 330.0 * f0
    wave = sum(np.sin(2 * np.pi * (k * base * t + phase)) / k for k in (1, 2, 3))
    noise = 2.0 * unit(seed ^ GOLDEN_GAMMA, count) - 1.0
    return (0.4 * wave + 0.1 * noise).reshape(shape)


def make_input(model: str, case: str, feed: dict) -> np.ndarray:
    """Build one input tensor from its feed spec."""
    shape = list(feed["shape"])
    count = int(np.prod(shape)) if shape else 1
    dtype = np.dtype(feed["dtype"])
    seed = fnv1a(f"{model}/{case}/{feed['name']}")
    gen = feed["gen"]
    if gen == "uniform":
        low, high = feed["low"], feed["high"]
        data = low + (high - low) * unit(seed, count)
    elif gen == "randint":  # integers in [low, high), also for float inputs
        span = feed["high"] - feed["low"]
        data = feed["low"] + (splitmix64(seed, count) % np.uint64(span)).astype(np.int64)
    elif gen == "const":
        data = np.full(count, feed["value"])
    elif gen == "values":
        data = np.array(feed["values"])
    elif gen in ("image", "document"):
        draw = smooth_image if gen == "image" else document
        field = draw(seed, shape, feed.get("layout", "NCHW"))
        data = feed["low"] + (feed["high"] - feed["low"]) * field
    elif gen == "tone":
        data = feed.get("gain", 1.0) * tone(seed, shape, feed.get("sample_rate", 16000))
    elif gen == "onehot":  # one 1 along the last axis of each row
        rows, depth = count // shape[-1], shape[-1]
        data = np.zeros((rows, depth))
        data[np.arange(rows), splitmix64(seed, rows) % np.uint64(depth)] = 1
    elif gen == "prefix_mask":  # row i: `lengths[i]` ones, then zeros
        data = np.arange(shape[1])[None, :] < np.array(feed["lengths"])[:, None]
    elif gen == "bookended":  # random ints with `edge` at both ends of the last axis
        span = feed["high"] - feed["low"]
        data = feed["low"] + (splitmix64(seed, count) % np.uint64(span)).astype(np.int64)
        data = data.reshape(shape)
        data[..., 0] = data[..., -1] = feed["edge"]
    else:
        raise ValueError(f"{model}: unknown generator {gen!r}")
    return np.ascontiguousarray(np.asarray(data).reshape(shape).astype(dtype))


def make_inputs(model: str, case: dict, draw: int = 0) -> dict[str, np.ndarray]:
    name = f"{case['name']}/{draw}" if draw else case["name"]
    return {f["name"]: make_input(model, name, f) for f in case["feeds"]}


def session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def as_array(value) -> np.ndarray:
    """Tensors as they are; maps of probabilities as a table of rows by classes."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return np.array([[row[key] for key in sorted(row)] for row in value], np.float32)
    return np.asarray(value)


def write(folder: Path, stem: str, tensors: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, (name, array) in enumerate(tensors.items()):
        (folder / f"{stem}_{i}.pb").write_bytes(numpy_helper.from_array(array, name).SerializeToString())


def goldens(model: dict, out: Path) -> None:
    folder = out / model["name"]
    # models whose outputs are a number or two are drawn inputs for more than once, lest their errors be chance
    sets = [(case, draw) for draw in range(model.get("draws", 1)) for case in model["cases"]]
    if (folder / f"test_data_set_{len(sets) - 1}" / "output_0.pb").is_file():
        return
    runtime = session(folder / "model.onnx", 0)
    names = model.get("golden_outputs") or [o.name for o in runtime.get_outputs()]
    for number, (case, draw) in enumerate(sets):
        inputs = make_inputs(model["name"], case, draw)
        target = folder / f"test_data_set_{number}"
        write(target, "input", inputs)
        write(target, "output", {n: as_array(v) for n, v in zip(names, runtime.run(names, inputs))})


def milliseconds(model: dict, out: Path) -> float:
    """The median of a few runs of the first case, on one thread."""
    runtime = session(out / model["name"] / "model.onnx", 1)
    inputs = make_inputs(model["name"], model["cases"][0])
    times, end = [], time.perf_counter() + 5
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 20):
        start = time.perf_counter()
        runtime.run(None, inputs)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    out, names = Path(sys.argv[1]), sys.argv[2:]
    if names[:1] == ["times"]:
        found = {m["name"]: round(milliseconds(m, out), 3) for m in models(names[1:])}
        (out / "times.json").write_text(json.dumps({"version": ort.__version__, "ms": found}))
        return
    for model in models(names):
        goldens(model, out)


if __name__ == "__main__":
    main()
