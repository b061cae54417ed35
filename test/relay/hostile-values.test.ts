import { describe, expect, test } from "vitest";
import { createTopic } from "../local/topics.ts";
import { readCommitted } from "../support/committed.ts";
import { newest, useDatabase, versions } from "../support/database.ts";
import { type CapturedEvent, expectFold, parseExactly } from "../support/events.ts";
import { columnsOfEveryType } from "../support/every-type.ts";
import { useKafka } from "../support/kafka.ts";
import { drainToKafka } from "./support.ts";

const cluster = useKafka();

/* What Postgres reads from JSON not at all, or as something else: json inside of it, hstore (whose
   cast makes an object), arrays of what is an array itself, and types that read nothing. */
const NOT_READ =
  /^c_(_?(json|jsonb|hstore|pg_node_tree|pg_ndistinct|pg_dependencies|pg_mcv_list)|_(int2vector|oidvector|many))$/;

/* From a write to what a consumer of Kafka parses; each way of delivery once. */
describe.each(versions)("on Postgres %i, through the drain", (version) => {
  const server = useDatabase(version, { superuser: true });

  test("values of every type: a consumer holds what the table holds", async () => {
    const { sql, database } = server;
    const columns = await columnsOfEveryType(sql);
    const names = columns.map(({ name }) => `"${name}"`).join(", ");
    const typed = columns.map(({ name, type }) => `"${name}" ${type}`).join(", ");
    const count = Math.max(...columns.map(({ values }) => values.length));
    const insertAll = async (firstId: number) => {
      for (let row = 0; row < count; row++) {
        const values = columns.map(({ values }) => values[row % values.length]).join(", ");
        await sql.unsafe(`insert into every (id, ${names}) values (${firstId + row}, ${values})`);
      }
    };
    await sql.unsafe(`create table every (id int primary key, ${typed})`);
    await insertAll(0);
    await sql`select pg2kafka.setup('every', 'id')`;
    await insertAll(100);
    // From null to each value.
    await sql`insert into every (id) select 200 + n from generate_series(0, ${count - 1}::int) n`;
    await sql.unsafe(
      `update every t set (${names}) = (select ${names} from every s where s.id = t.id - 200) where id >= 200`,
    );

    const topic = `pg2kafka.${database.name}.every`;
    await createTopic(cluster.brokers, topic);
    const report = await drainToKafka(database, cluster.brokers, {
      KAFKA_BROKER: cluster.brokers.join(","),
      DELIVERY: version === newest ? "exactly-once" : "at-least-once",
    });
    expect(report).toMatchObject({ delivered: 4 * count, parked: 0, drained: true });

    const messages = await readCommitted(cluster.brokers, topic);
    const events = messages.map(({ key, value }) => {
      const event = parseExactly(value) as CapturedEvent;
      expect(event.external_id).toBe(key);
      return event;
    });
    await expectFold(events, sql, "every", "id");

    // And what Postgres reads from the messages is what the rows have. (It reads no \\u0000 and no
    // lone surrogate, which only the columns of type json hold.)
    const whole = messages
      .filter(({ value }) => !value.includes(`"statement":"UPDATE"`))
      .map(({ value }) => value.replaceAll(/\\u(0000|d800|dc00)/g, ""));
    const read = columns.filter(({ name }) => !NOT_READ.test(name));
    const differing = read.map(
      ({ name }) =>
        `case when r."${name}"::text is distinct from t."${name}"::text then '${name}' end`,
    );
    const rows = await sql.unsafe(
      `select distinct unnest(array[${differing}]) as differing
       from unnest($1::text[]) m
       cross join json_to_record(m::json->'data') r (id int, ${read.map(({ name, type }) => `"${name}" ${type}`)})
       join every t using (id)
       where id < 200`,
      [whole],
    );
    expect(rows).toEqual([{ differing: null }]);
  });
});

describe("on the newest Postgres", () => {
  const server = useDatabase(newest);

  test.each(["at-least-once", "exactly-once"])(
    "10 MB in a row, %s: parked where Kafka takes no more than 8 MB, and the rest goes on",
    async (delivery) => {
      const { sql, database } = server;
      await sql`create table big (id text primary key, value text)`;
      await sql`select pg2kafka.setup('big', 'id')`;
      const insert = (id: string, character: string, count: number) =>
        sql`insert into big values (${id}, repeat(${character}, ${count}))`;
      await insert("8 MB", "x", 8_380_000);
      await insert("10 MB", "x", 10_000_000);
      // Six bytes each in JSON.
      await insert("2 MB", "\u0001", 2_000_000);
      await insert("little", '"', 1_000);
      await sql`update big set value = 'after' where id = '10 MB'`;
      const topic = `pg2kafka.${database.name}.big`;
      await createTopic(cluster.brokers, topic, { configs: { "max.message.bytes": "9000000" } });
      const report = await drainToKafka(database, cluster.brokers, {
        KAFKA_BROKER: cluster.brokers.join(","),
        DELIVERY: delivery,
        MESSAGE_BYTES_MAX: "8388608",
        REQUEST_BYTES_MAX: "8388608",
      });
      expect(report).toMatchObject({ delivered: 2, parked: 3, drained: true });
      const parked = await sql`select external_id, code from pg2kafka.parked_events order by id`;
      expect(parked.map(({ external_id, code }) => [external_id, code])).toEqual([
        ["10 MB", "MESSAGE_TOO_LARGE"],
        ["2 MB", "MESSAGE_TOO_LARGE"],
        ["10 MB", "BEHIND_REFUSED"],
      ]);
      const read = await readCommitted(cluster.brokers, topic);
      expect(read.map(({ value }) => JSON.parse(value).data.value)).toEqual([
        "x".repeat(8_380_000),
        '"'.repeat(1_000),
      ]);
    },
  );
});
