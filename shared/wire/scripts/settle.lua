-- Finishes the entry that carried a group, and records the group as trained or dropped.
-- Returns 0 when another consumer finished the entry, or the group is not in flight in this
-- incarnation.
-- keys: ledger counts events image_refs group_images stream assembly dead_letters score_sums
-- args: group_id expected_state new_state counter image_prefix consumer_group entry_id
-- args: dead_letter... scores...
-- `dead_letter` is empty, or the payload of an entry that no service could process and the reason.

local attempts = #dead_letter > 0 and deliveries(stream, consumer_group, entry_id)
if not finish(stream, consumer_group, entry_id) then return 0 end
if #dead_letter > 0 then
  local payload, reason = dead_letter[1], dead_letter[2]
  redis.call('XADD', dead_letters, '*', 'm', payload, 'stream', stream, 'reason', reason,
    'attempts', attempts, 'g', group_id)
end

if redis.call('HGET', ledger, group_id) ~= expected_state then return 0 end
redis.call('DEL', assembly)
redis.call('HSET', ledger, group_id, new_state)
redis.call('HINCRBY', counts, 'in_flight', -1)
redis.call('HINCRBY', counts, counter, 1)
release(image_refs, group_images, image_prefix, group_id)
add_scores(score_sums, scores)
redis.call('XADD', events, 'MAXLEN', '~', '1000', '*', 'group', group_id)
return 1
