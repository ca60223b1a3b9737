// What a test page says to browser.py.

const post = (to, what) => fetch(to, { method: "POST", body: JSON.stringify(what) });

/** Prints a line. */
export const say = (line) => post("/say", line);

/** Runs a page's test: right unless it throws or gives false. */
export async function report(test) {
  let right = false;
  try {
    right = (await test()) !== false;
  } catch (e) {
    await say(`${e?.name}: ${e?.message ?? e}\n${e?.stack ?? ""}`);
  }
  await post("/end", right);
}
