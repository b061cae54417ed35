/* A snapshot with its own transaction completed: what p_seen shows, what p_xact has written, and
   nothing else.

   p_seen  a snapshot that this transaction took
   p_xact  its id, which it had by then
   Errors: PK002 when too many ids were drawn and not ended since; for the next transaction they
           are fewer.

   Postgres leaves a transaction's own id out of the list of those in progress. So where a later
   one has ended, p_seen shows p_xact already; else p_xact is beyond it, and those between are
   listed as in progress. */
create or replace function pg2kafka.snapshot_with(p_seen pg_snapshot, p_xact xid8)
returns pg_snapshot
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  c_between_max constant integer := 10000;
  v_xmax constant bigint := pg_snapshot_xmax(p_seen)::text;
  v_xact constant bigint := p_xact::text;
begin
  if v_xact < v_xmax then
    return p_seen;
  end if;
  if v_xact - v_xmax > c_between_max then
    raise exception 'pg2kafka: % transaction ids were drawn and not ended between a snapshot and its own; at most % are listed',
      v_xact - v_xmax, c_between_max
    using errcode = 'PK002', hint = 'The next step has fewer.';
  end if;
  return (
    select format('%s:%s:%s', pg_snapshot_xmin(p_seen), v_xact + 1, string_agg(x.xact::text, ',' order by x.xact))
    from (
      select pg_snapshot_xip(p_seen)::text::bigint as xact
      union all
      select generate_series(v_xmax, v_xact - 1)
    ) x
  )::pg_snapshot;
end;
$$;
