export * from "onnxruntime-common";
import * as api from "onnxruntime-common";
export default api;

/** What a session may ask of the provider `webgpu` beside its name. */
export interface WebGpuProviderOptions {
  readonly name: "webgpu";
  /** Compute in float16 what the model has in float32, where the device has it. */
  precision?: "model" | "float16";
  /** Inputs keep the sizes of the first run. */
  sizes?: "open" | "fixed";
  /** Whether nodes that the device cannot run go to the interpreter; `allow` where `cpu` or `wasm` follows in the list. */
  fallback?: "allow" | "deny";
}

/** What the library throws. */
export interface ShadernetError extends Error {
  name: "ShadernetError";
  kind: "Io" | "InvalidModel" | "Unsupported" | "InvalidInput" | "InvalidNode" | "Limit" | "Device" | "Internal";
}
