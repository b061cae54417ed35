/* SQL for the JSON of a column of the row n; p_type is null where its type is not known. */
create or replace function pg2kafka.json_value(p_column text, p_type regtype)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select format(case when pg2kafka.casts_to_json(p_type) then 'pg2kafka.json_or_text(n.%I)' else 'to_json(n.%I)' end, p_column)
$$;
