/** Writes one JSON object a line. Never given a row, a key, or a secret. */
export type Log = (level: "info" | "warn" | "error", event: string, fields?: object) => void;

/** To standard error: standard output is for results. */
export const log: Log = (level, event, fields = {}) => {
  process.stderr.write(
    `${JSON.stringify({ time: new Date().toISOString(), level, event, ...fields })}\n`,
  );
};
