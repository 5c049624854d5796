"""A network tried out on PyTorch's meta device, where tensors have shapes and no memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from l1flow_agents.errors import ConfigError

MOST_PARAMETERS = 10**9  # four times the largest published; its training needs 20 GB


def check_network(
    make: Callable[[], tuple[nn.Module, nn.Module]],
    shapes: Mapping[str, tuple[int, ...]],
    n_obs_steps: int,
    chunk: tuple[int, int],
    what: str,
) -> None:
    """Make the encoder and the network without memory, count their parameters and run them once.

    Args:
        make: an encoder of observations with ``shapes`` and a network of chunks (horizon, action_dim).

    Raises:
        ConfigError: more parameters than `MOST_PARAMETERS`, or sizes that do not go together.
    """
    try:
        with torch.device("meta"), torch.no_grad():
            encoder, network = make()
            n = sum(parameter.numel() for part in (encoder, network) for parameter in part.parameters())
            if n > MOST_PARAMETERS:
                raise ConfigError(f"{what}: expected at most {MOST_PARAMETERS:,} parameters, these settings have {n:,}")
            cond = encoder.eval()({key: torch.empty(2, n_obs_steps, *shape) for key, shape in shapes.items()})
            network.eval()(torch.empty(2, *chunk), torch.empty(2), cond)
    except ConfigError:
        raise
    except NotImplementedError:  # somebody's network that needs real tensors to be made; it is taken untried
        return
    except (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError, AssertionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{what}: these settings make no network: {reason[:300]}") from error
