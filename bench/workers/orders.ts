import { randomUUID } from "node:crypto";
import { type Message, messageFormat } from "../../functions/core/message.ts";

const FIRST_NAMES =
  "Anna Boris Chloé Daniel Elif Farid Grace Henrik Inês Jonas Katarzyna Liam Mei Nuno Olga Søren".split(
    " ",
  );
const LAST_NAMES =
  "Andersson Becker Çelik Dubois Ferrari García Horvat Jansen Kowalski Müller Novák O'Brien Tanaka Xu".split(
    " ",
  );
const STREETS = "Hauptstraße Storgatan Kerkstraat Church-Lane Via-Roma Ulica-Długa".split(" ");
const CITIES = "Berlin Lyon Milano Madrid Göteborg Leeds Utrecht Kraków Zürich Lisboa".split(" ");
const STATES = "new paid shipped cancelled returned".split(" ");

/**
 * Messages of rows as a shop has them, for what compression makes of them: names, addresses,
 * prices, random uuids and times, about 800 bytes each.
 */
export function makeOrders(namespace: string, count: number): Message[] {
  const toMessage = messageFormat({ queueId: randomUUID(), database: "bench", namespace });
  const nowMs = Date.now();
  return Array.from({ length: count }, (_, index) => {
    const externalId = randomUUID();
    const [first, last] = [pick(FIRST_NAMES), pick(LAST_NAMES)];
    const createdMs = nowMs + index * 137 + below(100);
    const data = JSON.stringify({
      order_id: externalId,
      customer_id: randomUUID(),
      name: `${first} ${last}`,
      email: `${first}.${last}${below(900)}@example.com`.toLowerCase(),
      phone: `+49 ${100_000_000 + below(900_000_000)}`,
      street: `${pick(STREETS)} ${below(200)}`,
      postcode: String(10_000 + below(90_000)),
      city: pick(CITIES),
      status: pick(STATES),
      quantity: 1 + below(9),
      price: (below(50_000) / 100).toFixed(2),
      currency: "EUR",
      paid: below(10) < 7,
      note: null,
      created_at: new Date(createdMs).toISOString(),
      updated_at: new Date(createdMs + below(10_000_000)).toISOString(),
    });
    return toMessage({
      id: String(index),
      uuid: randomUUID(),
      externalId,
      schema: "public",
      table: "items",
      statement: below(2) === 0 ? "INSERT" : "UPDATE",
      data,
      createdAtMicros: String(BigInt(createdMs) * 1000n + BigInt(below(1000))),
      replay: null,
    });
  });
}

function below(bound: number): number {
  return Math.floor(Math.random() * bound);
}

function pick(choices: readonly string[]): string {
  return choices[below(choices.length)]!;
}
