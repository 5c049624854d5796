"""Methods: a loss and a sampler on a shared network. One file a method; other packages add theirs to `METHODS`."""

from l1flow_agents.methods.base import Method
from l1flow_agents.methods.consistency import Consistency
from l1flow_agents.methods.ddpm import DDPM
from l1flow_agents.methods.edm import EDM
from l1flow_agents.methods.flow_matching import FlowMatching
from l1flow_agents.methods.l1_regression import L1Regression
from l1flow_agents.methods.l1flow import L1Flow
from l1flow_agents.methods.mip import MIP
from l1flow_agents.methods.onedp import OneDP
from l1flow_agents.methods.shortcut import Shortcut
from l1flow_agents.registry import Registry

METHODS: Registry[type[Method]] = Registry(
    "method",
    "l1flow_agents.methods",
    {
        "l1flow": L1Flow,
        "flow_matching": FlowMatching,
        "ddpm": DDPM,
        "l1_regression": L1Regression,
        "mip": MIP,
        "shortcut": Shortcut,
        "edm": EDM,
        "consistency": Consistency,
        "onedp": OneDP,
    },
    Method,
)

__all__ = [
    "DDPM",
    "EDM",
    "METHODS",
    "MIP",
    "Consistency",
    "FlowMatching",
    "L1Flow",
    "L1Regression",
    "Method",
    "OneDP",
    "Shortcut",
]
