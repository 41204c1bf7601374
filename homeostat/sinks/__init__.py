"""Where the trace goes."""
