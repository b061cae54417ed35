/* Bring capture up to date with tables that changed since: compile the functions of those whose
   columns changed, or the casts of these to json, or whose snapshot ended, note new names, and put triggers on new partitions and
   children, and let those fire ALWAYS that somebody has disabled and enabled again. Until then the triggers work all the same, more slowly; only TRUNCATE of a new partition, and writes that
   name a new inheritance child, go unseen.

   p_all    compile all of them, as after an upgrade
   Returns  the number of tables brought up to date; of one that cannot be, a WARNING says why
   Locks:   as setup() where triggers are missing, SHARE ROW EXCLUSIVE where they do not fire ALWAYS, but in
            one try: a table in use waits for the next call, and so do the others after 100 ms. Nothing
            is read from the tables. */
create or replace function pg2kafka.refresh_captures(p_all boolean default false)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '80ms'
as $$
declare
  c_locking constant interval := '100 ms';
  v_began_at constant timestamptz := clock_timestamp();
  v_tracked record;
  v_count integer := 0;
  v_code text;
  v_message text;
  v_has_casts constant boolean := exists (select from pg2kafka.json_cast_sources());
begin
  for v_tracked in
    select r.id, n.nspname, c.relname, t.compile, t.rebuild, t.extend, t.enable
    from pg2kafka.external_id_relations r
    join pg_catalog.pg_class c on c.oid = r.relation
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    cross join lateral (
      select coalesce(json_object(
          array_agg(a.attname::text order by a.attnum), array_agg(a.atttypid::text order by a.attnum)
        )::text, '{}') as columns
      from pg_catalog.pg_attribute a
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
    ) now
    cross join lateral (
      select
        -- The functions are for the table's columns, and its oid, which a restored dump changes.
        p_all or r.whole_updates <> pg2kafka.wants_whole_updates(r.id) or not exists (
          select from pg_catalog.pg_proc f
          where f.pronamespace = 'pg2kafka'::regnamespace
            and f.proname in ('enqueue_event_' || r.id, format('enqueue_event_%s_insert', r.id))
            and strpos(f.prosrc, format('%L', c.oid)) > 0
        ) or r.columns <> now.columns
          or (v_has_casts or r.types_with_cast <> '{}')
          and r.types_with_cast <> pg2kafka.types_with_json_cast(pg2kafka.column_regtypes(now.columns))::text as compile,
        pg2kafka.captured_by_row(c.oid) = exists (
          select from pg_catalog.pg_trigger t join pg_catalog.pg_proc f on f.oid = t.tgfoid
          where t.tgrelid = c.oid and f.proname = format('enqueue_event_%s_insert', r.id)
        )
        -- The triggers of a tree's children have its name.
        or (r.table_schema, r.table_name) <> (n.nspname, c.relname)
          and exists (select from pg2kafka.table_members(c.oid) where not is_partition) as rebuild,
        pg2kafka.captured_by_row(c.oid) and exists (
          select from pg2kafka.table_members(c.oid) m where not pg2kafka.has_member_triggers(r.id, m.relation)
        ) as extend,
        exists (select from pg2kafka.triggers_not_always(r.id, c.oid))
        or pg2kafka.captured_by_row(c.oid) and exists (
          select from pg2kafka.table_members(c.oid) m cross join pg2kafka.triggers_not_always(r.id, m.relation)
        ) as enable
    ) t
    where r.columns is not null
      -- Nothing is locked, and so nothing written, where nothing changed.
      and (t.compile or t.rebuild or t.extend or t.enable or (r.table_schema, r.table_name) <> (n.nspname, c.relname))
    for update of r skip locked
  loop
    -- The locks last until all is done: the rest comes with the next call.
    continue when (v_tracked.rebuild or v_tracked.extend or v_tracked.enable)
      and clock_timestamp() > v_began_at + c_locking;
    begin
      update pg2kafka.external_id_relations
      set table_schema = v_tracked.nspname, table_name = v_tracked.relname
      where id = v_tracked.id and (table_schema, table_name) <> (v_tracked.nspname, v_tracked.relname);
      if v_tracked.enable then
        perform pg2kafka.enable_triggers(v_tracked.id);
      end if;
      if v_tracked.compile or v_tracked.rebuild or v_tracked.extend then
        perform pg2kafka.compile_capture(v_tracked.id);
        if v_tracked.rebuild then
          perform pg2kafka.create_triggers(v_tracked.id);
        elsif v_tracked.extend then
          perform pg2kafka.create_member_triggers(v_tracked.id);
        end if;
      end if;
      if v_tracked.compile or v_tracked.rebuild or v_tracked.extend or v_tracked.enable then
        v_count := v_count + 1;
      end if;
    exception
      when lock_not_available or deadlock_detected then
        null;
      -- The other tables' events are not to wait for this one.
      when others then
        get stacked diagnostics v_code = returned_sqlstate, v_message = message_text;
        raise warning 'pg2kafka: the capture of table %.% cannot be brought up to date: %',
          quote_ident(v_tracked.nspname), quote_ident(v_tracked.relname), pg2kafka.safe_error(v_code, v_message);
    end;
  end loop;
  return v_count;
end;
$$;
