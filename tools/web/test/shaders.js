// Every shader that GPUs in browsers run, by the browser's own compiler: what it refuses no page could run.

import load, { shaders } from "./shadernet_web_cases.js";
import { report, say } from "./report.js";

/** Software adapters have no float16: what is written for it is read as if it were float32. */
const in32 = (text) => text.replace("enable f16;", "").replace(/\bf16\b/g, "f32").replace(/(\d)h\b/g, "$1f");

report(async () => {
  await load();
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter.requestDevice();
  let [count, wrong] = [0, 0];
  for (const profile of ["base", "f16", "cpu"]) {
    const texts = new Map(shaders(profile).map(({ file, text }) => [in32(text), file]));
    for (const [code, file] of texts) {
      const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
      const errors = messages.filter((m) => m.type === "error");
      count++;
      if (!errors.length) continue;
      wrong++;
      const lines = code.split("\n");
      const said = errors.map((e) => `${e.message} at "${lines[e.lineNum - 1]?.trim()}"`);
      if (wrong < 40) await say(`${file} on ${profile}: ${said.join("; ")}`);
    }
  }
  await say(`${count} shaders, ${wrong} refused`);
  return wrong === 0 && count > 500;
});
