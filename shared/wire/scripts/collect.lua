-- Adds a scored order to its group. Returns 'gone' when the group is not in flight or was handed
-- on already, 'waiting' while orders are missing, and when the group is complete those of its scored
-- orders that the caller does not hold.
-- keys: trajectories assembly ledger
-- args: consumer_group entry_id group_id expected_state order_index scored orders held...

local in_flight = redis.call('HGET', ledger, group_id) == expected_state
if not in_flight or redis.call('HEXISTS', assembly, 'done') == 1 then
  finish(trajectories, consumer_group, entry_id)
  return 'gone'
end
redis.call('HSET', assembly, order_index, scored)
if redis.call('HLEN', assembly) < tonumber(orders) then
  finish(trajectories, consumer_group, entry_id)
  return 'waiting'
end
-- forward.lua finishes the entry that completed the group: when the reward node dies before that,
-- another node takes the entry over.
local held_here, wanted = {}, {}
for _, index in ipairs(held) do held_here[index] = true end
local all = redis.call('HGETALL', assembly)
for i = 1, #all, 2 do
  if not held_here[all[i]] then wanted[#wanted + 1] = all[i + 1] end
end
return wanted
