"""MimicGen's tasks of several objects: what counts as solved."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mimicgen_by_hand import MM, Hand, up
from scipy.spatial.transform import Rotation

CLOSE = 0.0002  # to a threshold, either side
RELEASED = math.atanh(0.4) / 10  # metres from the gripper: 1 - tanh(10 distance) is 0.6
QUARTER = Rotation.from_euler("z", 90, degrees=True)

# ---- NutAssembly ----------------------------------------------------------------------------------------------------


def test_nut_assembly_success():
    hand = Hand("NutAssembly_D0-v0")
    seats = {
        nut: hand.inner.position(peg) * [1, 1, 0] + up(0.83)
        for nut, peg in [("SquareNut", "peg1"), ("RoundNut", "peg2")]
    }
    np.testing.assert_allclose([*seats.values()], [[0.23, 0.1, 0.83], [0.23, -0.1, 0.83]])
    for nut in seats:
        assert not hand.solved()
        hand.put(nut, seats[nut])
    assert hand.solved() and not hand.overlap()
    hand.rest()
    assert hand.solved() and hand.env.subtask_signals()["insert_square_nut"]
    for nut in seats:
        for off, expected in [([0.03 - CLOSE, 0, 0], True), ([0, 0.03 + CLOSE, 0], False), (up(0.04 + CLOSE), False)]:
            hand.put(nut, seats[nut] + off)
            assert hand.solved() == expected
        hand.put(nut, seats[nut])
        for distance, expected in [(RELEASED + CLOSE, True), (RELEASED - CLOSE, False)]:
            hand.grip_at(seats[nut] + up(distance))
            assert hand.solved() == expected
            assert hand.env.subtask_signals()["insert_square_nut"] == (expected or nut == "RoundNut")
        hand.put(nut, seats[nut])  # the gripper is where it was
    hand.put("SquareNut", seats["RoundNut"])
    hand.put("RoundNut", seats["SquareNut"])
    assert not hand.solved()


# ---- PickPlace ------------------------------------------------------------------------------------------------------

CORNERS = {"Milk": (-0.095, 0.035), "Bread": (0.1, 0.035), "Cereal": (-0.095, 0.28), "Can": (0.1, 0.28)}
SIZE = np.array([0.195, 0.245])


def put_away(hand: Hand) -> None:
    for name, corner in CORNERS.items():
        hand.put(name, [*(corner + SIZE / 2), 0.8 + 0.1 - 5 * MM])


def test_pick_place_success():
    hand = Hand("PickPlace_D0-v0")
    put_away(hand)
    assert hand.solved() and not hand.overlap()
    hand.rest()
    assert hand.solved()
    for name, corner in CORNERS.items():
        for axis in range(2):
            for share in (0, 1):
                for inwards in (CLOSE, -CLOSE):
                    place = corner + SIZE / 2
                    place[axis] = corner[axis] + share * SIZE[axis] + (inwards if share == 0 else -inwards)
                    hand.put(name, [*place, 0.85])
                    assert hand.solved() == (inwards > 0)
                    assert hand.env.subtask_signals().get(f"place_{name.lower()}", inwards > 0) == (inwards > 0)
        middle = corner + SIZE / 2
        for height, expected in [(0.8 + CLOSE, True), (0.8 - CLOSE, False), (0.9 - CLOSE, True), (0.9 + CLOSE, False)]:
            hand.put(name, [*middle, height])
            assert hand.solved() == expected
        put_away(hand)
        for distance, expected in [(RELEASED + CLOSE, True), (RELEASED - CLOSE, False)]:
            hand.grip_at(hand.inner.position(name) + up(distance))
            assert hand.solved() == expected


# ---- CoffeePreparation ----------------------------------------------------------------------------------------------

HINGE, STANDING = "coffee_machine_hinge", 0.0309 * 1.25  # the mug's origin over its foot


@pytest.mark.parametrize("env_id", ["CoffeePreparation_D0-v0", "CoffeePreparation_D1-v0"])
def test_pod_starts_in_the_drawer(env_id):
    hand = Hand(env_id)
    assert hand.inner.lid_angle() == 0 and hand.inner.slide() == 0
    for _ in range(50):
        position = hand.inner._draw_placements()["coffee_pod"][0]
        tray = hand.inner.pose("drawer_tray_root")
        x, y, z = tray[:3, :3].T @ (position - tray[:3, 3]) - [0, -0.04, -0.022]
        assert abs(x) <= 0.03 and -0.05 <= y <= 0.03 and z == pytest.approx(0.0241)
    hand.rest()
    assert hand.inner.touching("coffee_pod", "drawer_tray_bottom") and hand.inner.stands("coffee_pod")


def test_coffee_preparation_success():
    hand = Hand("CoffeePreparation_D1-v0")
    machine = hand.inner.pose("coffee_machine")
    turn = Rotation.from_matrix(machine[:3, :3])
    plate = machine[:3, 3] + turn.apply([0, 0.112, -0.1005 + STANDING])
    lean = math.acos(1 - 0.001)

    def put_mug(height: float = 0.1 * MM, angle: float = 0.0) -> None:
        """Its handle is at the machine's front, as its cup is not in the middle."""
        hand.put("mug", plate + up(height), turn * Rotation.from_euler("x", angle))

    def put_pod() -> None:
        hand.put("coffee_pod", hand.inner.position("coffee_pod_holder") + turn.apply([0, 0, 0.0071]), turn)

    put_pod()
    assert not hand.solved()
    put_mug()
    assert hand.solved() and not hand.overlap()
    hand.rest()
    assert hand.solved()
    for height, expected in [(MM - CLOSE, True), (MM + CLOSE, False)]:
        put_mug(height)
        assert hand.solved() == expected
    for angle, expected in [(lean - 0.001, True), (lean + 0.001, False)]:
        put_mug(0, angle)
        assert hand.solved() == expected
    put_mug()
    for angle, expected in [(math.radians(15) - CLOSE, True), (math.radians(15) + CLOSE, False)]:
        hand.turn(HINGE, angle)
        assert hand.solved() == expected
    for angle, expected in [(2.08 + CLOSE, True), (2.08 - CLOSE, False)]:
        hand.turn(HINGE, angle)
        assert hand.env.subtask_signals()["mug_place"] == expected
    for slide, expected in [(-0.19 - CLOSE, True), (-0.19 + CLOSE, False)]:
        hand.turn("drawer_slide", slide)
        assert hand.env.subtask_signals()["drawer_open"] == expected
    hand.turn(HINGE, 0)
    put_pod()
    hand.put("mug", [0, 0.1, 0.8 + STANDING])
    assert not hand.solved()
    assert hand.model.body("mug_root").mass[0] == pytest.approx(0.0068 * 1.25**3)


def test_deep_drawer():
    hand = Hand("CoffeePreparation_D0-v0")
    force = hand.data.joint("drawer_slide").qfrc_applied
    force[0] = -20
    hand.rest(25)
    assert hand.inner.slide() == pytest.approx(-0.198, abs=2 * MM)  # at the front posts
    assert hand.env.subtask_signals()["drawer_open"]
    hand.put("coffee_pod", hand.grip, hand.level)
    hand.put("mug", hand.grip + up(0.3), hand.level)
    hand.fingers(0.0219)
    assert hand.env.subtask_signals()["pod_grasp"] and not hand.env.subtask_signals()["mug_grasp"]


# ---- Kitchen --------------------------------------------------------------------------------------------------------

BUTTON = "Button1_hinge"
FLOOR = 0.0025  # the pot's origin over its underside


def put_pot(hand: Hand, on: str, height: float, off=(0, 0), bread: bool = True) -> None:
    """``height`` of the surface over ``on``; the bread lies in the pot, or on the table."""
    place = np.add(hand.inner.position(on), [*off, height + FLOOR])
    hand.put("PotObject", place)
    hand.put("cube_bread", place + up(0.0274) if bread else [-0.3, -0.35, 0.92])


def test_kitchen_success():
    """Cooked first, then served with the stove off."""
    hand = Hand("Kitchen_D1-v0")
    stove, region = ("Stove1", 0.0224), ("ServingRegionRed", 0.022)
    for angle, bread, on, cooks in [
        (-0.01, True, stove, False),
        (0.01, False, stove, False),
        (0.01, True, ("Stove1", 0.03), False),  # over the stove
        (0.01, True, stove, True),
    ]:
        hand.turn(BUTTON, angle)
        put_pot(hand, *on, bread=bread)
        assert hand.env.subtask_signals()["stove_on"] == (angle > 0)
        assert hand.env.subtask_signals()["place_pot_on_stove"] == (on == stove)
        assert not hand.inner.cooked()
        hand.rest(1)  # counts from the next step on
        assert hand.inner.cooked() == cooks
        hand.rest(1)
        if on != stove:
            hand = Hand("Kitchen_D1-v0")
    assert not hand.solved()
    hand.turn(BUTTON, -0.1)
    for axis, limit in enumerate((0.05, 0.10)):
        for sign in (-1, 1):
            for off, expected in [(limit - CLOSE, True), (limit + CLOSE, False)]:
                put_pot(hand, *region, off=sign * off * np.eye(2)[axis])
                assert hand.solved() == expected == hand.env.subtask_signals()["serve"]
    for height, expected in [(0.05 - CLOSE, True), (0.05 + CLOSE, False)]:
        put_pot(hand, "ServingRegionRed", height - FLOOR)
        assert hand.solved() == expected
    put_pot(hand, *region, bread=False)
    assert not hand.solved()
    put_pot(hand, *region)
    for angle, expected in [(-CLOSE, True), (CLOSE, False)]:
        hand.turn(BUTTON, angle)
        assert hand.solved() == expected

    hand.turn(BUTTON, -0.1)
    state = hand.env.get_state()
    hand = Hand("Kitchen_D1-v0", seed=1)
    hand.env.set_state(state)
    assert hand.env.is_success() and hand.inner.cooked()  # a state remembers
    hand = Hand("Kitchen_D1-v0")
    hand.turn(BUTTON, -0.1)
    put_pot(hand, *region)
    assert not hand.solved()  # a new episode does not


def test_button_and_lamp():
    hand = Hand("Kitchen_D0-v0")
    rocker = hand.model.body("Button1_rocker_root")
    assert rocker.mass[0] == 0.243
    np.testing.assert_allclose(rocker.inertia, [0.091, 0.052, 0.044])
    assert hand.inner.joint(BUTTON) == -0.3
    for angle, lamp in [(0.1, 0.004), (-0.1, 0)]:
        hand.turn(BUTTON, angle)
        hand.rest(5)
        assert hand.inner.joint(BUTTON) == pytest.approx(angle, abs=0.01)  # friction holds it
        assert hand.inner.joint("Stove1_lamp") == pytest.approx(lamp, abs=1e-9)
    force = hand.data.joint(BUTTON).qfrc_applied
    force[0] = 0.5
    hand.rest(20)
    assert hand.inner.joint(BUTTON) == pytest.approx(0.3, abs=0.02)


def test_kitchen_grasps():
    hand = Hand("Kitchen_D0-v0")
    hand.put("cube_bread", hand.grip, hand.level)
    hand.put("PotObject", hand.grip - hand.level.apply([0, 0, 0.05]), hand.level)
    hand.fingers(0.0149)
    assert hand.env.subtask_signals()["grasp_bread"] and not hand.env.subtask_signals()["place_bread_in_pot"]
    hand.fingers(0.04)
    hand.put("PotObject", hand.grip - hand.level.apply([0, 0.06, 0.077]), hand.level)
    hand.put("cube_bread", hand.grip - hand.level.apply([0, 0.06, 0.0496]), hand.level)
    assert not hand.env.subtask_signals()["grasp_pot"]
    hand.fingers(0.0274)
    assert hand.env.subtask_signals()["grasp_pot"] and hand.env.subtask_signals()["place_bread_in_pot"]
