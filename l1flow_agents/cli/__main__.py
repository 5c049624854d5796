"""``python -m l1flow_agents.cli``, as ``l1flow``."""

import sys

from l1flow_agents.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
