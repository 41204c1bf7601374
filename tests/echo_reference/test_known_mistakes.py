"""What public implementations of this idea get wrong; the mistakes that have a file of their own are tested there."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from echo_reference.modules.attention import SelfAttention, Turning
from echo_reference.modules.rotation import Rotation, compose, givens_schedule
from echo_reference.modules.turn import interleaved
from tests.echo_reference.small import audio, generic_echo

WIDTH, HEADS, HEAD = 32, 4, 8


def published(x: Tensor, rotation: Rotation) -> Tensor:
    """The rotation as it is published, token by token: one dense product per plane, then R."""
    for partner, angles in zip(givens_schedule(HEAD), rotation.angles * rotation.angle_scale, strict=False):
        lower = [i for i, j in enumerate(partner) if i < j]
        for i, angle in zip(lower, angles, strict=True):
            plane = torch.eye(HEAD, dtype=x.dtype)
            j = partner[i]
            plane[i, i] = plane[j, j] = angle.cos()
            plane[i, j], plane[j, i] = angle.sin(), -angle.sin()
            x = x @ plane
    return x @ rotation.matrix


def test_folded_rotations_compute_what_is_published() -> None:
    model = generic_echo(rotation="free").double()
    attention, rotation = model.encoder.blocks[0].attention, model.encoder.turner.slots[0].rotation
    assert isinstance(attention, SelfAttention)
    x = torch.randn(2, 6, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        attention.query_phase.phase.zero_()
        joint = attention.project(x, compose([rotation])[0])
        for projection, got, factor in (
            (attention.q_proj, joint[:, :, 0], HEAD**-0.5),
            (attention.k_proj, joint[:, :, 1], 1),
        ):
            naive = published(projection(x).view(2, 6, HEADS, HEAD), rotation) * factor
            torch.testing.assert_close(got, interleaved(naive))


def test_no_token_pays_for_the_rotation() -> None:
    def operations(tokens: int, rounds: int) -> int:
        model = generic_echo(rotation="free", givens_rounds=rounds)
        attention = model.encoder.blocks[0].attention
        angles = torch.zeros(2, tokens, HEAD // 2)
        with FlopCounterMode(display=False) as counter:
            rotation = compose([model.encoder.turner.slots[0].rotation])[0]
            attention(torch.randn(1, tokens, WIDTH), Turning(0, rotation, angles))
        return counter.get_total_flops()

    assert operations(40, 6) - operations(40, 0) == operations(160, 6) - operations(160, 0)
    assert operations(160, 6) > operations(40, 6)


def test_a_change_of_base_leaves_parameters_and_optimizer_state_where_they_are() -> None:
    model = generic_echo()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    labels = torch.tensor([[5, 6, 2], [9, 3, 2]])

    def step() -> None:
        optimizer.zero_grad()
        model(audio(), labels=labels).loss.backward()
        optimizer.step()

    step()
    before = dict(model.named_parameters())
    learned = before["encoder.turner.rotary.log_frequency_offset"]
    value, moment = learned.detach().clone(), optimizer.state[learned]["exp_avg"].clone()
    model.dials.rotary_base.set(50.0)
    assert all(parameter is before[name] for name, parameter in model.named_parameters())
    assert torch.equal(learned, value)
    assert torch.equal(optimizer.state[learned]["exp_avg"], moment)
    step()
    assert optimizer.state[learned]["step"] == 2
    assert not torch.equal(learned, value)
