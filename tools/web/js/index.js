// What `onnxruntime-web` exports, over shadernet: registers the backends and passes ONNX Runtime's API on.

import { registerBackend } from "onnxruntime-common";
import * as api from "onnxruntime-common";
import { backend } from "./backend.js";

// the first that can be had is taken where a session names no provider
registerBackend("webgpu", backend, 20);
registerBackend("cpu", backend, 10);
registerBackend("wasm", backend, 10);

export * from "onnxruntime-common";
export default api;
