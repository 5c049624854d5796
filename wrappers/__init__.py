"""Plain ``gymnasium.Wrapper`` classes, one file each, usable with any environment."""
