// Trained models beside ONNX Runtime's outputs: `?folders=target/models/a,target/models/b`.

import load, { Cases } from "./shadernet_web_cases.js";
import { report, say } from "./report.js";

/** A file's bytes; nothing where there is none. */
async function bytes(path) {
  const answer = await fetch(path);
  return answer.ok ? new Uint8Array(await answer.arrayBuffer()) : undefined;
}

/** `input_0.pb`, `input_1.pb` and so on. */
async function values(folder, kind) {
  const all = [];
  for (let next; (next = await bytes(`${folder}/test_data_set_0/${kind}_${all.length}.pb`)); ) all.push(next);
  return all;
}

report(async () => {
  await load();
  const cases = await Cases.open("none", false);
  let wrong = 0;
  const folders = new URLSearchParams(location.search).get("folders").split(",");
  for (const folder of folders) {
    const begun = performance.now();
    try {
      const [inputs, outputs] = [await values(folder, "input"), await values(folder, "output")];
      if (!outputs.length) throw new Error("there is no test data");
      const [off, theirs] = await cases.golden(await bytes(`${folder}/model.onnx`), inputs, outputs);
      // with weights of 8 bits one activation that is rounded the other way moves others
      const most = /int8/.test(folder) ? Math.max(1 / 128, theirs) : 1e-4;
      if (!(off <= most)) throw new Error(`differs by ${off}, more than ${most}`);
      await say(`${folder}: differs by ${off.toExponential(0)} (${Math.round(performance.now() - begun)} ms)`);
    } catch (e) {
      wrong++;
      await say(`${folder}: WRONG: ${e?.message ?? e}`);
    }
  }
  await say(`${folders.length} models, ${wrong} wrong`);
  return wrong === 0;
});
