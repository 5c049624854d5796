"""Models for small pictures: a mesh has no more triangles than can be told apart. Physics never sees them."""

from __future__ import annotations

import copy
import hashlib
import threading
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from l1flow_agents.files import cache_folder, open_regular, replacing

FINEST = 1e-3  # metres that a surface may be off,
SHARE = 1e-2  # or this share of the mesh's diagonal, if that is more: what is large is seen from far
WELDS = (1e-2, 1.0)  # of these metres: vertices so near are one; tried in turn while triangles do not meet,
CRACKED = 0.1  # that is, while there are more edges of one triangle only than this share of the triangles
LOSS = 0.2  # of its surface makes a simplified mesh useless
NEIGHBOURS = 24  # original corners among which a new one finds its normal
STACKS = 4  # rings of a cylinder or sphere
BOXES = 8000  # triangles of all boxes: each side has MuJoCo's 4 x 4 squares, which are lit, or as few as that allows
_KEPT: dict[str, Meshes] = {}  # by digest
_LOCK = threading.Lock()  # the library simplifies one mesh at a time


@dataclass(frozen=True)
class Meshes:
    """The simplified meshes of a model, one behind the other; normals are the original ones."""

    mesh: np.ndarray  # (n,) int64: which of the model's
    n_vertices: np.ndarray  # (n,) int64
    n_faces: np.ndarray  # (n,) int64
    vertices: np.ndarray  # (sum of n_vertices, 3) float32
    faces: np.ndarray  # (sum of n_faces, 3) int32, vertices from the mesh's first
    normals: np.ndarray  # (sum of n_faces, 3) int32, normals from the mesh's first


def reduced(model: Any, groups: np.ndarray) -> Any:
    """A copy of ``model`` to make an `MjrContext` of, with simplified meshes and no shadows.

    Surfaces are off by about a millimetre or a hundredth of the mesh's diagonal, by the greater: about a pixel of a
    picture of 256 a side. Meshes with textures stay as they are, those that are never drawn are left out. Simplified
    meshes are kept in the cache folder (``$L1FLOW_CACHE`` or ``~/.cache/l1flow``): a robot takes a second or two.

    Args:
        groups: (6,) the groups of geoms that are drawn.
    """
    import mujoco

    drawn, textured = _uses(model, groups)
    plain = drawn & ~textured
    meshes = _meshes(model, plain)
    result = copy.copy(model)
    vertex = face = 0
    for i, n_vertices, n_faces in zip(meshes.mesh, meshes.n_vertices, meshes.n_faces, strict=True):
        first, place = model.mesh_vertadr[i], model.mesh_faceadr[i]
        result.mesh_vert[first : first + n_vertices] = meshes.vertices[vertex : vertex + n_vertices]
        result.mesh_face[place : place + n_faces] = meshes.faces[face : face + n_faces]
        result.mesh_facenormal[place : place + n_faces] = meshes.normals[face : face + n_faces]
        result.mesh_facenum[i] = n_faces
        vertex, face = vertex + n_vertices, face + n_faces
    result.mesh_facenum[~drawn] = 0
    result.mesh_texcoordadr[plain] = -1
    result.mesh_graphadr[:] = -1  # convex hulls are not drawn
    quality = result.vis.quality
    quality.numstacks = min(STACKS, quality.numstacks)
    n_boxes = int(((model.geom_type == mujoco.mjtGeom.mjGEOM_BOX) & (groups[model.geom_group] != 0)).sum())
    while quality.numquads > 1 and 12 * quality.numquads**2 * n_boxes > BOXES:
        quality.numquads -= 1
    quality.shadowsize = 0
    return result


def _uses(model: Any, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which meshes are drawn, and which of them with a texture by their own coordinates; (nmesh,) bool each."""
    import mujoco

    drawn, textured = np.zeros((2, model.nmesh), bool)
    is_mesh = (model.geom_type == mujoco.mjtGeom.mjGEOM_MESH) & (groups[model.geom_group] != 0)
    for geom in np.flatnonzero(is_mesh):
        mesh, material = model.geom_dataid[geom], model.geom_matid[geom]
        drawn[mesh] = True
        has_coordinates = model.mesh_texcoordadr[mesh] >= 0
        textured[mesh] |= has_coordinates and material >= 0 and (model.mat_texid[material] >= 0).any()
    return drawn, textured


def _meshes(model: Any, wanted: np.ndarray) -> Meshes:
    """Those that ``wanted`` (nmesh,) bool names and that become simpler: from memory, the cache folder or made now."""
    settings = (1, FINEST, SHARE, WELDS, CRACKED, LOSS, NEIGHBOURS, version("fast-simplification"))
    digest = hashlib.sha256(repr(settings).encode())
    digest.update(np.packbits(wanted).data)
    for name in ("vertadr", "faceadr", "normaladr", "facenum", "vert", "face", "normal", "facenormal"):
        digest.update(getattr(model, f"mesh_{name}").data)
    key = digest.hexdigest()[:32]
    with _LOCK:
        if key not in _KEPT:
            path = cache_folder() / "meshes" / f"{key}.npz"
            meshes = _read(path, model)
            if meshes is None:
                meshes = _simplify_all(model, wanted)
                _write(path, meshes)
            _KEPT[key] = meshes
        return _KEPT[key]


def _read(path: Path, model: Any) -> Meshes | None:
    """The kept meshes; None if there are none, or if they would lead OpenGL out of the model's arrays."""
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as arrays:
            meshes = Meshes(**arrays)
        last_vertex = np.repeat(meshes.n_vertices, meshes.n_faces)[:, None]
        last_normal = np.repeat(model.mesh_normalnum[meshes.mesh], meshes.n_faces)[:, None]
        right = (
            [array.dtype for array in vars(meshes).values()] == [np.int64] * 3 + [np.float32] + [np.int32] * 2
            and (meshes.n_vertices <= model.mesh_vertnum[meshes.mesh]).all()
            and (meshes.n_faces <= model.mesh_facenum[meshes.mesh]).all()
            and meshes.vertices.shape == (meshes.n_vertices.sum(), 3)
            and meshes.faces.shape == meshes.normals.shape == (meshes.n_faces.sum(), 3)
            and ((meshes.faces >= 0) & (meshes.faces < last_vertex)).all()
            and ((meshes.normals >= 0) & (meshes.normals < last_normal)).all()
        )
    except Exception:  # whatever is the matter with it, it is made again
        return None
    return meshes if right else None


def _write(path: Path, meshes: Meshes) -> None:
    try:
        with replacing(path) as temporary:
            np.savez(temporary, **vars(meshes))
    except OSError:  # a cache folder that cannot be written: the next process simplifies again
        pass


def _simplify_all(model: Any, wanted: np.ndarray) -> Meshes:
    which, made = [], [(np.empty((0, 3), np.float32), np.empty((0, 3), np.int32), np.empty((0, 3), np.int32))]
    for i in np.flatnonzero(wanted):
        vertices = slice(model.mesh_vertadr[i], model.mesh_vertadr[i] + model.mesh_vertnum[i])
        faces = slice(model.mesh_faceadr[i], model.mesh_faceadr[i] + model.mesh_facenum[i])
        normals = slice(model.mesh_normaladr[i], model.mesh_normaladr[i] + model.mesh_normalnum[i])
        simpler = _simplify(
            model.mesh_vert[vertices], model.mesh_face[faces], model.mesh_normal[normals], model.mesh_facenormal[faces]
        )
        if simpler is not None:
            which.append(i)
            made.append(simpler)
    n_vertices, n_faces, _ = np.array([[len(array) for array in one] for one in made[1:]], np.int64).reshape(-1, 3).T
    return Meshes(np.array(which, np.int64), n_vertices, n_faces, *map(np.concatenate, zip(*made, strict=True)))


def _simplify(
    points: np.ndarray, faces: np.ndarray, normals: np.ndarray, corner_normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Vertices, faces and the faces' normals of a simpler mesh; None if this one cannot be simplified.

    Args:
        points: (n, 3). normals: (m, 3).
        faces, corner_normals: (f, 3), the vertex and the normal of each corner.
    """
    import fast_simplification

    extent, area = np.ptp(points, axis=0), _area(points[faces])
    tolerance = max(FINEST, SHARE * float(np.linalg.norm(extent)))
    # "Lossless" removes edges as long as the squared distance to the planes around stays below the machine's epsilon:
    # in this unit of length, below the tolerance.
    unit = tolerance / np.sqrt(np.finfo(float).eps)
    best = np.empty((0, 3)), faces
    for weld in WELDS:
        welded, triangles = _weld(points, faces, weld * tolerance)
        if not len(triangles):
            break
        simpler = fast_simplification.simplify(welded / unit, triangles.astype(np.int32), lossless=True)
        shrunk = _area(simpler[0][simpler[1]]) * unit**2 <= (1 - LOSS) * area  # as open sheets do from their borders
        if not shrunk and (np.abs(np.ptp(simpler[0] * unit, axis=0) - extent) <= tolerance).all():
            best = min(best, simpler, key=lambda one: len(one[1]))
        if _borders(triangles) < CRACKED * len(triangles):
            break
    if best[1] is faces:
        return None
    vertices, triangles = (best[0] * unit).astype(np.float32), best[1].astype(np.int32)
    return vertices, triangles, _nearest(points[faces], normals, corner_normals, vertices[triangles])


def _weld(points: np.ndarray, faces: np.ndarray, grid: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n, 3) float64 and triangles (t, 3): all points of a cell of the grid are one, their mean."""
    _, index, count = np.unique(np.round(points / grid), axis=0, return_inverse=True, return_counts=True)
    index = index.reshape(-1)
    means = np.stack([np.bincount(index, axis) / count for axis in points.T], axis=1)
    a, b, c = triangles = np.sort(index[faces], axis=1).T
    _, first = np.unique(triangles, axis=1, return_index=True)
    return means, index[faces][first[((a != b) & (b != c))[first]]]


def _area(triangles: np.ndarray) -> float:
    """Of triangles (t, 3, 3)."""
    across = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    return float(np.linalg.norm(across, axis=1).sum() / 2)


def _borders(triangles: np.ndarray) -> int:
    """Edges that only one triangle has."""
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    return int((np.unique(edges, axis=0, return_counts=True)[1] == 1).sum())


def _nearest(corners: np.ndarray, normals: np.ndarray, corner_normals: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """For each new corner, of the original ones nearby the normal that fits the triangle best: edges stay sharp.

    Args:
        corners: (f, 3, 3) positions of the original corners. corner_normals: (f, 3) into normals (m, 3).
        triangles: (t, 3, 3) positions of the new ones.

    Returns:
        (t, 3) int32 into normals.
    """
    from scipy.spatial import cKDTree

    known = np.column_stack([corners.reshape(-1, 3), normals[corner_normals].reshape(-1, 3)])
    known, first = np.unique(known, axis=0, return_index=True)
    across = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    _, near = cKDTree(known[:, :3]).query(triangles.reshape(-1, 3), k=min(NEIGHBOURS, len(known)))
    near = near.reshape(len(triangles), 3, -1)
    fit = np.einsum("tcnx,tx->tcn", known[near, 3:], across)
    best = np.take_along_axis(near, fit.argmax(-1)[..., None], axis=-1)[..., 0]
    chosen: np.ndarray = corner_normals.reshape(-1)[first[best]].astype(np.int32)
    return chosen
