// shadernet beside onnxruntime-web on the same WebGPU, in turns: `?models=a.onnx,b.onnx&rounds=5`.

import * as theirs from "./ort.webgpu.bundle.min.mjs";
import * as ours from "./index.js";
import { report, say } from "./report.js";

const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];

/** Random values for each input, open extents 1. */
function feeds(api, session) {
  let seed = 1;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const one = ({ name, type, shape }) => {
    const dims = shape.map((d) => (typeof d === "number" && d > 0 ? d : 1));
    const count = dims.reduce((a, b) => a * b, 1);
    const values = Array.from({ length: count }, () => (type === "float32" ? random() : Math.floor(2 * random())));
    return [name, new api.Tensor(type, values, dims)];
  };
  return Object.fromEntries(session.inputMetadata.map(one));
}

report(async () => {
  const asked = new URLSearchParams(location.search);
  const rounds = Number(asked.get("rounds") ?? 5);
  const ratios = [];
  await say("| model | create, ms | first, ms | median, ms | onnxruntime-web: create | first | median | × | differs by |");
  await say("|---|---|---|---|---|---|---|---|---|");
  for (const model of asked.get("models").split(",")) {
    const rows = [];
    for (const api of [ours, theirs]) {
      const row = { times: [] };
      rows.push(row);
      try {
        let begun = performance.now();
        row.session = await api.InferenceSession.create(model, { executionProviders: ["webgpu"] });
        row.create = performance.now() - begun;
        row.feeds = feeds(api, row.session);
        begun = performance.now();
        row.out = Object.values(await row.session.run(row.feeds))[0];
        row.first = performance.now() - begun;
      } catch (e) {
        row.error = `${e.message ?? e}`.slice(0, 160);
      }
    }
    for (let i = 0; i < rounds; i++) {
      for (const row of rows.filter((r) => !r.error)) {
        const begun = performance.now();
        await row.session.run(row.feeds);
        row.times.push(performance.now() - begun);
      }
    }
    const cells = rows.map((r) => (r.error ? [r.error, "", ""] : [r.create, r.first, median(r.times)].map((t) => t.toFixed(1))));
    const [a, b] = rows;
    let [times, off] = ["", ""];
    if (!a.error && !b.error) {
      ratios.push(median(b.times) / median(a.times));
      times = ratios.at(-1).toFixed(1);
      const most = b.out.data.reduce((m, v) => Math.max(m, Math.abs(Number(v))), 0);
      off = (a.out.data.reduce((m, v, i) => Math.max(m, Math.abs(Number(v) - Number(b.out.data[i]))), 0) / most).toExponential(0);
    }
    await say(`| ${[model.split("/").at(-2) ?? model, ...cells.flat(), times, off].join(" | ")} |`);
    for (const row of rows) await row.session?.release();
  }
  const mean = Math.exp(ratios.reduce((s, r) => s + Math.log(r), 0) / ratios.length);
  await say(`geometric mean ${mean.toFixed(1)}`);
  return ratios.length > 0;
});
