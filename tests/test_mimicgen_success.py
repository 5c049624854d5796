"""MimicGen's tasks: what counts as solved, on both sides of every threshold, and what fits where."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mimicgen_by_hand import MM, OPEN, Hand, up
from scipy.spatial.transform import Rotation

CLOSE = 0.0002  # to a threshold, either side
QUARTER = Rotation.from_euler("z", 90, degrees=True)


def stacked(hand: Hand, *names: str, at=(0.1, 0.1), gap: float = -MM / 10) -> None:
    """Cubes on one another, the first on the table; each ``gap`` above the last."""
    top = 0.8
    for name in names:
        half = 0.025 if name == "cubeB" else 0.02
        hand.put(name, [*at, top + gap + half])
        top += 2 * half + gap


def test_stack_success():
    hand = Hand("Stack_D0-v0")
    stacked(hand, "cubeB", "cubeA")
    assert hand.solved()
    hand.rest()
    assert hand.solved()
    stacked(hand, "cubeA", "cubeB")
    assert not hand.solved()
    stacked(hand, "cubeB", "cubeA", gap=MM)
    assert not hand.solved()
    for height, expected in [(0.84 + CLOSE, True), (0.84 - CLOSE, False)]:
        stacked(hand, "cubeB")
        hand.put("cubeA", [0.1449, 0.1, height])  # at its side
        assert hand.solved() == expected

    hand.put("cubeA", hand.grip, hand.level)
    hand.put("cubeB", hand.grip - up(0.0445), hand.level)
    for left, right, held in [(0.0199, 0.0199, True), (OPEN, 0.0199, False), (0.0199, OPEN, False)]:
        hand.fingers(left, right)
        assert hand.env.subtask_signals() == {"grasp": held}
        assert hand.solved() != held


def test_stack_three_success():
    hand = Hand("StackThree_D0-v0")
    stacked(hand, "cubeB", "cubeA", "cubeC")
    assert hand.solved()
    hand.rest()
    assert hand.solved() and hand.env.subtask_signals() == {"grasp_1": False, "stack_1": True, "grasp_2": False}
    stacked(hand, "cubeB", "cubeC", "cubeA")
    assert not hand.solved() and not hand.env.subtask_signals()["stack_1"]
    for height, expected in [(0.88 + CLOSE, True), (0.88 - CLOSE, False)]:
        stacked(hand, "cubeB", "cubeA")
        hand.put("cubeC", [0.1399, 0.1, height])
        assert hand.solved() == expected
    hand.put("cubeC", [0.1401 + MM, 0.1, 0.9])
    assert not hand.solved()

    for heights, signals in [
        ((-0.0449, 0, 0.0399), (True, False, False)),
        ((-0.0848, -0.0399, 0), (False, True, True)),
    ]:
        hand.fingers(OPEN)
        for name, height in zip(("cubeB", "cubeA", "cubeC"), heights, strict=True):
            hand.put(name, hand.grip + hand.level.apply([0, 0, height]), hand.level)
        assert hand.solved()
        hand.fingers(0.0199)  # holds A, then C
        assert not hand.solved()
        assert tuple(hand.env.subtask_signals().values()) == signals


@pytest.mark.parametrize("env_id", ["Square_D0-v0", "Square_D2-v0"])
def test_square_success(env_id):
    hand = Hand(env_id)
    peg = hand.inner.position("peg1") * [1, 1, 0]
    seat = peg + up(0.83)
    turn = Rotation.from_matrix(hand.inner.pose("peg1")[:3, :3])
    hand.put("SquareNut", seat, turn)
    assert hand.solved() and not hand.overlap()
    hand.rest()
    assert hand.solved()
    for off, fits in [(6.5 * MM, True), (7.3 * MM, False)]:
        hand.put("SquareNut", seat + turn.apply([off, 0, 0]), turn)
        assert (not hand.overlap()) == fits
    for axis in range(2):
        for sign in (-1, 1):
            for off, expected in [(0.03 - CLOSE, True), (0.03 + CLOSE, False)]:
                hand.put("SquareNut", seat + sign * off * np.eye(3)[axis])
                assert hand.solved() == expected
    for height, expected in [(0.87 - CLOSE, True), (0.87 + CLOSE, False)]:
        hand.put("SquareNut", peg + up(height))
        assert hand.solved() == expected
    hand.put("SquareNut", seat)
    for distance, expected in [(math.atanh(0.4) / 10 + CLOSE, True), (math.atanh(0.4) / 10 - CLOSE, False)]:
        hand.grip_at(seat + up(distance))
        assert hand.solved() == expected

    hand = Hand(env_id)
    across = hand.level * QUARTER
    hand.put("SquareNut", hand.grip - across.apply([0.06, 0, 0]), across)
    assert hand.env.subtask_signals() == {"grasp": False}
    hand.fingers(0.0158)
    assert hand.env.subtask_signals() == {"grasp": True}


def test_threading_success():
    hand = Hand("Threading_D1-v0")
    hand.rest()
    tripod = hand.inner.pose("tripod")
    assert tripod[2, 3] == pytest.approx(0.8 + 0.0958, abs=MM / 2)  # the sheet's resting height
    rotation = Rotation.from_matrix(tripod[:3, :3])
    rings = [hand.data.geom(f"tripod_ring_{index}").xpos for index in range(20)]
    ring = np.mean(rings, axis=0)
    np.testing.assert_allclose(ring, tripod[:3, 3] + rotation.apply([0, 0, 0.088]), atol=1e-9)

    def put(off, turn=QUARTER):
        """The shaft's middle is ``off`` from the ring's, in the tripod's axes."""
        hand.put("needle", ring + rotation.apply(np.asarray(off) + turn.apply([0, 0.02, 0])), rotation * turn)

    put([0, 0, 0])
    assert hand.solved() and not hand.overlap()
    for off, fits in [(2.9 * MM, True), (3.6 * MM, False)]:
        put([0, off, 0])
        assert (not hand.overlap()) == fits
    for direction in Rotation.random(5, random_state=0).apply([1, 0, 0]):
        for off, expected in [(0.012 - CLOSE, True), (0.012 + CLOSE, False)]:
            put(off * direction)
            assert hand.solved() == expected
    put([0, 0, 0], Rotation.from_euler("x", 40, degrees=True))  # turns do not count
    assert hand.solved()

    hand.put("needle", hand.grip - hand.level.apply([0, 0.06, 0]), hand.level)
    hand.fingers(0.0199)
    assert hand.env.subtask_signals() == {"grasp": True}
    np.testing.assert_allclose(hand.model.body("needle_root").mass, 0.0076, atol=5e-5)
    np.testing.assert_allclose(hand.model.body("tripod_root").mass, 0.0181, atol=2e-4)


def test_three_piece_assembly_success():
    hand = Hand("ThreePieceAssembly_D2-v0")
    for name, mass in {"base": 8.78, "piece_1": 0.0590, "piece_2": 0.1408}.items():
        assert hand.model.body(f"{name}_root").mass[0] == pytest.approx(mass, rel=2e-3)
    middle = np.array([0.0, 0.1, 0.8])

    def put(first=(0, 0), second=(0, 0), height=0.118):
        for name, (x, y), z in [("base", (0, 0), 0.019), ("piece_1", first, 0.051), ("piece_2", second, height)]:
            hand.put(name, np.add(middle, [x, y, z]))

    put()
    assert hand.solved() and not hand.overlap()
    hand.rest()
    assert hand.solved()
    for off, fits in [(5.9 * MM, True), (6.6 * MM, False)]:
        put(first=(0, off), second=(0, off), height=0.2)
        assert (not hand.overlap()) == fits
    for off, fits in [(2.9 * MM, True), (3.6 * MM, False)]:
        put(second=(off, 0))
        assert (not hand.overlap()) == fits
    for angle in (0.3, 2.0, 4.5):
        way = np.array([math.cos(angle), math.sin(angle)])
        for off, expected in [(0.02 - CLOSE, True), (0.02 + CLOSE, False)]:
            put(first=off * way, second=off * way)
            assert hand.solved() == expected == hand.env.subtask_signals()["insert_1"]
            put(second=off * way)
            assert hand.solved() == expected and hand.env.subtask_signals()["insert_1"]
    for error, expected in [(0.02 - CLOSE, True), (0.02 + CLOSE, False)]:
        for sign in (-1, 1):
            put(height=0.019 + 0.08 + sign * error)
            assert hand.solved() == expected

    for held, half, grip, signals in [
        ("piece_1", 0.017, 0.03, (True, False, False)),
        ("piece_2", 0.02, 0.06, (False, True, True)),
    ]:
        hand.fingers(OPEN)
        at = hand.grip - hand.level.apply([0, 0, grip])
        seated = {"base": -0.099, "piece_1": -0.067, "piece_2": 0}
        heights = {"base": -0.032, "piece_1": 0, "piece_2": 0.5} if held == "piece_1" else seated
        for name, height in heights.items():
            hand.put(name, at + up(height), hand.level)
        assert hand.env.subtask_signals() == {"grasp_1": False, "insert_1": True, "grasp_2": False}
        assert hand.solved() == (held == "piece_2")
        hand.fingers(half - MM / 10)
        assert not hand.solved()
        assert tuple(hand.env.subtask_signals().values()) == signals
