"""``python -m perl_rl`` is ``perl-rl``: how the launcher starts its services."""

import sys

from perl_rl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
