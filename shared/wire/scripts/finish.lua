-- Finishes an entry that has no result. Returns 0 when another consumer was first.
-- keys: source
-- args: consumer_group entry_id

return finish(source, consumer_group, entry_id) and 1 or 0
