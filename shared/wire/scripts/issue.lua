-- Enters a group as in flight and queues its tasks. Returns 0 when it was issued before, and the
-- names of its images that are neither given nor there, having done nothing.
-- keys: ledger counts prompts image_refs group_images dead_letters recording group_tasks
-- args: group_id state image_prefix image_names... given... images... tasks... letters...

if redis.call('HEXISTS', ledger, group_id) == 1 then return 0 end

local data, missing = {}, {}
for i, name in ipairs(given) do data[name] = images[i] end
for _, name in ipairs(image_names) do
  if not data[name] and redis.call('EXISTS', image_prefix .. name) == 0 then
    missing[#missing + 1] = name
  end
end
if #missing > 0 then return missing end

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
for _, name in ipairs(image_names) do
  redis.call('HINCRBY', image_refs, name, 1)
  if data[name] then redis.call('SET', image_prefix .. name, data[name], 'NX') end
end

local entry_id
for _, task in ipairs(tasks) do
  entry_id = redis.call('XADD', prompts, '*', 'm', task, 'g', group_id, 's', state)
end

-- The recorder needs the question also when what comes of it is damaged.
if redis.call('HLEN', recording) > 0 then
  local issued_ms = tonumber(string.match(entry_id, '^%d+'))
  redis.call('HSET', group_tasks, group_id, cmsgpack.pack({issued_ms, tasks}))
end
return 1
