"""Methods: a loss and a sampler on a shared network. One file a method."""

from l1flow_agents.methods.base import Method
from l1flow_agents.methods.l1flow import L1Flow

METHODS: dict[str, type[Method]] = {"l1flow": L1Flow}

__all__ = ["METHODS", "L1Flow", "Method"]
