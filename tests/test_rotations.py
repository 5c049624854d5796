"""Rotations: every form means the same rotation, by the conventions of robomimic and Diffusion Policy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from l1flow_agents.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    matrix_to_rotation_6d,
    quaternion_to_matrix,
    rotation_6d_to_matrix,
)

FORMS = {
    "6d": (matrix_to_rotation_6d, rotation_6d_to_matrix),
    "axis-angle": (matrix_to_axis_angle, axis_angle_to_matrix),
    "quaternion": (matrix_to_quaternion, quaternion_to_matrix),
}
QUARTER_Z = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])  # x goes to y

batches = st.sampled_from([(), (1,), (5,), (2, 3)])


def vectors(size: int, bound: float):
    return batches.flatmap(lambda batch: arrays(np.float64, (*batch, size), elements=st.floats(-bound, bound)))


def generators(axis_angle: np.ndarray) -> np.ndarray:
    """(..., 3) -> the skew matrices K with K v = axis_angle x v."""
    return np.moveaxis(np.cross(axis_angle[..., None, :], np.eye(3)), -1, -2)


def exponential(matrix: np.ndarray) -> np.ndarray:
    """Of small matrices, by its series and ten squarings: nothing that the code under test knows."""
    term = total = np.broadcast_to(np.eye(3), matrix.shape)
    for k in range(1, 12):
        term = term @ (matrix / 1024) / k
        total = total + term
    for _ in range(10):
        total = total @ total
    return total


@given(axis_angle=vectors(3, 6))
@example(axis_angle=np.zeros(3))
@example(axis_angle=np.array([1e-9, 0, 1e-200]))
@example(axis_angle=np.array([np.pi, 0, 0]))
def test_axis_angle_is_the_matrix_exponential(axis_angle):
    np.testing.assert_allclose(axis_angle_to_matrix(axis_angle), exponential(generators(axis_angle)), atol=1e-10)


@pytest.mark.parametrize("to_form, to_matrix", FORMS.values(), ids=FORMS)
@given(axis_angle=vectors(3, 6))
@example(axis_angle=np.zeros((4, 3)))
@example(axis_angle=np.pi * np.eye(3))
@example(axis_angle=np.pi * np.array([[1, 1, 0], [-1, 0, 1]]) / np.sqrt(2))
@example(axis_angle=(np.pi - 1e-9) * np.array([0.6, -0.8, 0]))
@example(axis_angle=np.array([0, 1e-11, 0]))
def test_there_and_back(to_form, to_matrix, axis_angle):
    matrix = axis_angle_to_matrix(axis_angle)
    form = to_form(matrix)
    assert form.shape[:-1] == axis_angle.shape[:-1]
    assert form.dtype == np.float64
    np.testing.assert_allclose(to_matrix(form), matrix, atol=1e-12)


@given(axis_angle=vectors(3, 1.8))  # at most 1.8 * sqrt(3) < pi, where the axis-angle is unique
def test_axis_angle_comes_back_itself(axis_angle):
    np.testing.assert_allclose(matrix_to_axis_angle(axis_angle_to_matrix(axis_angle)), axis_angle, atol=1e-7)
    small = axis_angle * 1e-6  # with all its digits
    np.testing.assert_allclose(matrix_to_axis_angle(axis_angle_to_matrix(small)), small, rtol=1e-9, atol=1e-16)


@given(axis_angle=vectors(3, 6))
def test_angle_and_sign_ranges(axis_angle):
    matrix = axis_angle_to_matrix(axis_angle)
    quaternion = matrix_to_quaternion(matrix)
    assert (np.linalg.norm(matrix_to_axis_angle(matrix), axis=-1) <= np.pi + 1e-12).all()
    assert (quaternion[..., 3] >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(quaternion, axis=-1), 1, atol=1e-12)


@given(rotation_6d=vectors(6, 3))
def test_any_two_vectors_become_a_rotation(rotation_6d):
    first, second = rotation_6d[..., :3], rotation_6d[..., 3:]
    area = np.linalg.norm(np.cross(first, second), axis=-1)
    rotation_6d = np.where((area < 1e-3)[..., None], np.eye(6)[0] + np.eye(6)[4], rotation_6d)
    matrix = rotation_6d_to_matrix(rotation_6d)
    np.testing.assert_allclose(matrix @ np.swapaxes(matrix, -1, -2) - np.eye(3), 0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(matrix), 1, atol=1e-9)
    # the first row keeps the first vector's direction, the second stays in the plane of both
    np.testing.assert_allclose(np.cross(matrix[..., 0, :], rotation_6d[..., :3]), 0, atol=1e-9)
    assert ((matrix[..., 0, :] * rotation_6d[..., :3]).sum(-1) > 0).all()
    assert ((matrix[..., 1, :] * rotation_6d[..., 3:]).sum(-1) > 0).all()


def test_conventions():
    half = np.sqrt(0.5)
    np.testing.assert_allclose(axis_angle_to_matrix([0, 0, np.pi / 2]), QUARTER_Z, atol=1e-15)
    np.testing.assert_allclose(quaternion_to_matrix([0, 0, half, half]), QUARTER_Z, atol=1e-15)
    np.testing.assert_allclose(quaternion_to_matrix([0, 0, -3, -3]), QUARTER_Z, atol=1e-15)
    np.testing.assert_allclose(matrix_to_quaternion(QUARTER_Z), [0, 0, half, half], atol=1e-15)
    np.testing.assert_allclose(matrix_to_rotation_6d(QUARTER_Z), [0, -1, 0, 1, 0, 0])  # rows, not columns
    np.testing.assert_allclose(rotation_6d_to_matrix([0, -2, 0, 5, 7, 0]), QUARTER_Z, atol=1e-15)


def test_composition_of_quarter_turns():
    quarter_x = axis_angle_to_matrix([np.pi / 2, 0, 0])
    third = matrix_to_axis_angle(quarter_x @ QUARTER_Z)  # two quarter turns make a third of a turn about a diagonal
    np.testing.assert_allclose(np.linalg.norm(third), 2 * np.pi / 3)
    np.testing.assert_allclose(np.abs(third), np.full(3, 2 * np.pi / 3 / np.sqrt(3)))


def test_float32_is_computed_in_float64():
    axis_angle = np.float32([[0.3, -0.2, 0.9]])
    np.testing.assert_array_equal(axis_angle_to_matrix(axis_angle), axis_angle_to_matrix(axis_angle.astype(np.float64)))
