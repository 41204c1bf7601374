"""Three real trainings, the same faults in each, and what lives through them."""
