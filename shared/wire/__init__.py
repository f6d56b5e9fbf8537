"""What the services share through Redis: messages, queues, the ledger, the run's state."""
