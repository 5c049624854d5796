"""Systems side by side: the same data, network, seeds and budget; ``l1flow compare``.

`systems` says what is compared, `jobs` trains and scores one system with one seed, `run` spreads the jobs and measures
latency, `report` makes the tables and pictures.
"""

from l1flow_agents.comparison.run import compare
from l1flow_agents.comparison.systems import System, read_systems

__all__ = ["System", "compare", "read_systems"]
