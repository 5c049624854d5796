"""Waypoint experts for MimicGen's tasks."""
