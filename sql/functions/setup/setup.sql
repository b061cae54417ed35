/* Track a table: from now on each change to it becomes an event, and each row that it holds
   now becomes a SNAPSHOT event: of a small table at once (is_small()), of others by the drain, in
   steps beside the writers; see pg2kafka.snapshots.

   p_external_id  the column whose value becomes the message's key

   Locks:   SHARE ROW EXCLUSIVE on the table until the transaction ends: writers wait, readers
            do not. See lock_table() for how it is taken.
   Errors:  a table or column that cannot be tracked is refused before anything is changed.
            A table that is tracked already: a WARNING and nothing else. */
create or replace function pg2kafka.setup(p_table regclass, p_external_id text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_class pg_catalog.pg_class;
  v_id integer;
  v_snapshot_id integer;
  v_tracked_by text;
begin
  perform pg2kafka.check_isolation('setup()');
  perform pg_current_xact_id();
  select * into v_class from pg_catalog.pg_class where oid = p_table;
  if v_class.relkind not in ('r', 'p') or v_class.relpersistence = 't'
    or v_class.relnamespace in ('pg2kafka'::regnamespace, 'pg_catalog'::regnamespace)
  then
    raise exception 'pg2kafka: % cannot be tracked: it is not an ordinary or partitioned table of the application', p_table
    using errcode = 'wrong_object_type', hint = 'Pass a table. Views, foreign and temporary tables take no triggers of this kind.';
  end if;
  if v_class.relispartition then
    raise exception 'pg2kafka: table % is a partition', p_table
    using errcode = 'wrong_object_type', hint = format('Track %s instead: its partitions are tracked with it.', pg_partition_root(p_table));
  end if;
  perform pg2kafka.check_owner(p_table);
  perform pg_advisory_xact_lock('pg2kafka.external_id_relations'::regclass::oid::integer, p_table::oid::integer);
  select external_id into v_tracked_by from pg2kafka.external_id_relations where relation = p_table;
  if found then
    raise warning 'pg2kafka: table % is tracked already, by "%". Skipping setup.', p_table, v_tracked_by
    using hint = 'For another key call pg2kafka.teardown() first; to send its rows again, pg2kafka.snapshot().';
    return;
  end if;
  if not exists (
    select from pg_catalog.pg_attribute
    where attrelid = p_table and attname = p_external_id and attnum > 0 and not attisdropped
  ) then
    raise exception 'pg2kafka: table % has no column "%"', p_table, p_external_id
    using errcode = 'undefined_column', hint = 'Pass an existing column as the external id, written as in the table, capitals too.';
  end if;
  if pg2kafka.stored_columns(array[p_external_id], p_table) is null then
    raise exception 'pg2kafka: column "%" of table % is a virtual generated column, which has no value in a trigger', p_external_id, p_table
    using errcode = 'invalid_column_reference', hint = 'Pass another column, or generate it as STORED.';
  end if;
  perform pg2kafka.check_topic(p_table);
  perform pg2kafka.lock_table(p_table);

  insert into pg2kafka.external_id_relations (external_id, table_name, table_schema, relation)
  select p_external_id, c.relname, n.nspname, c.oid
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.oid = p_table
  returning id into v_id;
  if pg2kafka.is_small(p_table) then
    perform pg2kafka.compile_capture(v_id);
    perform pg2kafka.create_triggers(v_id);
    perform pg2kafka.create_snapshot_events(p_table);
  else
    v_snapshot_id := pg2kafka.begin_snapshot(v_id, null, null);
    perform pg2kafka.create_triggers(v_id);
    raise notice 'pg2kafka: the drain makes the SNAPSHOT events of % in steps. How far it is: select * from pg2kafka.snapshots where id = %',
      p_table, v_snapshot_id;
  end if;

  if v_class.relpersistence = 'u' then
    raise notice 'pg2kafka: % is UNLOGGED: a crash of the server empties it, and makes no events of that', p_table;
  end if;
  if not exists (
    select from pg_catalog.pg_index i
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = p_table and a.attname = p_external_id
      and i.indisunique and i.indimmediate and i.indisvalid and i.indnkeyatts = 1 and i.indpred is null
  ) then
    raise notice 'pg2kafka: no unique index covers %.% alone, or only a deferrable one: rows that share a value share a key, and their events come in the order in which their transactions became visible',
      p_table, quote_ident(p_external_id);
  end if;
end;
$$;
