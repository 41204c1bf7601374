"""How rarely detectors raise a false alarm on real trainings, and how soon they find a fault."""
