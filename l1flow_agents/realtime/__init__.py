"""Robots in real time: a control loop with a beat, for which a policy plans in another process or on another machine.

Nothing is imported before it is used: a robot's program never loads torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l1flow_agents.lazy import lazily

if TYPE_CHECKING:
    from l1flow_agents.realtime.arm_process import ArmProcess, ArmSetup
    from l1flow_agents.realtime.client import PolicyProcess, RemotePlanner
    from l1flow_agents.realtime.limits import Limits
    from l1flow_agents.realtime.loop import Patience, run
    from l1flow_agents.realtime.recording import Run
    from l1flow_agents.realtime.robot import Reading, Robot
    from l1flow_agents.realtime.server import PolicyServer
    from l1flow_agents.realtime.simulated_arm import Line

HOME = {
    "ArmProcess": "arm_process",
    "ArmSetup": "arm_process",
    "Limits": "limits",
    "Line": "simulated_arm",
    "Patience": "loop",
    "PolicyProcess": "client",
    "PolicyServer": "server",
    "Reading": "robot",
    "RemotePlanner": "client",
    "Robot": "robot",
    "Run": "recording",
    "run": "loop",
}
__all__ = [
    "ArmProcess",
    "ArmSetup",
    "Limits",
    "Line",
    "Patience",
    "PolicyProcess",
    "PolicyServer",
    "Reading",
    "RemotePlanner",
    "Robot",
    "Run",
    "run",
]

__getattr__ = lazily(__name__, {name: f"{__name__}.{module}" for name, module in HOME.items()})
