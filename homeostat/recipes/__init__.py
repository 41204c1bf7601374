"""Named control systems as data."""
