// A model in a worker.

import * as ort from "./index.js";

onmessage = async ({ data }) => {
  const session = await ort.InferenceSession.create(data);
  const ones = new ort.Tensor("float32", [1, 1, 1, 1], [4]);
  const state = new ort.Tensor("float32", [0, 1, 2, 3], [4]);
  const { twice } = await session.run({ x: ones, state });
  postMessage([...twice.data]);
};
