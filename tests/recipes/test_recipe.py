"""A control system as one document."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from homeostat import CoupledLoop, Homeostat, Loop, Profile, RecipeError
from homeostat.actuators import LearningRate
from homeostat.laws import EMA, PID, Chain, Hold, Schedule
from homeostat.observers import Loss
from homeostat.recipes import Recipe, load, names
from tests.training import Training, every_loop


def test_a_recipe_comes_back_equal_from_json_and_yaml(tmp_path):
    recipe = Recipe(name="everything", loops=tuple(every_loop()))
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    for name, text in (
        ("a.json", recipe.model_dump_json()),
        ("a.yaml", yaml.safe_dump(recipe.model_dump(mode="json"))),
        ("a.yml", yaml.safe_dump(json.loads(recipe.model_dump_json()))),
    ):
        path = tmp_path / name
        path.write_text(text)
        assert load(path) == recipe
        assert load(str(path)) == recipe


def test_a_controller_says_what_it_is_as_data(tmp_path):
    path = tmp_path / "mine.json"
    first = Homeostat(every_loop(), name="mine")
    path.write_text(first.recipe.model_dump_json())
    again = Homeostat.from_recipe(path)
    assert again.recipe == first.recipe
    training, other = Training(), Training()
    first.attach(training.model, training.optimizer)
    again.attach(other.model, other.optimizer)
    training.homeostat, other.homeostat = first, again
    assert training.run(8).losses == other.run(8).losses


@pytest.mark.parametrize("name", names())
def test_every_shipped_recipe_is_valid(name):
    recipe = load(name)
    assert recipe.name == name
    titles = [loop.coupled().title for loop in recipe.loops]
    assert len(set(titles)) == len(titles)
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_shipped_recipes_are_listed():
    assert names() == sorted(names())
    assert {"echo", "steady"} <= set(names())


@given(horizon=st.integers(1, 100_000))
def test_a_known_horizon_brings_the_ending_of_a_setpoint(horizon):
    course = Profile(points=((0, 2.0),), final=0.25)
    loop = Loop(Loss(), PID(gain=1.0, integral_time=5.0), LearningRate(), setpoint=course)
    (planned,) = Recipe(loops=(loop,)).over(horizon).loops
    assert isinstance(planned, Loop)
    assert planned.coupled().wanted(horizon) == pytest.approx((0.5,))
    assert loop.coupled().wanted(horizon) == (2.0,)


def test_a_known_horizon_reaches_the_profiles_in_laws_and_nothing_else():
    course = Schedule(profile=Profile(points=((0, 2.0),), final=0.25))
    plain = Loop(Loss(), Schedule(profile=Profile(points=((0, 2.0),))), LearningRate())
    loops = (
        Loop(Loss(), course, LearningRate()),
        Loop(Loss(), Chain(laws=(EMA(time_constant=5.0), course)), LearningRate()).coupled(),
        plain,
    )
    alone, chained, kept = Recipe(loops=loops).over(80).loops
    assert alone.law.profile.horizon == 80
    assert isinstance(chained, CoupledLoop)
    assert chained.law.laws[1].profile.at(80) == pytest.approx(0.5)
    assert kept is plain


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.yaml", "loops: [", "must be valid YAML or JSON"),
        ("a.json", "{", "must be valid YAML or JSON"),
        ("a.yaml", "- 1", "must describe valid loops"),
        ("a.yaml", "loops: []\nversion: 2", "version: "),
        ("a.yaml", "loops:\n- kind: Loop\n  observer: {kind: Loss}\n  law: {kind: Hold}", "actuator: Field required"),
        (
            "a.yaml",
            "loops:\n- kind: Loop\n  observer: {kind: Loss, colour: 3}\n  law: {kind: Hold}\n"
            "  actuator: {kind: LearningRate}",
            "colour: Extra inputs",
        ),
        (
            "a.yaml",
            "loops:\n- kind: Loop\n  observer: {kind: Loss}\n  law: {kind: Hlod}\n  actuator: {kind: LearningRate}",
            "'Hlod'. Known here: .*Hold",
        ),
        (
            "a.yaml",
            "loops:\n- kind: Loop\n  observer: {kind: Hold}\n  law: {kind: Hold}\n  actuator: {kind: LearningRate}",
            "observer: .*must name a Observer",
        ),
    ],
)
def test_a_recipe_that_is_none_says_where(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(RecipeError, match=says) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["stedy", "missing.yaml", "../recipes/steady.txt"])
def test_a_recipe_that_is_not_there_is_named_with_those_that_are(name):
    with pytest.raises(RecipeError, match=r"steady.* or a \.yaml or \.json file; got '"):
        load(name)


def test_a_class_of_ones_own_is_found_by_its_module(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "loops:\n- kind: Loop\n  observer: {kind: Loss}\n  law: {kind: 'homeostat.laws.hold:Hold'}\n"
        "  actuator: {kind: LearningRate}\n"
    )
    assert load(path).loops == (Loop(Loss(), Hold(), LearningRate()),)
