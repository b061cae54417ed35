/* Rows that look like those of a shop: names, addresses, prices, ids and times, without two that
   are alike. A row is some 385 bytes as JSON. */

const WORDS = {
  first: "Anna Jonas Maria Lukas Sofia Elias Emma Noah Lena Felix Clara David Nora Simon Julia Max",
  last: "Müller Schmidt Novak Rossi Dubois Jensen Kowalski Garcia Smith Nagy Popescu Costa Weber",
  street: "Hauptstraße Bahnhofstraße Gartenweg Lindenallee Schulstraße Kirchplatz Ringstraße",
  city: "Berlin Hamburg München Köln Wien Graz Zürich Praha Kraków Porto Lyon Torino Malmö Gent",
  status: "new active active active active blocked closed",
  note: "call back,prefers email,gift wrap,leave at the door,no phone,,,,,,",
};

export const CREATE_CUSTOMERS = `
  create table customers (
    id bigint primary key,
    uid uuid not null,
    first_name text not null,
    last_name text not null,
    email text not null,
    phone text not null,
    street text not null,
    postcode text not null,
    city text not null,
    status text not null,
    credit numeric(10, 2) not null,
    orders integer not null,
    newsletter boolean not null,
    note text,
    created_at timestamptz not null,
    updated_at timestamptz not null
  )`;

/** One of the words, by some of the bits of the row's hash `h`. */
function word(name: keyof typeof WORDS, shift: number): string {
  const words = WORDS[name].split(name === "note" ? "," : " ");
  const list = words.map((text) => `'${text}'`).join(",");
  return `(array[${list}])[1 + ((h >> ${shift}) & 65535) % ${words.length}]`;
}

/** `$1` is how many. The same ones each time, but for their uuids. */
export const INSERT_CUSTOMERS = `
  insert into customers
  select g, gen_random_uuid(), first, last,
    lower(first) || '.' || h % 9973 || '@example.' || (array['com', 'de', 'org'])[1 + h % 3],
    '+49 ' || 30 + h % 900 || ' ' || lpad((h >> 7 & 16777215)::text, 8, '0'),
    street || ' ' || 1 + h % 180, lpad((h >> 9 & 65535)::text, 5, '0'), city, status,
    (h % 1000000)::numeric / 100, (h % 40)::int, h % 3 = 0, nullif(note, ''),
    '2019-01-01'::timestamptz + (h % 200000000) * interval '1 second',
    '2026-01-01'::timestamptz + (h % 20000000000) * interval '1 millisecond'
  from (
    select g, h, ${word("first", 0)} as first, ${word("last", 8)} as last,
      ${word("street", 16)} as street, ${word("city", 24)} as city, ${word("status", 32)} as status,
      ${word("note", 40)} as note
    from (
      select g, hashint8extended(g, 42) & 9007199254740991 as h from generate_series(1, $1::int) g
    ) hashed
  ) row`;

/** An event for each of them. */
export const INSERT_CUSTOMER_EVENTS = `
  insert into pg2kafka.outbound_event_queue (external_id, table_schema, table_name, statement, data)
  select id::text, 'public', 'customers', 'INSERT', row_to_json(c) from customers c`;
