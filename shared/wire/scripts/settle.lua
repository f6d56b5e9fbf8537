-- Finishes the entry that carried a group, and records the group as trained or dropped.
-- Returns 0 when another consumer finished the entry, the group is not in flight in this
-- incarnation, or it was handed to the trainer and this is no entry of the trainer's stream.
-- keys: ledger counts verdicts events image_refs group_images stream groups assembly dead_letters
-- keys: score_sums records recording group_tasks trainer
-- args: group_id expected_state new_state counter verdict image_prefix consumer_group entry_id
-- args: share incarnation detail group figures
-- args: dead_letter... scores...
-- `dead_letter` is empty, or the payload of an entry that no service could process and the reason.
-- `share` to `figures` are for the record: `group` is empty where the entry itself holds the group.

local recorded = redis.call('HLEN', recording) > 0
local carried = recorded and redis.call('XRANGE', stream, entry_id, entry_id)[1]
local attempts = #dead_letter > 0 and deliveries(stream, consumer_group, entry_id)
if not finish(stream, consumer_group, entry_id) then return 0 end
if #dead_letter > 0 then
  local payload, reason = dead_letter[1], dead_letter[2]
  redis.call('XADD', dead_letters, '*', 'm', payload, 'stream', stream, 'reason', reason,
    'attempts', attempts, 'g', group_id)
end

if redis.call('HGET', ledger, group_id) ~= expected_state then return 0 end
-- The trainer may have it in work: a second copy of an order must not drop it meanwhile.
local handed_on = redis.call('HEXISTS', assembly, 'done') == 1
if handed_on and stream ~= groups then return 0 end
if carried and is_recorded(recording, records, group_id, share) then
  local entry = {'group', group_id, 'state', new_state, 'incarnation', incarnation, 'detail', detail,
    'step', redis.call('HGET', trainer, 'step') or 0, 'stream', stream, 'entry', entry_id,
    'figures', figures, 'tasks', redis.call('HGET', group_tasks, group_id) or ''}
  -- A group that was scored is whole; else the orders that are there are put together.
  local whole = #group > 0 or handed_on
  local parts = whole and {} or redis.call('HVALS', assembly)
  parts[#parts + 1] = #group > 0 and group or carried[2][2]
  for i, part in ipairs(parts) do
    entry[#entry + 1] = 'part' .. i
    entry[#entry + 1] = part
  end
  redis.call('XADD', records, '*', unpack(entry))
end
redis.call('HDEL', group_tasks, group_id)
redis.call('DEL', assembly)
redis.call('HSET', ledger, group_id, new_state)
redis.call('HINCRBY', counts, 'in_flight', -1)
redis.call('HINCRBY', counts, counter, 1)
-- Of a group that was scored before, its first verdict stands.
redis.call('HSETNX', verdicts, group_id, verdict)
release(image_refs, group_images, image_prefix, group_id)
add_scores(score_sums, scores)
redis.call('XADD', events, 'MAXLEN', '~', '1000', '*', 'group', group_id)
return 1
