"""What is in these pictures? Runs an image classifier on all of them as one batch and prints the likeliest labels.

    python classify.py model.onnx cat.jpg dog.png --labels labels.txt

Needs pillow. Size, layout and batch are the model's; --size says them where the model leaves them open. The defaults for
--mean and --std are those of most networks trained on ImageNet.
"""

import argparse
import sys

import numpy as np
import shadernet as ort
from PIL import Image
from shadernet.capi.onnxruntime_pybind11_state import InvalidArgument


def plan(arg, size):
    """Height, width, and whether channels come last, of a model's input (a NodeArg)."""
    said = f"input {arg.name!r} takes {arg.type} of shape {arg.shape}"
    channels_last = len(arg.shape) == 4 and arg.shape[3] == 3 and arg.shape[1] != 3
    if arg.type != "tensor(float)" or len(arg.shape) != 4 or arg.shape[3 if channels_last else 1] != 3:
        sys.exit(f"This is no classifier of colour pictures: {said}; expected [N, 3, H, W] or [N, H, W, 3] floats.")
    declared = arg.shape[1:3] if channels_last else arg.shape[2:4]
    if not size and not all(isinstance(extent, int) for extent in declared):
        sys.exit(f"The model leaves the size open: {said}; say --size HEIGHT WIDTH.")
    return (*(size or declared), channels_last)


def load(path, height, width, channels_last, mean, std, bgr):
    """A picture as the model wants it: resized, each channel brought to (value / 255 - mean) / std."""
    picture = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    pixels = (np.asarray(picture, np.float32) / 255 - np.float32(mean)) / np.float32(std)
    pixels = pixels[..., ::-1] if bgr else pixels
    return pixels if channels_last else pixels.transpose(2, 0, 1)


def probabilities(scores):
    """Scores as they are where they are probabilities already, else their softmax."""
    if scores.min() >= 0 and np.allclose(scores.sum(-1), 1, atol=1e-3):
        return scores
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def classify(session, batch):
    """Probabilities of each picture; one run for all, or one for each where the model's batch is one."""
    arg = session.get_inputs()[0]
    parts = np.split(batch, len(batch)) if arg.shape[0] == 1 else [batch]
    outputs = [session.run(None, {arg.name: part})[0] for part in parts]
    return probabilities(np.concatenate(outputs).reshape(len(batch), -1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--labels", help="a file with one label a line")
    parser.add_argument("--top", type=int, default=5, help="how many labels to print")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--mean", type=float, nargs="+", default=[0.485, 0.456, 0.406])
    parser.add_argument("--std", type=float, nargs="+", default=[0.229, 0.224, 0.225])
    parser.add_argument("--bgr", action="store_true", help="channels in the order blue, green, red")
    args = parser.parse_args()

    session = ort.InferenceSession(args.model)
    how = plan(session.get_inputs()[0], args.size)
    batch = np.stack([load(path, *how, args.mean, args.std, args.bgr) for path in args.images])
    try:
        found = classify(session, batch)
    except InvalidArgument as e:
        sys.exit(f"The model does not take pictures of {how[0]}x{how[1]}: {e}")
    labels = open(args.labels, encoding="utf-8").read().splitlines() if args.labels else []
    for path, row in zip(args.images, found):
        print(path)
        for k in np.argsort(-row)[: args.top]:
            print(f"  {row[k]:6.1%}  {labels[k] if k < len(labels) else f'class {k}'}")


if __name__ == "__main__":
    main()
