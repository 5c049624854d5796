"""Many demonstrations from a few, by MimicGen's method (Mandlekar et al. 2023, arXiv 2310.17596).

``segments``: the geometry; ``task``: what a task says about its subtasks; ``sources``: demonstrations cut into them;
``generate``: attempts in new scenes, the successes in a file. Nothing here imports torch.
"""

from l1flow_agents.demonstrations.generation.generate import generate
from l1flow_agents.demonstrations.generation.task import TaskSpec, read_task_spec

__all__ = ["TaskSpec", "generate", "read_task_spec"]
