"""What LeRobot does to observations before the policy sees them, and to actions after; see `folder.PREPROCESSOR`."""

from __future__ import annotations

from typing import Any

from lerobot.processor import (
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    RenameObservationsProcessorStep,
    make_policy_processor_pipelines,
)

from lerobot_policy_l1flow.configuration_l1flow import L1FlowConfig


def make_l1flow_pre_post_processors(config: L1FlowConfig, dataset_stats: Any = None) -> tuple[Any, Any]:
    """The two pipelines; ``dataset_stats`` are LeRobot's business, the agent normalises by its own."""
    device = DeviceProcessorStep(device=config.device)
    before = [RenameObservationsProcessorStep(rename_map={}), AddBatchDimensionProcessorStep(), device]
    pipelines: tuple[Any, Any] = make_policy_processor_pipelines(before, [DeviceProcessorStep(device="cpu")])
    return pipelines
