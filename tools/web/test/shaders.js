// Every shader that GPUs in browsers run, by the browser's own compiler: what it refuses no page could run.

import load, { profiles, shaders } from "./shadernet_web_cases.js";
import { report, say } from "./report.js";

/** Software adapters have no float16: what is written for it is read as if it were float32. */
const in32 = (text) => text.replace("enable f16;", "").replace(/\bf16\b/g, "f32").replace(/(\d)h\b/g, "$1f");

report(async () => {
  await load();
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter.requestDevice();
  const read = new Set();
  let wrong = 0;
  for (const profile of profiles()) {
    for (const { file, text } of shaders(profile)) {
      const code = in32(text);
      if (read.has(code)) continue;
      read.add(code);
      const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
      const errors = messages.filter((m) => m.type === "error");
      if (!errors.length) continue;
      wrong++;
      const lines = code.split("\n");
      const said = errors.map((e) => `${e.message} at "${lines[e.lineNum - 1]?.trim()}"`);
      if (wrong < 40) await say(`${file} on ${profile}: ${said.join("; ")}`);
    }
    await say(`${profile}: ${read.size} shaders so far, ${wrong} refused`);
  }
  return wrong === 0 && read.size > 5000;
});
