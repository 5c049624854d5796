"""L1 Flow agents as a policy of LeRobot, which imports this package and finds the policy by its conventions.

Without LeRobot there is only `folder`, which writes what LeRobot reads: agents are trained where LeRobot is not.
"""

from importlib.util import find_spec

if find_spec("lerobot"):
    from lerobot_policy_l1flow.configuration_l1flow import L1FlowConfig as L1FlowConfig
    from lerobot_policy_l1flow.environment import L1FlowEnv as L1FlowEnv
