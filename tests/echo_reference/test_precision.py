from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from echo_reference.model import Echo, EchoOutput
from tests.echo_reference.small import audio, generic_echo

LABELS = torch.tensor([[5, 6, 7, 2, -100], [9, 3, 3, 4, 2]])
LENGTHS = torch.tensor([400, 310])


def run(model: Echo) -> EchoOutput:
    features = audio(2, 400)
    out: EchoOutput = model(features, feature_lengths=LENGTHS, labels=LABELS, ctc_targets=LABELS.clamp(max=6))
    return out


@pytest.mark.parametrize("sharing", ["layer", "conditional"])
def test_autocast_computes_products_in_bfloat16_and_rotations_in_float32(sharing: str) -> None:
    model = generic_echo(rotation="free", rotation_sharing=sharing)
    exact = run(model)
    seen: list[torch.dtype | None] = []
    for block in model.encoder.blocks:
        block.attention.register_forward_hook(
            lambda _, given, out: seen.extend((given[1].rotation.dtype, given[1].angles.dtype, out.dtype))
        )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = run(model)
    assert seen == [torch.float32, torch.float32, torch.bfloat16] * 2
    assert cast.logits is not None
    assert exact.logits is not None
    # Eight bits of mantissa, over two layers each side.
    assert (cast.logits - exact.logits).abs().max() < 0.03 * exact.logits.std() * 2
    assert cast.loss is not None
    cast.loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all(), name


def kept(model: nn.Module) -> tuple[int, dict[str, Tensor]]:
    """Bytes kept for the backward pass, each storage once, and the gradients."""
    storages: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = run(model)  # type: ignore[arg-type]
    size = sum(storages.values())
    assert out.loss is not None
    out.loss.backward()
    return size, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_activation_checkpointing_keeps_less_and_gives_the_same_gradients() -> None:
    plain, saving = generic_echo(), generic_echo()
    saving.activation_checkpointing_enable()
    (much, gradients), (little, same) = kept(plain), kept(saving)
    assert little < 0.5 * much
    assert gradients.keys() == same.keys()
    for name, gradient in gradients.items():
        assert torch.equal(gradient, same[name]), name
    saving.activation_checkpointing_disable()
    assert kept(saving)[0] == much


def test_position_embeddings_are_checkpointed_too() -> None:
    plain, saving = generic_echo().decoder.position, generic_echo(checkpointing=True).decoder.position
    grads = []
    for module in (plain, saving):
        module(2, 5).square().sum().backward()
        grads.append((module.direction.grad, module.gain.grad))
    assert saving(2, 5).grad_fn is not None
    assert not plain.gradient_checkpointing
    assert saving.gradient_checkpointing
    assert torch.equal(grads[0][0], grads[1][0])
    assert torch.equal(grads[0][1], grads[1][1])
