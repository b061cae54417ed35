export { NUMBERS, type NumberName } from "../config.ts";
