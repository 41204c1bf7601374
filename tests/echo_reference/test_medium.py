"""The reference size at its real widths, with two layers a side; at full depth it is `benchmarks/medium.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from echo_reference.config import EchoConfig
from echo_reference.model import Echo


@pytest.fixture(scope="module")
def model() -> Echo:
    torch.manual_seed(0)
    return Echo(EchoConfig(n_audio_layer=2, n_text_layer=2))


def test_it_starts_as_the_configuration_says(model: Echo) -> None:
    widths = {tuple(block.attention.q_proj.weight.shape) for block in (*model.encoder.blocks, *model.decoder.blocks)}
    assert widths == {(1024, 1024)}
    assert model.decoder.tokens.embedding.weight.shape == (51865, 1024)
    assert (model.encoder.position.gain.shape, model.decoder.position.gain.shape) == ((1500,), (448,))
    assert model.encoder.blocks[0].attention.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.02)
    # A block of the encoder and one of the decoder; the prototype at full depth had 723 million.
    sizes = [sum(p.numel() for p in side.blocks[0].parameters()) for side in (model.encoder, model.decoder)]
    slots = [sum(p.numel() for p in side.turner.slots[0].parameters()) for side in (model.encoder, model.decoder)]
    deeper = 22 * (sizes[0] + slots[0] + 1) + 18 * (sizes[1] + slots[1] + 1)  # and a factor on positions a layer
    assert model.num_parameters() + deeper == 722_520_492


def test_it_is_saved_in_shards_loaded_and_takes_a_step(model: Echo, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, max_shard_size="200MB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    again = Echo.from_pretrained(tmp_path).train()
    assert again.encoder.gradient_checkpointing
    weight, rate = again.encoder.blocks[1].attention.q_proj.weight, 1e-2
    assert torch.equal(weight, model.encoder.blocks[1].attention.q_proj.weight)
    features, labels = torch.randn(1, 80, 400), torch.tensor([[50259, 50359, 50363, 440, 50257]])
    first = again(features, labels=labels, ctc_targets=torch.tensor([[3, 5]])).loss
    first.backward()
    before = weight.detach().clone()
    with torch.no_grad():
        norm = torch.stack([p.grad.square().sum() for p in again.parameters() if p.grad is not None]).sum().sqrt()
        for parameter in again.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=rate / norm.item())
    assert not torch.equal(weight, before)
    with torch.no_grad():
        assert again(features, labels=labels, ctc_targets=torch.tensor([[3, 5]])).loss < first
    tokens = again.eval().generate(features, language="en", max_new_tokens=4)
    assert tokens[:, :4].tolist() == [[50258, 50259, 50359, 50363]]
    assert tokens.shape[1] <= 8
