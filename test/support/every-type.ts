import type { Sql } from "postgres";

/** A column for a type: what it is called, its type in SQL, and values as SQL expressions. */
export interface TypedColumn {
  name: string;
  type: string;
  values: readonly string[];
}

/** Those of contrib that bring types, and come with Postgres. */
const EXTENSIONS = ["citext", "cube", "hstore", "intarray", "isn", "lo", "ltree", "seg"];

/** Types of the application's own, of each kind. */
const OWN_TYPES = `
  create type public.mood as enum ('ok', 'it''s "fine"', E'line\\nbreak', '');
  create type public.pair as (a int, "B ""c" text);
  create type public.nest as (p public.pair, ps public.pair[], m public.mood, f float8);
  create domain public.positive as numeric check (value > 0);
  create domain public.many as public.positive[];
  create domain public.named as public.pair;
  create domain public.filled as text default 'x' not null;
  create type public.floats as range (subtype = float8);
  create type public.nothing as ();`;

/* What is escaped in JSON, in arrays, in composites, and what may be cut off or trimmed. */
const TEXTS = [
  `E'quote " backslash \\\\ slash / nl \\n cr \\r tab \\t bell \\u0007 esc \\u001b[31m del \\u007f'`,
  `'NULL'`,
  `''`,
  `' {"a": [1,2]} '`,
  `U&'\\2028 \\2029 \\FEFF \\FFFD \\FFFF \\+01F600 \\+10FFFF e\\0301 \\202E'`,
  `'''; drop table every; --'`,
];

/* As a type prints them; a type that is not listed makes the test fail. */
const VALUES: Record<string, readonly string[]> = {
  bool: ["true", "false"],
  int2: ["'-32768'", "32767"],
  int4: ["'-2147483648'", "2147483647"],
  int8: ["9007199254740993", "'-9223372036854775808'", "9223372036854775807"],
  numeric: ["'NaN'", "12345678901234567890.10", "1e400", "-0.00", "1e-400"],
  float4: ["'-0'", "'NaN'", "'-Infinity'", "16777217", "1e-45", "3.4028235e38"],
  float8: ["'-0'", "'NaN'", "'Infinity'", "9007199254740993", "5e-324", "1.7976931348623157e308"],
  money: ["'-92233720368547758.08'"],
  text: TEXTS,
  varchar: TEXTS,
  bpchar: ["' a  '"],
  char: [`'"'`, `'\\'`, "''"],
  name: [`'a "b"'`],
  refcursor: ["'portal'"],
  bytea: [`'\\x00ff5c22'`, `''`],
  date: ["'infinity'", "'4713-01-01 BC'", "'5874897-12-31'"],
  time: ["'24:00:00'", "'00:00:00.000001'"],
  timetz: ["'23:59:59.999999-15:59:59'"],
  timestamp: ["'-infinity'", "'0044-03-15 12:00 BC'", "'294276-12-31 23:59:59.999999'"],
  timestamptz: ["'infinity'", "'0044-03-15 12:00+00 BC'", "'2024-02-29 12:00:00.5+05:45'"],
  interval: ["'-1 year +2 mons -3 days 04:05:06.789'", "'178000000 years'"],
  uuid: ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
  json: [
    `'{"b": 1.10,  "a": [1e400, -0, 12345678901234567890], "a": 2, "__proto__": {"x": 1}}'`,
    `'{"nul": "\\u0000", "lone": "\\ud800", "\\udc00": 1}'`,
    `'null'`,
    `E'[\\n1,\\r\\n\\t2]'`,
  ],
  jsonb: [`'{"b": 1.10, "a": [1e400, -0, 12345678901234567890], "": "\\ud83d\\ude00"}'`, `'null'`],
  jsonpath: [`'$.a[*] ? (@ > 1 && @ like_regex "x\\"y")'`],
  xml: [`'<a b="c">&amp;<![CDATA[<]]></a>'`],
  inet: ["'10.0.0.1/24'", "'::ffff:1.2.3.4/128'"],
  cidr: ["'2001:db8::/32'"],
  macaddr: ["'08:00:2b:01:02:03'"],
  macaddr8: ["'08:00:2b:01:02:03:04:05'"],
  bit: ["B'1'", "B'0'"],
  varbit: ["B'10101'", "B''"],
  point: ["'(-0,1e300)'", "'(NaN,Infinity)'"],
  line: ["'{1,-1,0}'"],
  lseg: ["'[(0,0),(1,1)]'"],
  box: ["'(1,1),(0,0)'"],
  path: ["'((0,0),(1,1))'", "'[(0,0),(1,1)]'"],
  polygon: ["'((0,0),(1,1),(2,0))'"],
  circle: ["'<(0,0),1>'"],
  tsvector: [`'''a''''b'':1A ''c\\\\d'' '`],
  tsquery: [`'''a''''b'' & !''c'':*'`],
  int4range: ["'[1,5)'", "'empty'", "'(,)'"],
  int8range: ["'[9007199254740993,)'"],
  numrange: ["'(1.10,NaN]'"],
  tsrange: [`'["2024-01-01 00:00",infinity)'`],
  tstzrange: [`'["2024-01-01 00:00+02",)'`],
  daterange: ["'[2024-01-01,)'"],
  int4multirange: ["'{[1,3),[5,8)}'", "'{}'"],
  int8multirange: ["'{[9007199254740993,)}'"],
  nummultirange: ["'{(1.10,NaN]}'"],
  tsmultirange: [`'{["2024-01-01 00:00",infinity)}'`],
  tstzmultirange: [`'{["2024-01-01 00:00+02",)}'`],
  datemultirange: ["'{[2024-01-01,)}'"],
  oid: ["4294967295"],
  xid: ["'4294967295'"],
  xid8: ["'18446744073709551615'"],
  cid: ["'4294967295'"],
  tid: ["'(4294967295,65535)'"],
  pg_lsn: ["'FFFFFFFF/FFFFFFFF'"],
  pg_snapshot: ["'10:20:10,14'"],
  txid_snapshot: ["'10:20:10,14'"],
  aclitem: [`'=r/postgres'`],
  regclass: [`'pg_catalog.pg_class'`, "'-'"],
  regcollation: [`'"C"'`],
  regconfig: ["'simple'"],
  regdictionary: ["'simple'"],
  regnamespace: ["'public'"],
  regoper: ["'||/'"],
  regoperator: ["'+(integer,integer)'"],
  regproc: ["'now'"],
  regprocedure: ["'abs(numeric)'"],
  regrole: ["'pg_monitor'"],
  regtype: [`'character varying'`],
  int2vector: ["'1 -2 3'"],
  oidvector: ["'1 4294967295'"],
  // Made by Postgres only: taken from its catalogs.
  pg_node_tree: ["(select adbin from pg_attrdef limit 1)"],
  pg_ndistinct: ["(select stxdndistinct from pg_statistic_ext_data limit 1)"],
  pg_dependencies: ["(select stxddependencies from pg_statistic_ext_data limit 1)"],
  pg_mcv_list: ["(select stxdmcv from pg_statistic_ext_data limit 1)"],

  cardinal_number: ["7"],
  character_data: TEXTS,
  sql_identifier: [`'a "b"'`],
  time_stamp: ["'2024-02-29 12:00:00+00'"],
  yes_or_no: ["'YES'"],

  mood: [`'it''s "fine"'`, `E'line\\nbreak'`, "''"],
  pair: [`row(1, 'x "y", (z) \\')`, "row(null, null)", "row(1, '')"],
  nest: [`row(row(1, 'x'), array[row(2, null)::public.pair], 'ok', 'NaN')`],
  positive: ["1.10", "1e400"],
  many: ["array[1.10, 2]"],
  _many: [`'{"{1.10,2}",NULL}'`],
  filled: [`'y"'`],
  _filled: [`'{y,"z\\""}'`],
  named: [`row(1, 'x "y"')`],
  floats: ["'[-0,Infinity)'"],
  floats_multirange: ["'{[-0,1),(2,)}'"],
  multirange_of_floats: ["'{[-0,1),(2,)}'"],
  nothing: ["row()"],

  citext: [`'MiXed "Ä"'`],
  cube: ["'(1,2),(3,4)'"],
  hstore: [`'"a \\"b\\""=>"1", c=>NULL, ""=>""'`],
  query_int: ["'1&(2|!3)'"],
  ean13: ["'978-3-16-148410-0'"],
  isbn: ["'3-16-148410-X'"],
  isbn13: ["'978-3-16-148410-0'"],
  ismn: ["'M-2306-7118-7'"],
  ismn13: ["'979-0-2306-7118-7'"],
  issn: ["'1436-4522'"],
  issn13: ["'977-1436-45200-8'"],
  upc: ["'036000291452'"],
  lo: ["4294967295"],
  ltree: ["'Top.a_1.b'"],
  lquery: ["'Top.*{1,2}.!a|b@*'"],
  ltxtquery: ["'a & !b@*'"],
  seg: ["'1.0(+-)0.1'", "'<1 .. 2'"],
};

/** Parts of indexes and of statistics: no column can hold a value of them, for they read none. */
const WITHOUT_VALUES =
  /^(g(tsvector|hstore|trgm|btreekey\w+)|intbig_gkey|ltree_gist|pg_brin_\w+_summary)$/;

/**
 * A column for each type that a column can have: all in the catalog but pseudo-types and the rows
 * of catalogs, the arrays of each, and types of the application and of extensions.
 *
 * Side effect: makes those types, in a database of which the role must be superuser.
 * @throws naming each type for which there is no value here
 */
export async function columnsOfEveryType(sql: Sql): Promise<TypedColumn[]> {
  for (const extension of EXTENSIONS) await sql.unsafe(`create extension ${extension}`);
  await sql.unsafe(OWN_TYPES);
  await sql.unsafe(`
    create table public.measured (a int default 1 + 1, b int);
    create statistics public.measures (ndistinct, dependencies, mcv) on a, b from public.measured;
    insert into public.measured select n % 3, n % 3 from generate_series(1, 99) n;
    analyze public.measured;`);
  const types = await sql<{ name: string; type: string; element: string | null }[]>`
    select t.typname as name, format('%I.%I', n.nspname, t.typname) as type,
      case when t.typcategory = 'A' and t.typtype = 'b' and t.typelem <> 0 and e.typarray = t.oid then e.typname end as element
    from pg_type t
    join pg_namespace n on n.oid = t.typnamespace
    left join pg_type e on e.oid = t.typelem
    left join pg_class c on c.oid = coalesce(nullif(t.typrelid, 0), e.typrelid)
    where t.typtype <> 'p' and coalesce(e.typtype, 'b') <> 'p'
      and n.nspname not in ('pg2kafka', 'pg_toast')
      -- Not the rows of tables, catalogs or views.
      and (c.oid is null or c.relkind = 'c')
    order by t.oid`;
  const missing = new Set<string>();
  const columns = types.map(({ name, type, element }) => {
    const values = VALUES[name] ?? VALUES[element ?? ""]?.map(arrayOf);
    if (values === undefined && !WITHOUT_VALUES.test(element ?? name)) missing.add(element ?? name);
    return { name: `c_${name}`, type, values: (values ?? ["null"]).map((v) => `${v}::${type}`) };
  });
  if (missing.size > 0) throw new Error(`No value for the types ${[...missing].join(", ")}.`);
  return columns;
}

/** Two elements and a null, in two dimensions. */
function arrayOf(value: string): string {
  return `array[[${value}, null], [${value}, ${value}]]`;
}
