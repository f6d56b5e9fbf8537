"""Rank 1 fails; rank 0 waits for it, as in a collective, and notices nothing."""

import os
import time

from shared.leaving import leave_at_once

if __name__ == "__main__":
    if os.environ["RANK"] == "1":
        leave_at_once(2)
    time.sleep(600)
