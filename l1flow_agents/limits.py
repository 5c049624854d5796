"""How large things from a file may be: far above what anybody trains, far below what hurts a machine.

Whoever reads a checkpoint, a configuration or a task file checks these before memory or time is spent.
"""

YAML_BYTES = 1 << 20
"""Of a YAML file; ours have 2 kB. libyaml reads one of this size in a second or two."""
YAML_EVENTS = 100_000
"""Values, and beginnings and ends of lists and mappings, in a YAML file."""
YAML_DEPTH = 32
"""Lists and mappings inside each other in a YAML file."""
YAML_DIGITS = 100
"""Characters of a number in a YAML file."""
MESSAGE = 400
"""Characters of a reason that quotes what a file holds."""

SPACE_NUMBERS = 10_000_000
"""Numbers in all observations and the action of one time step: ten colour pictures of 640 x 480."""
SPACE_KEYS = 1000
"""Observations by name."""
FEW = 1024
"""What memory or time is multiplied by: steps of a chunk, of a history or of a sampler, blocks of a network."""

WEIGHTS = 1_000_000_000
"""Numbers in a network: 4 GB. The largest published U-Net of Diffusion Policy has 0.3 * 10**9."""
BUFFERS = 25_000_000
"""Of these, constants and normalisers: 100 MB."""
TENSORS = 5000
"""Tensors in a network; a transformer of 100 blocks has about 1000."""
HEADER_BYTES = 4 << 20
"""Of a safetensors file's header; 5000 tensors take 0.6 MB."""
