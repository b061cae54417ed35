import { randomInt } from "node:crypto";

/** Of all random choices of a test; PG2KAFKA_TEST_SEED repeats those of a run. */
export const SEED = Number(process.env["PG2KAFKA_TEST_SEED"] ?? randomInt(2 ** 31));
