"""Tasks that the package carries itself: problems, checkers, splits."""
