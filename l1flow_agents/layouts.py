"""Where the parts of observation vectors lie, by name: one table for tasks, experts, symmetries and encoders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from itertools import accumulate
from operator import or_

import numpy as np

from l1flow_agents.errors import ConfigError


class Layout(Mapping[str, slice]):
    """The named parts of a vector, in order: ``Layout(cube_pos=3, cube_quat=4)["cube_quat"]`` is ``slice(3, 7)``.

    Names are robosuite's: ``<object>_pos`` metres, ``<object>_quat`` xyzw, ``<one>_to_<other>...`` of one relative to
    another. ``one | other`` is one after the other.
    """

    def __init__(self, **sizes: int) -> None:
        ends = accumulate(sizes.values())
        self._slices = {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}

    def __getitem__(self, name: str) -> slice:
        return self._slices[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._slices)

    def __len__(self) -> int:
        return len(self._slices)

    def __or__(self, other: Layout) -> Layout:
        return Layout(**self.sizes, **other.sizes)

    def __repr__(self) -> str:
        return f"Layout({', '.join(f'{name}={size}' for name, size in self.sizes.items())})"

    @property
    def sizes(self) -> dict[str, int]:
        return {name: part.stop - part.start for name, part in self.items()}

    @property
    def dim(self) -> int:
        """Of the whole vector."""
        return sum(self.sizes.values())

    @property
    def objects(self) -> list[str]:
        """What has a position in the world, ``<object>_pos``."""
        ends = [name.removesuffix("_pos") for name, size in self.sizes.items() if name.endswith("_pos") and size == 3]
        return [name for name in ends if "_to_" not in name]

    @property
    def quaternions(self) -> list[str]:
        return [name for name in self if name.endswith("_quat")]

    def starts(self, *names: str) -> list[int]:
        """Where these parts begin."""
        return [self[name].start for name in names]

    def split(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """(..., dim) -> views (..., size) by name."""
        if vector.shape[-1] != self.dim:
            raise ConfigError(f"expected {self.dim} numbers for {self}, got {vector.shape[-1]}")
        return {name: vector[..., part] for name, part in self.items()}


def in_world(name: str) -> Layout:
    """An object's pose."""
    return Layout(**{f"{name}_pos": 3, f"{name}_quat": 4})


def in_hand(name: str) -> Layout:
    """An object's pose in the gripper's frame."""
    return in_world(f"{name}_to_robot0_eef")


def joined(layouts: Iterable[Layout]) -> Layout:
    return reduce(or_, layouts)


def robosuites(*names: str) -> Layout:
    """Poses as robosuite 1.5 orders them."""
    return joined(in_hand(name) | in_world(name) for name in names)


def mimicgens(*names: str) -> Layout:
    """Poses as MimicGen's data sets order them."""
    return joined(in_world(name) | in_hand(name) for name in names)


TRANSPORT = joined(map(in_world, ("payload", "trash", "lid_handle"))) | Layout(
    target_bin_pos=3,
    trash_bin_pos=3,
    payload_in_target_bin=1,
    trash_in_trash_bin=1,
    gripper0_to_payload=3,
    gripper0_to_lid_handle=3,
    gripper1_to_payload=3,
    gripper1_to_trash=3,
)
STACK = in_world("cubeA") | in_world("cubeB") | Layout(gripper_to_cubeA=3, gripper_to_cubeB=3, cubeA_to_cubeB=3)
STACK_THREE = STACK | in_world("cubeC") | Layout(gripper_to_cubeC=3, cubeA_to_cubeC=3, cubeB_to_cubeC=3)
SQUARE = mimicgens("SquareNut")
COFFEE = mimicgens("coffee_pod", "coffee_machine", "coffee_pod_holder", "coffee_machine_lid")
KITCHEN = mimicgens("Stove1", "cube_bread", "PotObject", "ServingRegionRed")

# Of the observation ``object``, and of PushT's ``state``
LAYOUTS = {
    "PushT-v0": Layout(agent_pos=2, block_pos=2, block_angle=1),
    "Lift-v0": in_world("cube") | Layout(gripper_to_cube_pos=3),
    "Can-v0": robosuites("Can"),
    "Square-v0": robosuites("SquareNut"),
    "Transport-v0": TRANSPORT,
    "ToolHang-v0": robosuites("base", "frame", "tool") | Layout(frame_is_assembled=1, tool_on_frame=1),
    **{
        f"{task}_{variant}-v0": layout
        for task, variants, layout in [
            ("Stack", "D0 D1", STACK),
            ("StackThree", "D0 D1", STACK_THREE),
            ("Square", "D0", SQUARE),
            ("Square", "D1 D2", SQUARE | Layout(peg1_pos=3)),
            ("Threading", "D0 D1 D2", mimicgens("needle", "tripod")),
            ("ThreePieceAssembly", "D0 D1 D2", mimicgens("base", "piece_1", "piece_2")),
            ("Coffee", "D0 D1 D2", COFFEE | Layout(hinge_angle=1)),
            ("HammerCleanup", "D0 D1", mimicgens("hammer", "CabinetObject")),
            ("MugCleanup", "D0 D1", mimicgens("object", "drawer") | Layout(drawer_joint_pos=1)),
            ("NutAssembly", "D0", mimicgens("SquareNut", "RoundNut")),
            ("PickPlace", "D0", mimicgens("Milk", "Bread", "Cereal", "Can")),
            (
                "CoffeePreparation",
                "D0 D1",
                COFFEE | mimicgens("drawer", "mug") | Layout(hinge_angle=1, drawer_joint_angle=1),
            ),
            ("Kitchen", "D0", KITCHEN),
            ("Kitchen", "D1", KITCHEN | mimicgens("Button1")),
        ]
        for variant in variants.split()
    },
}

PUSHT_MARK = (256.0, 256.0, np.pi / 4)  # where its block shall lie: x, y pixels, radians
