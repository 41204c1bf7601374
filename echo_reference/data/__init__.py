"""Speech for training and evaluation: recordings, sets of them, and batches of features."""
