"""Training Echo: settings, the loop, checkpoints, evaluation."""
