// Owns a wrong clock for one whole process: loaded before everything else (`node --import`), it shifts the wall clock by the milliseconds
// that a file names, and looks into that file all the time, so that the clock can jump. The monotonic clock is untouched, as in reality.
import { readFileSync } from "node:fs";

const file = process.env.HOLDFAST_TEST_CLOCK ?? "";
const RealDate = Date;
let offsetMs = 0;

function look(): void {
  try {
    const named = Number(readFileSync(file, "utf8"));
    if (Number.isFinite(named)) offsetMs = named;
  } catch {
    // No file: the clock is right.
  }
}
look();
setInterval(look, 20).unref();

globalThis.Date = new Proxy(RealDate, {
  construct: (target, given, as) =>
    given.length === 0 ? new RealDate(RealDate.now() + offsetMs) : Reflect.construct(target, given, as),
  apply: () => new RealDate(RealDate.now() + offsetMs).toString(),
  get: (target, name, receiver) =>
    name === "now" ? () => RealDate.now() + offsetMs : Reflect.get(target, name, receiver),
});
