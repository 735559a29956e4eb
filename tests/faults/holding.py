"""Takes the turn to write to an SQLite store, says so, and never gives it back.

holding.py PATH
"""

import signal
import sys
from pathlib import Path

from backstory.stores.sqlite._turn import WriteTurn

if __name__ == "__main__":
    turn = WriteTurn(Path(sys.argv[1]), store="held", timeout_seconds=10)
    turn.take("hold")
    sys.stdout.write('"held"\n')
    sys.stdout.flush()
    signal.pause()
