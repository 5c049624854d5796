"""MimicGen's tasks on robosuite 1.5, re-created from a fact sheet: same mechanics, not the same code or meshes.

**A task is one file** of two halves (`stack.py` is the shortest to copy):

1. ``class XScene(Scene)``, the simulator's half: ``make_objects`` (and ``make_arena`` where it is not an empty table),
   ``success``, ``signals``, and as data ``layout`` (the parts of ``object``; see `l1flow_agents.layouts`),
   ``variants`` (name -> `Variant`: reset ranges in the order of placement, camera), ``subtasks``. `Scene` does the
   rest: robot, cameras, placement, observations, grasp and contact tests. Objects are made of primitives by
   `objects.composite`, and of such bodies and joints by `objects.articulated`. A task with a drawer starts from
   `drawer.DrawerScene`.
2. ``class X_D0(MimicGen): scene = XScene`` for every variant, the Gymnasium half. The part of its name after the ``_``
   is the variant; the class registers its scene with robosuite by its own name, so ``robosuite.make("X_D0")`` works.

Then one line a variant in ``ENVS`` of ``envs/__init__.py`` and in ``LAYOUTS``, and the variant in the lists of
``tests/test_mimicgen.py``.

Rules that keep ``reset(seed=)`` and ``set_state`` right:

- Every draw comes from ``self.rng``. Draw in ``make_arena`` or ``make_objects`` only where ``model_varies`` is True.
- ``model_varies = True`` where sizes are drawn or an object has no free joint: it is written into the model where its
  placement says. Each reset then builds the model (0.2 s) and a state carries it. Elsewhere the model is built once
  and resets only set joints.
- ``success``, ``signals`` and ``observations`` read the simulation (``self.position(...)``), never attributes that
  ``make_objects`` drew: after ``set_state`` those belong to another episode.
- What a joint starts at, other than zero, belongs into the model or into ``_reset_internal`` (unless
  ``self.deterministic_reset``).
"""
