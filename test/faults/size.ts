/** `npm test` runs each fault in its short form, `npm run test:faults` in its long one. */
export function ofSize<Value>({ short, long }: { short: Value; long: Value }): Value {
  return process.env["PG2KAFKA_TEST_FAULTS"] === "long" ? long : short;
}
