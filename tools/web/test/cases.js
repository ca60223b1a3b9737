// Every case of every operator; `?ops=Conv,MatMul` those of some, `?shard=1/8` the second of every eight, `?kernels=gpu`
// with the kernels that GPUs have.

import load, { Cases } from "./shadernet_web_cases.js";
import { report, say } from "./report.js";

// after so many that are wrong, others say nothing new
const MOST = 50;

report(async () => {
  const asked = new URLSearchParams(location.search);
  const [first, step] = (asked.get("shard") ?? "0/1").split("/").map(Number);
  await load();
  const open = () => Cases.open(asked.get("ops") ?? "", asked.get("kernels") === "gpu");
  let cases = await open();
  await say(`${cases.length} cases on ${cases.device}`);
  const counts = { compared: 0, "not on device": 0, wrong: 0 };
  for (let i = first, said = performance.now(); i < cases.length; i += step) {
    if (performance.now() - said > 30_000) {
      said = performance.now();
      await say(`${i} of ${cases.length}, ${cases.operator(i)}`);
    }
    try {
      counts[await cases.check(i)]++;
    } catch (e) {
      counts.wrong++;
      await say(`${cases.operator(i)}, case ${i}: ${e?.message ?? e}`);
      if (/device is lost/.test(`${e}`)) cases = await open();
      if (counts.wrong === MOST) break;
    }
  }
  await say(JSON.stringify(counts));
  return counts.wrong === 0 && counts.compared > 0;
});
