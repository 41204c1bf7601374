"""`steady` on training loops it was not made for, from learning rates 100 times off."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.foreign_loops import TASKS, Run, digits
from homeostat import Homeostat

# Rates 100 times off the good ones of benchmarks/attach_anywhere.py. The bounds leave room on both sides of what was
# measured, without and with the recipe.
CASES = [
    pytest.param("CNN", Run("adamw", 1e-4, 0, 100), 20.0, 8.0, id="CNN AdamW too low"),  # 33 and 3.1 % wrong
    pytest.param("CNN", Run("sgd", 10.0, 0, 100), 40.0, 8.0, id="CNN SGD too high"),  # 90 and 2.7 % wrong
    pytest.param("GPT", Run("sgd", 10.0, 0, 60), 4.6, 3.6, id="GPT SGD too high"),  # NaN and 3.26; chance 4.6
    pytest.param("LSTM", Run("sgd", 1e-2, 0, 60), 4.0, 3.6, id="LSTM SGD too low"),  # 4.41 and 3.28
]


@pytest.mark.parametrize(("task", "run", "at_least_without", "at_most_with"), CASES)
def test_a_rate_100_times_off_is_mended(task, run, at_least_without, at_most_with):
    homeostat = Homeostat.from_recipe("steady")
    mended = TASKS[task](run, homeostat)
    lost = TASKS[task](run, None)
    assert math.isnan(lost) or lost >= at_least_without
    assert mended <= at_most_with


def test_a_run_that_converges_at_a_good_rate_is_left_alone():
    # As it converges its updates fall a hundredfold; a loop that raised the rate after them destroyed it.
    images, labels, held_images, held_labels = digits()
    images, labels = images[:150].flatten(1), labels[:150]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    homeostat = Homeostat.from_recipe("steady").attach(model, optimizer)
    for _ in range(800):
        batch = torch.randint(len(images), (32,))
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        homeostat.observe(loss=loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ratios = homeostat.trace.loop("learning_rate")["reading.0"]
    assert ratios[-1] < 0.1 * ratios[0]
    assert homeostat.knobs["learning_rate"] == (1.0,)
    right = (model(held_images.flatten(1)).argmax(1) == held_labels).float().mean()
    assert right > 0.84  # 0.87 measured, with and without
