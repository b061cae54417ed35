/* Refuse a transaction whose snapshot may be older than the lock that it is about to take: what was
   committed between would be missed. For setup() that is a row, for reclaim() an event. */
create or replace function pg2kafka.check_isolation(p_function text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'pg2kafka: % needs READ COMMITTED, and this transaction is %',
      p_function, upper(current_setting('transaction_isolation'))
    using errcode = 'active_sql_transaction',
      detail = 'Its snapshot may be older than the lock on the table: what was committed between would be missed.',
      hint = 'Begin the transaction with: begin isolation level read committed';
  end if;
end;
$$;
