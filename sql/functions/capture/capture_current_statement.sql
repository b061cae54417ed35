/* capture_statement() for a table of which only the columns' names are known. p_columns may lack some of
   what p_old and p_new have; without any, these are taken as they are. */
create or replace function pg2kafka.capture_current_statement(
  p_operation text, p_columns text[], p_external_id text, p_names text, p_old text, p_new text, p_single boolean,
  p_keep text default 'false', p_whole boolean default false
)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
select pg2kafka.capture_statement(
  p_operation, p_columns, null, p_external_id, p_names,
  case when p_columns is null then p_old else pg2kafka.with_columns(p_columns, p_old) end,
  case when p_columns is null then p_new else pg2kafka.with_columns(p_columns, p_new) end,
  p_single, p_keep, p_whole
)
$$;
