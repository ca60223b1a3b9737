"""The example and README's script, on a trained network and a real picture."""

import pathlib
import subprocess
import sys

import models
import pytest

pytest.importorskip("PIL")

ROOT = pathlib.Path(__file__).parents[3]
SCRIPT = ROOT / "tools/python/examples/classify.py"
DATA = ROOT / "tests/data/text-direction"
HOW = ["--size", "48", "192", "--mean", "0.5", "--std", "0.5", "--bgr", "--labels", DATA / "labels.txt"]


def run(*args, script=SCRIPT):
    return subprocess.run([sys.executable, script, *args], capture_output=True, text=True)


@pytest.fixture
def upright(tmp_path):
    """The picture, turned the right way up."""
    from PIL import Image

    Image.open(DATA / "ticket.png").rotate(180).save(tmp_path / "upright.png")
    return tmp_path / "upright.png"


def test_a_batch_of_pictures(upright):
    made = run(DATA / "model.onnx", DATA / "ticket.png", upright, *HOW)
    assert made.returncode == 0, made.stderr
    lines = [line.split() for line in made.stdout.splitlines()]
    assert lines[0] == [str(DATA / "ticket.png")] and lines[1][1:] == ["upside", "down"]
    assert lines[3] == [str(upright)] and lines[4][1:] == ["upright"]
    assert all(float(line[0].strip("%")) > 90 for line in (lines[1], lines[4]))


def test_only_the_import_differs_from_onnxruntime(upright, tmp_path):
    pytest.importorskip("onnxruntime")
    theirs = tmp_path / "theirs.py"
    theirs.write_text(SCRIPT.read_text().replace("shadernet", "onnxruntime"))
    made = [run(DATA / "model.onnx", DATA / "ticket.png", upright, *HOW, script=s) for s in (SCRIPT, theirs)]
    assert made[0].stdout == made[1].stdout and made[0].returncode == made[1].returncode == 0


SNIPPET = """
import numpy as np, sys
array = np.load(sys.argv[2])
import shadernet as ort
session = ort.InferenceSession(sys.argv[1])
name = session.get_inputs()[0].name
print(session.run(None, {name: array})[0].argmax(-1))
"""


def test_the_shortest_script_prints_the_same_classes(upright, tmp_path):
    pytest.importorskip("onnxruntime")
    import numpy as np
    from PIL import Image

    pictures = [Image.open(p).convert("RGB").resize((192, 48)) for p in (DATA / "ticket.png", upright)]
    array = np.stack([np.asarray(p, np.float32)[..., ::-1].transpose(2, 0, 1) / 127.5 - 1 for p in pictures])
    np.save(tmp_path / "array.npy", array)
    made = []
    for runtime in ["shadernet", "onnxruntime"]:
        (tmp_path / "script.py").write_text(SNIPPET.replace("shadernet", runtime))
        made.append(run(DATA / "model.onnx", tmp_path / "array.npy", script=tmp_path / "script.py").stdout)
    assert made[0] == made[1] == "[1 0]\n"


def test_wrong_shapes_are_explained(tmp_path):
    (tmp_path / "add.onnx").write_bytes(models.ADD)
    made = run(tmp_path / "add.onnx", DATA / "ticket.png")
    assert (
        made.returncode == 1 and "input 'x' takes tensor(float) of shape ['N', 3]; expected [N, 3, H, W]" in made.stderr
    )
    made = run(DATA / "model.onnx", DATA / "ticket.png")
    assert made.returncode == 1 and "say --size HEIGHT WIDTH" in made.stderr
    (tmp_path / "net.onnx").write_bytes(models.NET)
    made = run(tmp_path / "net.onnx", DATA / "ticket.png", "--size", "17", "16")
    assert made.returncode == 1 and "index: 2 Got: 17 Expected: 16" in made.stderr and "Traceback" not in made.stderr
