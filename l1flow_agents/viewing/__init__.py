"""A page to look at demonstrations before training, or at what an evaluation left."""

from l1flow_agents.viewing.writing import view

__all__ = ["view"]
