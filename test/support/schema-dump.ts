import type { Sql } from "postgres";

/**
 * The schema pg2kafka as text, one object a line, the same on every supported version: what
 * pg_dump would show, which npm's Postgres lacks.
 *
 * @param withRows also what the tables that describe the installation hold
 */
export async function dumpSchema(sql: Sql, { withRows = false } = {}): Promise<string> {
  const lines: string[] = [];
  const add = async (query: Promise<{ line: string }[]>) => {
    lines.push(...(await query).map(({ line }) => line).sort());
  };
  const privileges = (acl: string, owner: string, kind: string) => `
    coalesce((
      select string_agg(
        format('%s=%s', case when a.grantee = 0 then 'public' else a.grantee::regrole::text end, a.privilege_type),
        ',' order by a.grantee, a.privilege_type
      )
      from aclexplode(coalesce(${acl}, acldefault('${kind}', ${owner}))) a
      where a.grantee <> ${owner}
    ), 'owner only')`;

  await add(
    sql.unsafe(`
    select format('schema %s: %s', nspname, ${privileges("nspacl", "nspowner", "n")}) as line
    from pg_namespace where nspname = 'pg2kafka'`),
  );
  await add(
    sql.unsafe(`
    select format('%s %s%s%s%s%s: %s; %s',
      case c.relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'S' then 'sequence'
        when 'v' then 'view' else c.relkind::text end,
      c.relname, ' ' || pg_get_partkeydef(c.oid), ' ' || pg_get_expr(c.relpartbound, c.oid),
      case c.relreplident when 'f' then ' replica identity full' end,
      ' with ' || array_to_string(c.reloptions, ', '),
      ${privileges("c.relacl", "c.relowner", "r")}, obj_description(c.oid, 'pg_class')) as line
    from pg_class c
    where c.relnamespace = 'pg2kafka'::regnamespace and c.relkind in ('r', 'p', 'S', 'v')`),
  );
  await add(sql`
    select format('column %s.%s %s %s%s%s%s; %s', c.relname, lpad(a.attnum::text, 2, '0'), a.attname,
      format_type(a.atttypid, a.atttypmod), case when a.attnotnull then ' not null' end,
      ' default ' || pg_get_expr(d.adbin, d.adrelid),
      case a.attidentity when 'd' then ' identity by default' when 'a' then ' identity' end,
      col_description(c.oid, a.attnum)) as line
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relnamespace = 'pg2kafka'::regnamespace and c.relkind in ('r', 'p', 'v')
      and a.attnum > 0 and not a.attisdropped`);
  await add(sql`
    select format('constraint %s on %s %s', o.conname, o.conrelid::regclass, pg_get_constraintdef(o.oid)) as line
    from pg_constraint o
    where o.connamespace = 'pg2kafka'::regnamespace and o.contype in ('c', 'p', 'u', 'f', 'x')`);
  await add(sql`
    select format('index %s', pg_get_indexdef(i.indexrelid)) as line
    from pg_index i join pg_class c on c.oid = i.indexrelid
    where c.relnamespace = 'pg2kafka'::regnamespace`);
  await add(sql`
    select format('trigger %s', pg_get_triggerdef(t.oid)) as line
    from pg_trigger t join pg_class c on c.oid = t.tgrelid
    where c.relnamespace = 'pg2kafka'::regnamespace and not t.tgisinternal`);
  await add(sql`
    select format('view %s md5 %s', c.relname, md5(regexp_replace(pg_get_viewdef(c.oid), '\\w+\\.|\\s', '', 'g'))) as line
    from pg_class c where c.relnamespace = 'pg2kafka'::regnamespace and c.relkind = 'v'`);
  await add(
    sql.unsafe(`
    select format('function %s(%s) returns %s %s %s%s: %s; set %s; md5 %s', p.proname,
      pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), l.lanname,
      case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
      case when p.prosecdef then ' security definer' else '' end,
      ${privileges("p.proacl", "p.proowner", "f")},
      coalesce(array_to_string(p.proconfig, ', '), 'nothing'), md5(p.prosrc)) as line
    from pg_proc p join pg_language l on l.oid = p.prolang
    where p.pronamespace = 'pg2kafka'::regnamespace`),
  );
  if (withRows) {
    for (const table of ["migrations", "functions", "control", "external_id_relations"]) {
      await add(
        sql.unsafe(`select '${table} ' || row_to_json(t)::text as line from pg2kafka.${table} t`),
      );
    }
  }
  return `${lines.join("\n")}\n`;
}
