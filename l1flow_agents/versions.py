"""What is installed of that which decides how an agent or a simulation behaves."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

RECORDED = (
    *("l1flow-agents", "torch", "numpy", "gymnasium", "gym-pusht", "pymunk", "robosuite", "mujoco"),
    "stable-baselines3",
)

_version = cache(version)  # reads and parses a file, for every agent that is made


def versions() -> dict[str, str]:
    """Package -> installed version."""
    found = {}
    for package in RECORDED:
        try:
            found[package] = _version(package)
        except PackageNotFoundError:
            continue
    return found


def differences(there: dict[str, str], here: dict[str, str]) -> list[str]:
    """One line for each package that differs; builds of one version (``2.6.0+cpu``) do not.

    Example:
        >>> differences({"torch": "2.6.0+cpu", "mujoco": "3.3.0"}, {"torch": "2.6.0", "mujoco": "3.5.0"})
        ['mujoco 3.3.0 instead of 3.5.0']
    """
    pairs = {package: (there.get(package), here.get(package)) for package in {**there, **here}}
    return [
        f"{package} {one} instead of {other}"
        for package, (one, other) in pairs.items()
        if str(one).partition("+")[0] != str(other).partition("+")[0]
    ]
