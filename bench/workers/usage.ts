/* Loaded before a script that is measured (`node --import`): as the process ends, it writes what
   it has used as JSON to the file descriptor USAGE_FD. */
import { readFileSync, writeSync } from "node:fs";

process.on("exit", () => {
  const { user, system } = process.cpuUsage();
  // Not process.resourceUsage(): there the peak begins with that of the process that started it.
  const peakKilobytes = /VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  const usage = { cpuMs: (user + system) / 1_000, peakBytes: Number(peakKilobytes) * 1_024 };
  writeSync(Number(process.env["USAGE_FD"]), JSON.stringify(usage));
});
