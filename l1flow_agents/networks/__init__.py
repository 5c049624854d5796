"""Networks: ``network(x, t, cond)`` maps a noisy chunk to a chunk of the same shape. One file a network."""

from torch import nn

from l1flow_agents.networks.encoders import ObservationEncoder
from l1flow_agents.networks.mlp import ChunkMLP
from l1flow_agents.networks.transformer import ChunkTransformer
from l1flow_agents.networks.unet1d import UNet1D

NETWORKS: dict[str, type[nn.Module]] = {"unet": UNet1D, "transformer": ChunkTransformer, "mlp": ChunkMLP}

__all__ = ["NETWORKS", "ChunkMLP", "ChunkTransformer", "ObservationEncoder", "UNet1D"]
