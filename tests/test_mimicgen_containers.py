"""MimicGen's tasks with a lid or a drawer: what counts as solved, what fits, what slides, hinges and falls shut."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mimicgen_by_hand import MM, OPEN, Hand, up
from scipy.spatial.transform import Rotation

CLOSE = 0.0002  # to a threshold, either side
HINGE, LID_OPEN = "coffee_machine_hinge", 2 * math.pi / 3
COFFEE = "Coffee_D2-v0"

# ---- Coffee ---------------------------------------------------------------------------------------------------------


def put_pod(hand: Hand, off=(0, 0), height: float = 0.0071) -> None:
    """Over the holder's origin, which is on the machine's axis; ``off`` in the machine's axes."""
    machine = Rotation.from_matrix(hand.inner.pose("coffee_machine")[:3, :3])
    hand.put("coffee_pod", hand.inner.position("coffee_pod_holder") + machine.apply([*off, height]), machine)


def test_coffee_success():
    hand = Hand(COFFEE)
    put_pod(hand)
    assert not hand.solved()  # the lid is open
    hand.turn(HINGE, 0)
    assert hand.solved() and not hand.overlap()
    hand.rest()
    assert hand.solved()
    seated = hand.inner.position("coffee_pod") - hand.inner.position("coffee_pod_holder")
    assert seated[2] == pytest.approx(0.0078, abs=0.8 * MM)  # the sheet's

    for angle, expected in [(math.radians(15) - CLOSE, True), (math.radians(15) + CLOSE, False)]:
        hand.turn(HINGE, angle)
        assert hand.solved() == expected
    hand.turn(HINGE, 0)
    for direction in (0, 1, 2.5, 4):
        for off, expected in [(0.0052 - CLOSE, True), (0.0052 + CLOSE, False)]:
            put_pod(hand, (off * math.cos(direction), off * math.sin(direction)))
            assert hand.solved() == expected
    floor, lid = -0.028 + 0.0231, 0.106 - 0.0635 - 0.0095 - 0.0231
    for height, expected in [(floor + CLOSE, True), (floor - CLOSE, False), (lid - CLOSE, True), (lid + CLOSE, False)]:
        put_pod(hand, height=height)
        assert hand.solved() == expected


def test_pod_fits_in_the_bore():
    hand = Hand(COFFEE)
    for off, fits in [(0.6 * MM, True), (1.3 * MM, False)]:
        for direction in (0, math.pi / 2, 4):
            put_pod(hand, (off * math.cos(direction), off * math.sin(direction)))
            assert (not hand.overlap()) == fits
    put_pod(hand, (2 * MM, 0), height=0.045)  # the foot is narrower
    assert not hand.overlap()
    hand.rest(30)
    height = hand.inner.position("coffee_pod") - hand.inner.position("coffee_pod_holder")
    assert height[2] < 0.010  # it found its way


def test_lid():
    hand = Hand(COFFEE)
    assert hand.inner.lid_angle() == LID_OPEN
    hand.rest(20)
    assert hand.inner.lid_angle() == pytest.approx(LID_OPEN, abs=0.02)
    for start, end in [(math.pi / 2 + 0.1, LID_OPEN), (math.pi / 2 - 0.1, 0), (0.3, 0)]:
        hand = Hand(COFFEE)
        hand.turn(HINGE, start)
        hand.rest(40)
        assert hand.inner.lid_angle() == pytest.approx(end, abs=0.02)


def test_machine_and_pod():
    hand = Hand(COFFEE)
    bodies = [f"coffee_machine_{name}_root" for name in ("base", "holder", "lid")]
    assert sum(hand.model.body(name).mass[0] for name in bodies) == pytest.approx(6.63, abs=0.01)
    assert hand.model.body("coffee_pod_root").mass[0] == pytest.approx(0.007)
    before = hand.inner.pose("coffee_machine")
    hand.rest(20)
    np.testing.assert_allclose(hand.inner.pose("coffee_machine"), before, atol=MM)

    hand.put("coffee_pod", hand.grip, hand.level)
    assert hand.env.subtask_signals() == {"grasp": False}
    for left, right, held in [(0.0219, 0.0219, True), (OPEN, 0.0219, False), (0.0219, OPEN, False)]:
        hand.fingers(left, right)
        assert hand.env.subtask_signals() == {"grasp": held}


# ---- the drawer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id, name", [("HammerCleanup_D1-v0", "CabinetObject"), ("MugCleanup_D1-v0", "drawer")])
def test_drawer(env_id, name):
    hand = Hand(env_id)
    tray = hand.model.body(f"{name}_tray_root")
    assert tray.mass[0] == 7.854
    np.testing.assert_allclose(tray.inertia, [0.923, 0.765, 0.169])
    np.testing.assert_allclose(tray.ipos, [0, 0, 0.35])
    np.testing.assert_array_equal(hand.model.joint(f"{name}_slide").range, [-1, 0])

    force = hand.data.joint(f"{name}_slide").qfrc_applied
    force[0] = -20
    hand.rest(10)
    lag = 7.854 / 100  # a mass against a damper of 100 N s/m
    way = 0.2 * (0.5 - lag * (1 - math.exp(-0.5 / lag)))
    assert hand.inner.slide() == pytest.approx(-way, rel=0.02)
    hand.rest(10)
    assert hand.inner.slide() == pytest.approx(-0.135, abs=2 * MM)  # the tray's back is at the front posts
    force[0] = 20
    hand.rest(20)
    force[0] = 0
    assert hand.inner.slide() == pytest.approx(0, abs=2 * MM) and hand.inner.shut()
    for slide, shut in [(-0.01 + CLOSE, True), (-0.01 - CLOSE, False)]:
        hand.turn(f"{name}_slide", slide)
        assert hand.inner.shut() == shut

    for slide, distance, is_open in [(-0.1, 0.24, True), (-0.1 + 2 * CLOSE, 0.24, False), (-0.1, 0.2396, False)]:
        hand.turn(f"{name}_slide", slide - CLOSE)
        hand.grip_at(hand.inner.position(f"{name}_tray_root") + up(distance + CLOSE))
        assert hand.env.subtask_signals()["open"] == is_open


def in_drawer(hand: Hand, name: str, off, turn: Rotation) -> None:
    """``off`` from the middle of the tray's floor, in the drawer's axes; the tray goes where it slides."""
    drawer, tray = hand.inner.pose(hand.inner.drawer), hand.inner.pose(f"{hand.inner.drawer}_tray_root")
    rotation = Rotation.from_matrix(drawer[:3, :3])
    hand.put(name, tray[:3, 3] + rotation.apply(np.add(off, [0, 0, -0.032])), rotation * turn)


# ---- HammerCleanup --------------------------------------------------------------------------------------------------

LYING = Rotation.from_euler("x", -90, degrees=True)  # the handle along y


def test_hammer_cleanup_success():
    for env_id in ("HammerCleanup_D0-v0", "HammerCleanup_D1-v0"):
        hand = Hand(env_id, seed=4)
        in_drawer(hand, "hammer", [0, 0, 0.02], LYING)
        assert not hand.overlap()
        hand.rest()
        assert hand.solved()  # it fell onto the floor, which leaves the drawer shut
        for slide, expected in [(-0.01 + CLOSE, True), (-0.01 - CLOSE, False)]:
            hand.turn("CabinetObject_slide", slide)
            assert hand.solved() == expected
        hand.turn("CabinetObject_slide", 0)
        in_drawer(hand, "hammer", [0, 0, 0.03], LYING)
        assert hand.solved() == (env_id == "HammerCleanup_D0-v0")  # over the floor, not on it
        hand.put("hammer", [-0.1, -0.15, 0.92], LYING)
        assert not hand.solved()

    hand = Hand("HammerCleanup_D0-v0")
    for y, z, expected in [
        (0.22 + CLOSE, 0.97, True),
        (0.22 - CLOSE, 0.97, False),
        (0.3, 0.94 + CLOSE, True),
        (0.3, 0.94 - CLOSE, False),
        (0.3, 1.0 - CLOSE, True),
        (0.3, 1.0 + CLOSE, False),
    ]:
        hand.put("hammer", [0, y, z], LYING)
        assert hand.solved() == expected


def test_hammer():
    """Sizes are drawn for every episode, in the sheet's ranges."""
    sizes = []
    for seed in range(3):
        hand = Hand("HammerCleanup_D0-v0", seed)
        handle, face = hand.model.geom("hammer_handle"), hand.model.geom("hammer_face")
        sizes.append([2 * handle.size[2], face.size[0], handle.friction[0], hand.model.body("hammer_root").mass[0]])
        np.testing.assert_array_equal(handle.size[:2], 0.012)
    low, high = np.min(sizes, axis=0), np.max(sizes, axis=0)
    assert (low >= [0.045, 0.012, 3, 0.007]).all() and (high <= [0.05, 0.0144, 5, 0.022]).all() and (low < high).all()

    hand.put("hammer", hand.grip, hand.level * Rotation.from_euler("x", 90, degrees=True))
    assert not hand.env.subtask_signals()["grasp"]
    hand.fingers(0.0119)
    assert hand.env.subtask_signals() == {"open": False, "grasp": True}


# ---- MugCleanup -----------------------------------------------------------------------------------------------------

STANDING = 0.0309  # the mug's origin over its foot


def test_mug_cleanup_success():
    hand = Hand("MugCleanup_D1-v0")
    upright, axis = Rotation.identity(), [0, 0.018, 0]  # the cup's middle is not the origin

    def put(height: float = 0.0, turn: Rotation = upright) -> None:
        in_drawer(hand, "object", turn.apply(axis) + up(STANDING + height), turn)

    put(0.1 * MM)
    assert hand.solved() and not hand.overlap()
    hand.rest()
    assert hand.solved()
    for slide, expected in [(-0.01 + CLOSE, True), (-0.01 - CLOSE, False)]:
        hand.turn("drawer_slide", slide)
        assert hand.solved() == expected
    hand.turn("drawer_slide", 0)
    for height, expected in [(MM - CLOSE, True), (MM + CLOSE, False)]:  # its margin makes it touch from 1 mm off
        put(height)
        assert hand.solved() == expected
    lean = math.acos(1 - 0.001)
    for axis_of_lean in ("x", "y"):
        for angle, expected in [(lean - 0.001, True), (lean + 0.001, False)]:
            put(0, Rotation.from_euler(axis_of_lean, angle))
            assert hand.solved() == expected
    put(0, Rotation.from_euler("x", 180, degrees=True))
    assert not hand.solved()
    for height, fits in [(4.1 * MM, True), (5.6 * MM, False)]:  # under the cabinet's top
        put(height)
        assert (not hand.overlap()) == fits
    hand.put("object", [0, -0.2, 0.8 + STANDING])
    assert not hand.solved()


def test_mug():
    hand = Hand("MugCleanup_D0-v0")
    assert hand.model.body("object_root").mass[0] == pytest.approx(0.0068)
    hand.rest(20)
    assert hand.inner.stands("object") and hand.inner.position("object")[2] == pytest.approx(0.8309, abs=1.5 * MM)
    hand.put("object", hand.grip + hand.level.apply([0, 0.018, 0]), hand.level)
    assert not hand.env.subtask_signals()["grasp"]
    hand.fingers(0.0281)
    assert hand.env.subtask_signals() == {"open": False, "grasp": True}


@pytest.mark.parametrize(
    "left, right, strictly, tolerantly",
    [
        ("pad", "pad", True, True),
        ("pad", "finger", False, True),
        ("finger", "pad", False, True),
        ("finger", "finger", False, False),
        ("pad", "", False, False),
        ("", "pad", False, False),
    ],
)
def test_tolerant_grasp(left, right, strictly, tolerantly, monkeypatch):
    inner = Hand("MugCleanup_D0-v0").inner
    geoms = inner.robots[0].gripper["right"].important_geoms
    touching = set()
    for side, part in [("left", left), ("right", right)]:
        pads = {*geoms[f"{side}_fingerpad"]}
        touching |= {"pad": pads, "finger": {*geoms[f"{side}_finger"]} - pads, "": set()}[part]
    monkeypatch.setattr(inner, "_contacts_of", lambda name, candidates: touching & {*candidates})
    assert inner.grasped("object") == strictly and inner.grasped("object", tolerant=True) == tolerantly
