"""Named control systems as data."""

from homeostat.recipes.recipe import Recipe, load, names

__all__ = ["Recipe", "load", "names"]
