"""What the services exchange through Redis: messages, queues, the ledger, the run's state."""
