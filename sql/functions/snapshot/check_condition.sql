/* Check the condition of a snapshot, as its caller wrote it. Returns it as Postgres understood it,
   which is safe to put into SQL.

   It is run by the drain with the rights of the role that owns pg2kafka. So it may be no more than
   the WHERE of a partial index: one expression over the table's columns, without subqueries, of
   immutable functions, and these Postgres' own or written in C. Nothing of it is run before that is
   known: to create a policy only parses it, and nothing but one more expression could follow in
   the same statement. */
create or replace function pg2kafka.check_condition(p_table regclass, p_condition text)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
set standard_conforming_strings = on
as $$
declare
  c_hint constant text :=
    'A condition may be what the WHERE of a partial index may be: the table''s columns, and Postgres'' own immutable functions.';
  v_name constant text := 'condition_' || pg_current_xact_id();
  v_condition text;
  v_has_more boolean;
  v_object text;
begin
  if p_condition like '%;%' then
    raise exception 'pg2kafka: the condition contains a semicolon'
    using errcode = 'syntax_error', hint = 'Pass one expression. In a string, write chr(59).';
  end if;
  execute format('create table pg2kafka.%I (like %s)', v_name, p_table);
  begin
    execute format(E'create policy probe on pg2kafka.%I using (%s\n)', v_name, p_condition);
    select pg_get_expr(polqual, polrelid), polwithcheck is not null into v_condition, v_has_more
    from pg_catalog.pg_policy where polrelid = format('pg2kafka.%I', v_name)::regclass;
    if v_has_more then
      raise exception 'it is more than one expression';
    end if;

    select pg_describe_object(d.refclassid, d.refobjid, 0) into v_object
    from pg_catalog.pg_depend d
    join pg_catalog.pg_policy p on d.classid = 'pg_catalog.pg_policy'::regclass and d.objid = p.oid
    left join pg_catalog.pg_operator o on d.refclassid = 'pg_catalog.pg_operator'::regclass and d.refobjid = o.oid
    left join pg_catalog.pg_proc f on f.oid = case d.refclassid
      when 'pg_catalog.pg_proc'::regclass then d.refobjid
      when 'pg_catalog.pg_operator'::regclass then o.oprcode end
    left join pg_catalog.pg_language l on l.oid = f.prolang
    left join pg_catalog.pg_type a on d.refclassid = 'pg_catalog.pg_type'::regclass and d.refobjid = a.oid
    left join pg_catalog.pg_type t on t.oid = case when a.typtype = 'b' and a.typcategory = 'A' then a.typelem else a.oid end
    where p.polrelid = format('pg2kafka.%I', v_name)::regclass
      and d.refobjid <> p.polrelid and d.refclassid <> 'pg_catalog.pg_collation'::regclass
      and not coalesce(l.lanname in ('c', 'internal'), false)
      and not coalesce(t.typtype in ('b', 'e'), false)
    limit 1;
    if v_object is not null then
      raise exception 'it uses %', v_object;
    end if;
    execute format('create index on pg2kafka.%I ((1)) where (%s)', v_name, v_condition);
  exception when others then
    raise exception 'pg2kafka: the condition cannot be used: %', sqlerrm using errcode = sqlstate, hint = c_hint;
  end;
  execute format('drop table pg2kafka.%I', v_name);
  return v_condition;
end;
$$;
