/* Lock a table, with its partitions and children, until the transaction ends.

   p_mode  share row exclusive: against writers, not readers; access exclusive: against both

   A request that waits makes every later writer wait behind it, so each try waits at most
   lock_timeout below, shorter than deadlock_timeout; 50 tries in about ten seconds, then the
   error names who holds the table. */
create or replace function pg2kafka.lock_table(p_table regclass, p_mode text default 'share row exclusive')
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '80ms'
as $$
declare
  c_tries constant integer := 50;
  c_statement_timeout constant interval := current_setting('statement_timeout');
  c_started_at constant timestamptz := clock_timestamp();
  v_holders text;
begin
  for v_try in 1..c_tries loop
    begin
      execute format('lock table %s in %s mode', p_table, p_mode);
      return;
    exception when lock_not_available then
      select string_agg(
        case when a.pid is null then 'a prepared transaction (see pg_prepared_xacts)' else
          format(
            'process %s (user %s, application "%s", in a transaction since %s)',
            a.pid, a.usename, a.application_name, a.xact_start
          )
        end, ', '
      )
      into v_holders
      from (
        select distinct l.pid, l.virtualtransaction
        from pg_catalog.pg_locks l
        where l.relation in (select relation from pg2kafka.table_members(p_table) union all select p_table)
          and l.granted and l.pid is distinct from pg_backend_pid()
          and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
          and (p_mode = 'access exclusive' or l.mode not in ('AccessShareLock', 'RowShareLock'))
      ) l
      left join pg_catalog.pg_stat_activity a using (pid);
    end;
    -- When both timeouts go off at one moment, Postgres reports the lock's and forgets the statement's.
    if c_statement_timeout > interval '0' and clock_timestamp() > c_started_at + c_statement_timeout then
      raise exception 'canceling statement due to statement timeout' using errcode = 'query_canceled';
    end if;
    perform pg_sleep(0.12);
  end loop;
  raise exception 'pg2kafka: table % could not be locked in % tries of 80 ms: %',
    p_table, c_tries, coalesce('it is held by ' || v_holders, 'it was held each time, by no one now')
  using errcode = 'lock_not_available', hint = 'Try again when that transaction has ended. Nothing was changed.';
end;
$$;
