/* Refuse a table whose topic could not live beside those of the tables tracked already. Kafka
   takes no two topics whose names differ only in '.' and '_', and none over 249 characters. */
create or replace function pg2kafka.check_topic(p_table regclass)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  c_length_max constant integer := 150;
  v_schema name;
  v_table name;
  v_topic text;
  v_other text;
  v_length integer;
begin
  select n.nspname, c.relname into v_schema, v_table
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.oid = p_table;
  v_topic := pg2kafka.topic_form(v_schema, v_table);
  -- Of two at once, the second sees here what the first has done.
  perform pg_advisory_xact_lock('pg2kafka.control'::regclass::oid::integer, hashtext(v_topic));

  select string_agg(format('%I.%I', r.table_schema, r.table_name), ', ') into v_other
  from pg2kafka.external_id_relations r
  join pg_catalog.pg_class c on c.oid = r.relation
  where r.relation <> p_table
    and pg2kafka.topic_form(r.table_schema, r.table_name) = v_topic;
  if v_other is not null then
    raise exception 'pg2kafka: the topics of % and of %, which is tracked already, would differ at most in "." and "_": Kafka refuses that',
      p_table, v_other
    using errcode = 'duplicate_object', hint = 'Rename one of the two tables.';
  end if;

  -- Characters that Kafka refuses take three for each byte.
  v_length := (
    select sum(case when c ~ '[A-Za-z0-9_]' then 1 else 3 * octet_length(c) end)
    from regexp_split_to_table(concat(nullif(v_schema, 'public'), v_table), '') as c
  );
  if v_length > c_length_max then
    raise exception 'pg2kafka: the topic of % would take % characters for its schema and name; at most % are left of the 249 that Kafka allows',
      p_table, v_length, c_length_max
    using errcode = 'name_too_long', hint = 'Rename the table to something shorter.';
  end if;
end;
$$;
