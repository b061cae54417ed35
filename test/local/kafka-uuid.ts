import { randomUUID } from "node:crypto";

/** A random id as Kafka writes them: a version 4 UUID in 22 characters of base64url. */
export function kafkaUuid(): string {
  const bytes = Buffer.from(randomUUID().replaceAll("-", ""), "hex");
  return bytes.toString("base64url");
}
