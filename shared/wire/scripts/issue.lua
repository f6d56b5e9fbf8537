-- Enters a group as in flight and queues its tasks. Returns 0 when it was issued before.
-- keys: ledger counts prompts image_refs group_images dead_letters recording group_tasks
-- args: group_id state image_prefix image_names... images... tasks... letters...

if redis.call('HEXISTS', ledger, group_id) == 1 then return 0 end

-- A replay names the dead letters that it answers. If all are gone, another replay was first.
if #letters > 0 then
  local removed = 0
  for _, letter in ipairs(letters) do
    removed = removed + redis.call('XDEL', dead_letters, letter)
  end
  if removed == 0 then return 0 end
end

redis.call('HSET', ledger, group_id, state)
redis.call('HINCRBY', counts, 'issued', 1)
redis.call('HINCRBY', counts, 'in_flight', 1)

-- The images are stored here and not before: nobody would delete those of a refused group.
redis.call('HSET', group_images, group_id, table.concat(image_names, ','))
for i, name in ipairs(image_names) do
  redis.call('HINCRBY', image_refs, name, 1)
  redis.call('SET', image_prefix .. name, images[i], 'NX')
end

-- The recorder needs the question also when what comes of it is damaged.
if redis.call('EXISTS', recording) == 1 then
  local now = redis.call('TIME')
  redis.call('HSET', group_tasks, group_id, cmsgpack.pack({now[1] * 1000 + math.floor(now[2] / 1000), tasks}))
end

for _, task in ipairs(tasks) do
  redis.call('XADD', prompts, '*', 'm', task, 'g', group_id, 's', state)
end
return 1
