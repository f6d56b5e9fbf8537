-- Hands a complete group to the trainer. Returns 0 when another consumer finished the entry, or the
-- group is not in flight in this incarnation or was handed on already.
-- keys: trajectories assembly groups ledger verdicts score_sums
-- args: consumer_group entry_id group_id expected_state group verdict scores...

if not finish(trajectories, consumer_group, entry_id) then return 0 end
if redis.call('HGET', ledger, group_id) ~= expected_state then return 0 end
if redis.call('HEXISTS', assembly, 'done') == 1 then return 0 end
-- The mark replaces the orders until the group is settled, so that entries which are delivered a
-- second time do not assemble it again.
redis.call('DEL', assembly)
redis.call('HSET', assembly, 'done', 1)
redis.call('XADD', groups, '*', 'm', group, 'g', group_id, 's', expected_state)
redis.call('HSETNX', verdicts, group_id, verdict)
add_scores(score_sums, scores)
return 1
