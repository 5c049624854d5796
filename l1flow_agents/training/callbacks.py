"""stable-baselines3's callbacks, in each way that they may be given."""

from __future__ import annotations

from collections.abc import Callable

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback

Callback = BaseCallback | list[BaseCallback] | Callable[[dict, dict], bool] | None


def as_callback(callback: Callback) -> BaseCallback:
    if isinstance(callback, BaseCallback):
        return callback
    if isinstance(callback, list):
        return CallbackList(callback)
    return CallbackList([]) if callback is None else ConvertCallback(callback)
