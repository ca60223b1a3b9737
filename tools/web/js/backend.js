// shadernet as a backend of ONNX Runtime's JavaScript API: where models and their data come from, what options mean,
// and its tensors on the way in and out.

import { Tensor, env } from "onnxruntime-common";
import load, { Device, DeviceValue, Options, Session } from "./shadernet_web.js";

const ON_HOST = ["cpu", "wasm"];
// what the API's tensors may be of that lie on a device
const HELD = ["float32", "float16", "int32", "int64", "uint32", "uint8", "bool", "uint4", "int4"];

let module;
let device;
// whether there has been one
let found = false;

/** Loads the WebAssembly module, once. */
function loaded() {
  const { wasmBinary, wasmPaths } = env.wasm;
  const file = "shadernet_web_bg.wasm";
  const page = globalThis.document?.baseURI ?? globalThis.location?.href;
  const where = typeof wasmPaths === "string" ? new URL(file, new URL(wasmPaths, page)) : wasmPaths?.wasm;
  module ??= load({ module_or_path: wasmBinary ?? where ?? new URL(`./${file}`, import.meta.url) });
  return module;
}

/** Opens the device, once for as long as it lives. */
async function opened() {
  const { forceFallbackAdapter, powerPreference } = env.webgpu;
  device ??= Device.open(forceFallbackAdapter ? "fallback" : powerPreference);
  try {
    await device;
    found = true;
  } catch (e) {
    device = undefined;
    throw e;
  }
  return device;
}

/** Lets the next session open a device anew if this one failed. */
function failed(error) {
  if (error?.kind === "Device") device = undefined;
  return error;
}

/** The bytes behind an address, a blob or a buffer. */
async function bytes(source) {
  if (typeof source === "string" || source instanceof URL) {
    const answer = await fetch(source);
    if (!answer.ok) throw new Error(`${source}: ${answer.status} ${answer.statusText}`);
    return new Uint8Array(await answer.arrayBuffer());
  }
  if (source instanceof Blob) return new Uint8Array(await source.arrayBuffer());
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  return new Uint8Array(source);
}

/** One of the values that an option has. */
function among(option, value, known) {
  if (!known.includes(value)) throw new TypeError(`${option} ${JSON.stringify(value)}: expected ${known.join(" or ")}`);
  return value;
}

/** Where a session is to run, and what it asks of the library. */
async function asked(options) {
  const providers = (options.executionProviders ?? []).map((p) => (typeof p === "string" ? { name: p } : p));
  const onHost = providers.some((p) => ON_HOST.includes(p.name));
  const gpu = providers.find((p) => p.name === "webgpu");
  const first = providers[0] ?? {};
  const made = new Options();
  const { fallback = onHost ? "allow" : "deny", precision = "model", sizes = "open" } = gpu ?? {};
  if (among("fallback", fallback, ["allow", "deny"]) === "allow") made.allowFallback();
  if (among("precision", precision, ["model", "float16"]) === "float16") made.float16();
  if (among("sizes", sizes, ["open", "fixed"]) === "fixed") made.fixedSizes();
  if (options.graphOptimizationLevel === "disabled") made.withoutPasses();
  for (const [name, extent] of Object.entries(options.freeDimensionOverrides ?? {})) made.dim(name, extent);
  for (const file of options.externalData ?? []) {
    const { path, data } = typeof file === "string" ? { path: file, data: file } : file;
    made.file(path, await bytes(data));
  }
  return { options: made, interpreter: ON_HOST.includes(first.name) || !found };
}

const OF_BITS = {
  float32: Float32Array, float64: Float64Array, int8: Int8Array, uint8: Uint8Array, int16: Int16Array,
  uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array, int64: BigInt64Array, uint64: BigUint64Array,
  bool: Uint8Array, int4: Uint8Array, uint4: Uint8Array, float16: globalThis.Float16Array ?? Uint16Array,
};

/** Elements that the library gave as bytes. */
function elements(type, data) {
  if (type === "string") return data;
  const Elements = OF_BITS[type];
  if (!Elements) throw new TypeError(`ONNX Runtime's JavaScript API has no tensors of ${type}`);
  return new Elements(data.buffer);
}

/** What the library made, as a `Tensor`. */
function tensor(name, value) {
  if (value instanceof DeviceValue) {
    const download = async () => elements(value.type, (await value.read()).data);
    return Tensor.fromGpuBuffer(value, { dataType: value.type, dims: value.dims, download, dispose: () => value.dispose() });
  }
  if (!value?.dims) throw new TypeError(`output ${name} is no tensor`);
  return new Tensor(value.type, elements(value.type, value.data), value.dims);
}

/** The value behind a tensor that an earlier run left on the device. */
function onDevice(name, tensor) {
  if (tensor.gpuBuffer instanceof DeviceValue) return tensor.gpuBuffer;
  throw new TypeError(`${name}: a buffer that shadernet has not made`);
}

class Handler {
  #session;
  #locations;
  #profiling = false;

  constructor(session, locations = "cpu") {
    this.#session = session;
    this.#locations = locations;
    [this.inputMetadata, this.outputMetadata] = [session.inputs, session.outputs];
    this.inputNames = this.inputMetadata.map((i) => i.name);
    this.outputNames = this.outputMetadata.map((o) => o.name);
    const known = ["cpu", "gpu-buffer"];
    const each = typeof locations === "string" ? [locations] : Object.values(locations);
    each.forEach((l) => among("preferredOutputLocation", l, known));
  }

  async dispose() {
    this.#session.free();
  }

  startProfiling() {
    this.#profiling = true;
  }

  endProfiling() {
    this.#profiling = false;
  }

  async run(feeds, fetches) {
    const run = this.#session.begin();
    const into = Object.entries(fetches);
    try {
      for (const [name, value] of Object.entries(feeds)) {
        if (value?.location === "gpu-buffer") run.feedDevice(name, onDevice(name, value));
        else run.feed(name, value);
      }
      for (const [name, value] of into) {
        const location = typeof this.#locations === "string" ? this.#locations : this.#locations[name];
        if (value?.location === "gpu-buffer") run.fetchInto(name, onDevice(name, value));
        else run.fetch(name, !value && location === "gpu-buffer" && this.#holds(name));
      }
      const ondata = env.webgpu.profiling?.mode === "default" ? env.webgpu.profiling.ondata : undefined;
      if (this.#profiling || ondata) run.profile();
    } catch (e) {
      run.free();
      throw e;
    }
    const made = await run.run().catch((e) => {
      throw failed(e);
    });
    (made.timings ?? []).forEach((t) => this.#timed(t));
    return Object.fromEntries(into.map(([name, given], i) => [name, this.#given(name, given, made[i])]));
  }

  /** Whether the API's tensors can say that an output lies on the device. */
  #holds(name) {
    return HELD.includes(this.outputMetadata.find((o) => o.name === name)?.type);
  }

  /** A value that a run made; where the caller has a tensor for it, that one holds it. */
  #given(name, given, value) {
    if (!given) return tensor(name, value);
    if (value instanceof DeviceValue) {
      value.free();
      return given;
    }
    const same = given.type === value.type && given.dims.join() === value.dims.join();
    if (!same) throw new RangeError(`output ${name}: the run gives ${value.type}[${value.dims}], the tensor is ${given.type}[${given.dims}]`);
    const from = elements(value.type, value.data);
    if (value.type === "string") from.forEach((s, i) => (given.data[i] = s));
    else given.data.set(from);
    return given;
  }

  #timed({ kernel, node, start, duration }) {
    const { ondata, mode } = env.webgpu.profiling ?? {};
    const data = {
      version: 1, inputsMetadata: [], outputsMetadata: [], kernelId: 0, kernelType: kernel, kernelName: node,
      programName: kernel, startTime: start * 1e3, endTime: (start + duration) * 1e3,
    };
    if (mode === "default" && ondata) ondata(data);
    else console.log(`${node} (${kernel}): ${duration.toFixed(1)} µs`);
  }
}

/** What `registerBackend` takes. */
export const backend = {
  async init(name) {
    await loaded();
    if (name === "webgpu") await opened();
  },

  async createInferenceSessionHandler(model, options = {}) {
    const read = await bytes(model);
    const wanted = await asked(options);
    if (wanted.interpreter) return new Handler(Session.onInterpreter(read, wanted.options), options.preferredOutputLocation);
    const session = await Session.onDevice(read, wanted.options, await opened()).catch((e) => {
      throw failed(e);
    });
    return new Handler(session, options.preferredOutputLocation);
  },
};
