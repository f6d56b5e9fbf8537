-- Finishes an entry and puts its result on the next stream. Returns 0 when another consumer was
-- first.
-- keys: source target
-- args: consumer_group entry_id payload group_id state

if not finish(source, consumer_group, entry_id) then return 0 end
redis.call('XADD', target, '*', 'm', payload, 'g', group_id, 's', state)
return 1
