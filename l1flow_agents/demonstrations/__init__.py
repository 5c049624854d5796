"""Make demonstrations: `collection` lets experts act, `generation` makes many from a few, `playback` plays them again,
`observing` adds observations to a file. Nothing here imports torch.
"""

from typing import TYPE_CHECKING

from l1flow_agents.lazy import lazily

if TYPE_CHECKING:
    from l1flow_agents.demonstrations.collection import collect
    from l1flow_agents.demonstrations.generation import generate
    from l1flow_agents.demonstrations.observing import add_observations
    from l1flow_agents.demonstrations.playback import replay

__all__ = ["add_observations", "collect", "generate", "replay"]

__getattr__ = lazily(
    __name__,
    {
        "add_observations": f"{__name__}.observing",
        "collect": f"{__name__}.collection",
        "generate": f"{__name__}.generation",
        "replay": f"{__name__}.playback",
    },
)
