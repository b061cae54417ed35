/* The statement of snapshot_chunk(): SQL with the parameters
     $1 schema and name that the events bear   $2 the first place to read
     $3 the place before which to end          $4 the places, before Postgres 14
     $5 the keys                               $6, $7 bounds on rows and bytes
   and the results: its snapshot, the number of rows, the place of the last, whether more remain.

   The scan is fenced (offset 0), so that no condition makes it one by another index. */
create or replace function pg2kafka.chunk_statement(
  p_snapshot pg2kafka.table_snapshots, p_relation regclass, p_lane integer, p_lanes integer
)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_tracked pg2kafka.external_id_relations;
  v_types constant text := pg2kafka.column_types(p_relation);
  v_columns constant text[] := pg2kafka.column_names(v_types);
  v_root constant oid := coalesce(pg_partition_root(p_relation), p_relation);
  v_external_id text;
  v_key text;
  v_blocks text;
  v_where text;
  v_bytes text;
begin
  select * into strict v_tracked from pg2kafka.external_id_relations where id = p_snapshot.tracked_id;
  v_external_id := pg2kafka.external_id_column(
    v_columns, v_tracked.external_id, v_root, v_tracked.relation, v_tracked.external_id_attnum
  );
  v_key := case when v_external_id is null then 'null::text' else format('scan.%I::text', v_external_id) end;
  v_blocks := format(
    'from only %s r where ctid >= $2 and ctid < $3%s', p_relation,
    case when current_setting('server_version_num')::integer < 140000 then ' and ctid = any ($4)' end
  );
  v_where := concat_ws(
    ' and ', 'true', '(' || p_snapshot.condition || ')',
    case when p_snapshot.keys is not null then v_key || ' in (select unnest($5))' end,
    case when p_lanes > 1 then format('pg2kafka.is_of_share(%s, %s, %s)', v_key, p_lane, p_lanes) end
  );
  -- As stored: to know that, no value has to be fetched or decompressed.
  select coalesce(string_agg(format('coalesce(pg_column_size(scan.%I), 0)', attname), ' + '), '0') into v_bytes
  from pg_catalog.pg_attribute
  where attrelid = p_relation and attnum > 0 and not attisdropped and attlen = -1 and attgenerated <> 'v';

  return format(
    $sql$with row as materialized (
      select scan.ctid, row_number() over w as nth, sum(%1$s) over w as bytes
      from (select ctid, * %2$s offset 0) scan where %3$s
      window w as (rows unbounded preceding)
      limit $6
    ), last as materialized (
      select ctid, nth from row where nth = 1 or bytes <= $7 order by nth desc limit 1
    ), made as (
      %4$s returning 1
    )
    select pg_current_snapshot(), (select count(*) from made), (select ctid from last),
      (select coalesce((select nth from last) < count(*) or count(*) = $6, false) from row)$sql$,
    v_bytes, v_blocks, v_where,
    pg2kafka.capture_statement(
      'SNAPSHOT', v_columns,
      pg2kafka.column_regtypes(v_types),
      v_external_id, '$1[1], $1[2]', null,
      format(
        '(select %s from (select * %s and ctid <= (select ctid from last) offset 0) scan where %s)',
        (select string_agg(format('scan.%I', name), ', ' order by position) from unnest(v_columns) with ordinality as c (name, position)),
        v_blocks, v_where
      ),
      true, 'false'
    )
  );
end;
$$;
