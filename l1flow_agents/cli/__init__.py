"""The ``l1flow`` command."""

from l1flow_agents.cli.main import main, read

__all__ = ["main", "read"]
