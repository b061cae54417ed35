/* Whether an event is part of a span that waits, see waiting_spans(). Written to be inlined. */
create or replace function pg2kafka.is_waiting(
  p_xact xid8, p_id bigint, p_external_id text,
  p_lane integer, p_lanes integer, p_delivered pg_snapshot, p_target pg_snapshot, p_last_id bigint
)
returns boolean
language sql
immutable
as $$
select p_id > p_last_id and not pg_catalog.pg_visible_in_snapshot(p_xact, p_delivered)
  and (p_target is null or pg_catalog.pg_visible_in_snapshot(p_xact, p_target))
  and pg2kafka.is_of_share(p_external_id, p_lane, p_lanes)
$$;
