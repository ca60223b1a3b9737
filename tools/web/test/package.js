// The package as pages use it: ONNX Runtime's JavaScript API over shadernet.

import * as ort from "./index.js";
import load, * as models from "./shadernet_web_cases.js";
import { report, say } from "./report.js";

const tests = {};
const test = (name, body) => (tests[name] = body);

function equal(got, want, what = "") {
  const text = (x) => JSON.stringify(x, (_, v) => (typeof v === "bigint" ? `${v}n` : ArrayBuffer.isView(v) ? [...v] : v));
  if (text(got) !== text(want)) throw new Error(`${what} got ${text(got)}, want ${text(want)}`);
}

async function fails(made, kind, words) {
  try {
    await made;
  } catch (e) {
    if ((e.kind ?? e.name) === kind && words.test(e.message)) return;
    throw new Error(`got ${e.name} ${e.kind}: ${e.message}; want ${kind}, ${words}`);
  }
  throw new Error(`nothing was thrown; want ${kind}, ${words}`);
}

const floats = (...x) => new ort.Tensor("float32", Float32Array.from(x), [x.length]);
const create = (model, options) => ort.InferenceSession.create(model, options);
const PROVIDERS = [["webgpu"], ["cpu"], ["wasm"], ["webgpu", "wasm"], undefined];

test("a trained model gives what it does elsewhere", async () => {
  const path = "tests/data/text-direction/model.onnx";
  const picture = await createImageBitmap(await (await fetch("tests/data/text-direction/ticket.png")).blob());
  const canvas = new OffscreenCanvas(192, 48);
  canvas.getContext("2d").drawImage(picture, 0, 0, 192, 48);
  const { data } = canvas.getContext("2d").getImageData(0, 0, 192, 48);
  const x = new Float32Array(3 * 48 * 192);
  for (let i = 0; i < 48 * 192; i++) for (let c = 0; c < 3; c++) x[c * 48 * 192 + i] = data[4 * i + 2 - c] / 127.5 - 1;
  const feeds = { x: new ort.Tensor("float32", x, [1, 3, 48, 192]) };
  const of = async (executionProviders) => {
    const session = await create(path, { executionProviders });
    const [out] = Object.values(await session.run(feeds));
    equal(out.dims, [1, 2]);
    return out.data;
  };
  const [gpu, cpu] = [await of(["webgpu"]), await of(["cpu"])];
  if (!(gpu[1] > 0.99)) throw new Error(`upright ${gpu[0]}, upside down ${gpu[1]}`);
  gpu.forEach((p, i) => {
    if (Math.abs(p - cpu[i]) > 1e-4) throw new Error(`${gpu} and ${cpu}`);
  });
});

test("names, types and shapes are the model's", async () => {
  const session = await create(models.running_sum());
  equal(session.inputNames, ["x", "state"]);
  equal(session.outputNames, ["next", "twice"]);
  equal(session.inputMetadata[0], { name: "x", isTensor: true, type: "float32", shape: [4] });
  const open = await create(models.identity(7));
  equal(open.outputMetadata, [{ name: "y", isTensor: true, type: "int64", shape: ["n"] }]);
  await session.release();
});

test("tensors of every type go in and come out, on every provider", async () => {
  const float16 = globalThis.Float16Array ? Float16Array.from([1.5, -2]) : Uint16Array.from([0x3e00, 0xc000]);
  const values = {
    1: ["float32", Float32Array.from([1.5, -0, Infinity])], 2: ["uint8", Uint8Array.from([0, 255])],
    3: ["int8", Int8Array.from([-128, 127])], 4: ["uint16", Uint16Array.from([0, 65535])],
    5: ["int16", Int16Array.from([-32768, 32767])], 6: ["int32", Int32Array.from([-(2 ** 31), 2 ** 31 - 1])],
    7: ["int64", BigInt64Array.from([-(2n ** 63n), 2n ** 63n - 1n])], 8: ["string", ["", "größer"]],
    9: ["bool", Uint8Array.from([1, 0, 1])], 10: ["float16", float16], 11: ["float64", Float64Array.from([1e300, -5e-324])],
    12: ["uint32", Uint32Array.from([0, 2 ** 32 - 1])], 13: ["uint64", BigUint64Array.from([2n ** 64n - 1n])],
  };
  for (const [number, [type, data]] of Object.entries(values)) {
    for (const executionProviders of PROVIDERS) {
      // text stays on the host wherever the rest runs
      const session = await create(models.identity(Number(number)), { executionProviders });
      for (const n of [data.length, 1, 0]) {
        const x = new ort.Tensor(type, data.slice(0, n), [n]);
        const { y } = await session.run({ x });
        equal([y.type, y.dims, y.data], [type, [n], x.data], `${type} on ${executionProviders}`);
        if (y.data.constructor !== x.data.constructor) throw new Error(`${type}: ${y.data.constructor.name}`);
      }
      await session.release();
    }
  }
});

test("a part of a larger buffer is fed as such", async () => {
  const session = await create(models.running_sum());
  const [x, state] = [new Float32Array([9, 1, 2, 3, 4, 9]).subarray(1, 5), floats(0, 0, 0, 1)];
  const { next } = await session.run({ x: new ort.Tensor("float32", x, [4]), state }, ["next"]);
  equal(next.data, Float32Array.of(1, 2, 3, 5));
});

test("models come from addresses, buffers and views", async () => {
  const file = models.running_sum();
  const url = URL.createObjectURL(new Blob([file]));
  const padded = new Uint8Array(file.length + 8);
  padded.set(file, 8);
  for (const args of [[url], [file], [padded.buffer, 8], [file.buffer.slice(file.byteOffset, file.byteOffset + file.length)]]) {
    const session = await ort.InferenceSession.create(...args);
    equal((await session.run({ x: floats(1, 1, 1, 1), state: floats(1, 2, 3, 4) })).twice.data, Float32Array.of(4, 6, 8, 10));
  }
  await fails(create("nowhere.onnx"), "Error", /nowhere.onnx: 404/);
});

test("state stays on the device from run to run", async () => {
  const session = await create(models.running_sum(), { preferredOutputLocation: { next: "gpu-buffer" } });
  let state = floats(0, 0, 0, 0);
  for (let i = 0; i < 5; i++) {
    const { next, twice } = await session.run({ x: floats(1, 2, 3, 4), state });
    equal([next.location, next.dims, twice.location], ["gpu-buffer", [4], "cpu"]);
    equal(twice.data, Float32Array.of(1, 2, 3, 4).map((x) => 2 * x * (i + 1)));
    state.dispose();
    state = next;
  }
  const { next: last } = await session.run({ x: floats(0, 0, 0, 0), state });
  equal(await state.getData(true), Float32Array.of(5, 10, 15, 20));
  equal(await last.getData(), Float32Array.of(5, 10, 15, 20));
  const gone = (await session.run({ x: floats(1, 1, 1, 1), state: last })).next;
  gone.dispose();
  await fails(gone.getData(), "Error", /disposed/);
});

test("an output that the API has no device tensors of comes to the host", async () => {
  const session = await create(models.identity(11), { preferredOutputLocation: "gpu-buffer" });
  const { y } = await session.run({ x: new ort.Tensor("float64", [1.5], [1]) });
  equal([y.location, y.data], ["cpu", Float64Array.of(1.5)]);
});

test("outputs go into tensors that are there", async () => {
  const session = await create(models.running_sum(), { preferredOutputLocation: "gpu-buffer" });
  const feeds = { x: floats(1, 2, 3, 4), state: floats(1, 1, 1, 1) };
  const { next: kept } = await session.run(feeds, ["next"]);
  const own = floats(0, 0, 0, 0);
  const out = await session.run({ ...feeds, state: kept }, { next: kept, twice: own });
  if (out.next !== kept || out.twice !== own) throw new Error("other tensors came back");
  equal(own.data, Float32Array.of(6, 10, 14, 18));
  equal(await kept.getData(), Float32Array.of(3, 5, 7, 9));
  await fails(session.run(feeds, { twice: floats(0, 0) }), "RangeError", /output twice: .*float32\[4\].*float32\[2\]/);
});

test("control flow follows what the device computes", async () => {
  for (const executionProviders of [["webgpu"], ["cpu"]]) {
    const session = await create(models.doubled_until(), { executionProviders });
    const run = async (limit) => (await session.run({ x: floats(1, 2), limit: new ort.Tensor("float32", [limit], []) })).y.data;
    equal(await run(2), Float32Array.of(1, 2), executionProviders);
    equal(await run(20), Float32Array.of(8, 16), executionProviders);
    equal(await run(3000), Float32Array.of(1024, 2048), executionProviders);
  }
});

test("data beside the model is given with it", async () => {
  const data = new Float32Array([9, 9, 9, 9, 1, 2, 3, 4]);
  const address = URL.createObjectURL(new Blob([data]));
  for (const given of [data, data.buffer, new Blob([data]), address]) {
    const session = await create(models.external(), { externalData: [{ path: "weights.bin", data: given }] });
    equal((await session.run({ x: floats(1, 1, 1, 1) })).y.data, Float32Array.of(2, 3, 4, 5));
  }
  await fails(create(models.external()), "Io", /weights.bin/);
  const short = { path: "weights.bin", data: data.subarray(1) };
  await fails(create(models.external(), { externalData: [short] }), "InvalidModel", /16 bytes from 16 lie beyond its 28 bytes/);
});

test("several runs at a time do not disturb each other", async () => {
  const session = await create(models.doubling_product());
  const one = async (k) => {
    const x = Float32Array.from({ length: 5 * 64 }, (_, i) => i + k);
    const { y } = await session.run({ x: new ort.Tensor("float32", x, [5, 64]) });
    equal(y.data, x.map((v) => 2 * v));
  };
  await Promise.all(Array.from({ length: 8 }, (_, k) => one(k)));
});

test("what does not fit is said, and the session goes on", async () => {
  const session = await create(models.running_sum());
  const state = floats(0, 0, 0, 0);
  await fails(session.run({ x: floats(1), state }), "InvalidInput", /"x".*float\[4\].*float\[1\]/);
  await fails(session.run({ x: new ort.Tensor("int32", [1, 2, 3, 4], [4]), state }), "InvalidInput", /"x".*int32/);
  await fails(session.run({ x: state, state, z: state }), "InvalidInput", /"z"/);
  await fails(session.run({ x: state }), "Error", /'state' is missing/);
  equal((await session.run({ x: state, state: floats(1, 2, 3, 4) })).next.data, Float32Array.of(1, 2, 3, 4));
  await fails(create(new Uint8Array([1, 2, 3])), "InvalidModel", /not an ONNX model/);
  await fails(create(models.running_sum(), { preferredOutputLocation: "texture" }), "TypeError", /preferredOutputLocation/);
  const odd = { executionProviders: [{ name: "webgpu", precision: "float8" }] };
  await fails(create(models.running_sum(), odd), "TypeError", /precision "float8": expected model or float16/);
  await fails(create(models.running_sum(), { executionProviders: ["webgl"] }), "Error", /no available backend/);
});

test("options of sessions are honoured", async () => {
  const freeDimensionOverrides = { n: 3 };
  const gpu = { name: "webgpu", sizes: "fixed", precision: "float16", fallback: "allow" };
  for (const graphOptimizationLevel of ["disabled", "all"]) {
    const session = await create(models.identity(1), { executionProviders: [gpu], freeDimensionOverrides, graphOptimizationLevel });
    equal((await session.run({ x: floats(1, 2, 3) })).y.data, Float32Array.of(1, 2, 3));
  }
});

test("the demo answers", async () => {
  const frame = document.createElement("iframe");
  frame.src = "index.html";
  document.body.append(frame);
  for (let i = 0; i < 600; i++) {
    await new Promise((done) => setTimeout(done, 100));
    const said = frame.contentDocument?.querySelector("output.answer")?.textContent;
    if (!said) continue;
    if (!/^upside down \(\d+\.\d%\)$/.test(said)) throw new Error(said);
    return;
  }
  throw new Error("it says nothing");
});

test("a worker runs models too", async () => {
  const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.postMessage(models.running_sum());
  const answer = await new Promise((good, bad) => {
    worker.onmessage = (e) => good(e.data);
    worker.onerror = (e) => bad(new Error(e.message));
  });
  equal(answer, [2, 4, 6, 8]);
});

report(async () => {
  await load();
  let wrong = 0;
  for (const [name, body] of Object.entries(tests)) {
    const begun = performance.now();
    const outcome = await body().then(() => "ok", (e) => `WRONG: ${e?.stack ?? e}`);
    wrong += outcome !== "ok";
    await say(`${name}: ${outcome} (${Math.round(performance.now() - begun)} ms)`);
  }
  await say(`${Object.keys(tests).length} tests, ${wrong} wrong`);
  return wrong === 0;
});
