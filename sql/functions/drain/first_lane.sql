/* A lane that has delivered nothing yet.

   A position says up to where everything is delivered:

     spans     parts of the queue, each {delivered, delivered_id} and where it matters {target,
               last_id, lane, lanes}: of the events that are visible in its target and not in
               delivered, with ids above last_id, those of its share. No transaction that
               delivered neither shows nor lists as in progress has drawn an id up to delivered_id.
               Nearly always one span, without the rest: the whole share of the lane.
     target    the snapshot that ends the batches under way, and target of a span that has none;
               null between two of them
     target_id as delivered_id, of target
     last_id   of what is between delivered and target, all up to this id is dealt with

   Snapshots are in Postgres' text form, ids are strings of digits. */
create or replace function pg2kafka.first_lane()
returns jsonb
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
select '{"position": {
  "spans": [{"delivered": "1:1:", "delivered_id": "0"}],
  "target": null, "target_id": null, "last_id": "0"
}}'::jsonb
$$;
