/* How many rows this transaction has inserted into, updated in or deleted from a table, those
   that were rolled back to a savepoint included.

   Without a search_path of its own, so that Postgres writes it out where it is called. */
create or replace function pg2kafka.rows_changed(p_relation oid, p_operation text)
returns bigint
language sql
volatile
as $$
select case p_operation
  when 'INSERT' then pg_catalog.pg_stat_get_xact_tuples_inserted(p_relation)
  when 'UPDATE' then pg_catalog.pg_stat_get_xact_tuples_updated(p_relation)
  else pg_catalog.pg_stat_get_xact_tuples_deleted(p_relation)
end
$$;
