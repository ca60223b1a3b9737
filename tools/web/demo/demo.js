// A picture, a model, an answer.

import * as ort from "./index.js";

const [WIDTH, HEIGHT] = [192, 48];
const LABELS = ["upright", "upside down"];
const element = (name) => document.querySelector(name);

/** The picture's pixels as the model takes them: blue, green and red planes from -1 to 1. */
function tensor(picture) {
  const canvas = new OffscreenCanvas(WIDTH, HEIGHT).getContext("2d");
  canvas.drawImage(picture, 0, 0, WIDTH, HEIGHT);
  const { data } = canvas.getImageData(0, 0, WIDTH, HEIGHT);
  const plane = WIDTH * HEIGHT;
  const x = Float32Array.from({ length: 3 * plane }, (_, i) => data[4 * (i % plane) + 2 - Math.floor(i / plane)] / 127.5 - 1);
  return new ort.Tensor("float32", x, [1, 3, HEIGHT, WIDTH]);
}

const session = ort.InferenceSession.create("tests/data/text-direction/model.onnx");

async function answer() {
  const picture = element("img");
  element("output").className = "";
  try {
    await picture.decode();
    const x = tensor(picture);
    const ready = await session;
    const begun = performance.now();
    const [out] = Object.values(await ready.run({ x }));
    const took = performance.now() - begun;
    const best = out.data[1] > out.data[0] ? 1 : 0;
    element("output").textContent = `${LABELS[best]} (${(100 * out.data[best]).toFixed(1)}%)`;
    element("small").textContent = `${took.toFixed(1)} ms`;
  } catch (e) {
    element("output").textContent = e.message;
  }
  element("output").className = "answer";
}

element("input").onchange = ({ target }) => {
  element("img").src = URL.createObjectURL(target.files[0]);
  answer();
};
answer();
