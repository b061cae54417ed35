import { appendFileSync } from "node:fs";
import { randomFrom } from "../support/random.ts";
import { SEED } from "./seed.ts";

/* To be loaded before a process' own code, with `node --import`: its clock of the day jumps while it
   works, to and fro. performance.now() goes on as it does, and so do timers. */

const EVERY_MS = 20;
/** 20 days, in each direction. */
const BY_MS_MAX = 20 * 86_400_000;

const random = randomFrom(SEED);
const { now } = Date;
let byMs = 0;
let jumps = 0;

Date.now = () => now() + byMs;
globalThis.Date = new Proxy(Date, {
  construct: (target, args) =>
    Reflect.construct(target, args.length === 0 ? [Date.now()] : args) as object,
});
setInterval(() => {
  byMs = random(2 * BY_MS_MAX) - BY_MS_MAX;
  jumps += 1;
}, EVERY_MS).unref();
process.on("exit", () => appendFileSync(process.env["JUMPS_FILE"]!, `${jumps}\n`));
