-- Moves an entry to the dead letters. Returns 0 when another consumer finished it first.
-- keys: source dead_letters
-- args: consumer_group entry_id payload reason

local attempts = deliveries(source, consumer_group, entry_id)
if not finish(source, consumer_group, entry_id) then return 0 end
redis.call('XADD', dead_letters, '*', 'm', payload, 'stream', source, 'reason', reason, 'attempts', attempts)
return 1
