"""Networks: ``network(x, t, cond)`` maps a noisy chunk to a chunk of the same shape. One file a network; other packages
add theirs to `NETWORKS`.
"""

from torch import nn

from l1flow_agents.networks.encoders import ObservationEncoder
from l1flow_agents.networks.mlp import ChunkMLP
from l1flow_agents.networks.transformer import ChunkTransformer
from l1flow_agents.networks.unet1d import UNet1D
from l1flow_agents.registry import Registry

NETWORKS: Registry[type[nn.Module]] = Registry(
    "network",
    "l1flow_agents.networks",
    {"unet": UNet1D, "transformer": ChunkTransformer, "mlp": ChunkMLP},
    nn.Module,
)

__all__ = ["NETWORKS", "ChunkMLP", "ChunkTransformer", "ObservationEncoder", "UNet1D"]
