"""A table of GPU times: sweep.py SHADERNET FOLDER [NAME:TILE,…]

For each model of FOLDER, or for each NAME and each TILE of those named (as SHADERNET_TILE has it: `2x4`; `-`: as chosen), the
sum of its dispatches' times by `shadernet profile`, the arithmetic and the bytes a second.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

RUNS = 7


def measure(shadernet: str, model: Path, tile: str) -> None:
    environment = dict(os.environ) | ({"SHADERNET_TILE": tile} if tile != "-" else {})
    # rates that are given are not measured, which would take longer than the model
    command = [shadernet, "profile", str(model), "--runs", str(RUNS), "--bandwidth", "1", "--rate", "1", "--json"]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20)
        rows = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        print(f"{model.stem:28} {tile:6} failed", flush=True)
        return
    micros, flops, size = (sum(r[key] for r in rows) for key in ("us", "flops", "bytes"))
    kernels = ", ".join(dict.fromkeys(r["kernel"] for r in rows))
    print(f"{model.stem:28} {tile:6} {micros:9.1f} us {flops / micros / 1e6:8.2f} Tflop/s {size / micros / 1e3:7.0f} GB/s  {kernels[:60]}",
          flush=True)


def main() -> None:
    shadernet, folder, named = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    wanted = named or sorted(p.stem for p in folder.glob("*.onnx"))
    for entry in wanted:
        name, _, tiles = entry.partition(":")
        for tile in tiles.split(",") if tiles else ["-"]:
            measure(shadernet, folder / f"{name}.onnx", tile)


if __name__ == "__main__":
    main()
