"""stable-baselines3's callbacks, in each way that they may be given."""

from __future__ import annotations

from collections.abc import Callable

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback

from l1flow_agents.errors import ConfigError
from l1flow_agents.names import shown

Callback = BaseCallback | list[BaseCallback] | Callable[[dict, dict], bool] | None


def as_callback(callback: Callback) -> BaseCallback:
    if isinstance(callback, BaseCallback):
        return callback
    if callback is None:
        return CallbackList([])
    if isinstance(callback, list) and all(isinstance(one, BaseCallback) for one in callback):
        return CallbackList(callback)
    if callable(callback):
        return ConvertCallback(callback)
    raise ConfigError(
        f"expected callback as a BaseCallback of stable-baselines3, a list of them or a function, got {shown(callback)}"
    )
