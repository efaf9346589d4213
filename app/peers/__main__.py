"""The peer's own process; started by the launcher, maybe with another Python than Lovage's. Its packages go
before those that lie beside Lovage."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

from app.peers.process import main

if __name__ == "__main__":
    sys.exit(main())
