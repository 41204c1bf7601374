"""A learning-dynamics controller for PyTorch: observers, control laws and actuators for any training loop."""
