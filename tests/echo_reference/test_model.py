from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from echo_reference.errors import DataError
from echo_reference.model import Echo
from homeostat.nn import AttentionTap, Dial, dials
from tests.echo_reference.small import audio, generic_echo, small_config

TOKENS = torch.tensor([[1, 5, 6, 7, 8, 9], [1, 9, 3, 3, 4, 6]])
LABELS = torch.tensor([[5, 6, 7, 2, -100], [9, 3, 3, 4, 2]])
CTC = torch.tensor([[3, 4, 5, -100], [6, 1, 1, 2]])
POSITIONAL = ("offset", "phase", "table", "angles", "angle_scale", "skew", "matrix", "position_scale", "gate")


def loss(model: Echo, features: Tensor, lengths: Tensor) -> Tensor:
    return model(features, feature_lengths=lengths, labels=LABELS, ctc_targets=CTC).loss


@pytest.mark.parametrize("sharing", ["layer", "conditional"])
@pytest.mark.parametrize("window", [0.0, 0.5, 1.0, 2.3, 100.0])
def test_changing_a_token_changes_no_earlier_logit(window: float, sharing: str) -> None:
    model = generic_echo(rotation_sharing=sharing).eval()
    model.dials.attention_window.set(window)
    before = model(audio(), decoder_input_ids=TOKENS).logits
    for t in range(6):
        changed = TOKENS.clone()
        changed[:, t] = 15
        after = model(audio(), decoder_input_ids=changed).logits
        torch.testing.assert_close(after[:, :t], before[:, :t])
        assert not torch.equal(after[:, t], before[:, t])


@pytest.mark.parametrize("sharing", ["model", "layer", "head", "conditional"])
@pytest.mark.parametrize("rotation", ["exact", "free"])
def test_cached_and_uncached_logits_agree_from_position_zero(rotation: str, sharing: str) -> None:
    model = generic_echo(rotation=rotation, rotation_sharing=sharing).eval()
    lengths = torch.tensor([40, 23])
    whole = model(audio(), feature_lengths=lengths, decoder_input_ids=TOKENS).logits
    cache, steps = None, []
    for t in range(6):
        given = {"decoder_input_ids": TOKENS[:, t : t + 1], "past_key_values": cache, "use_cache": True}
        step = model(audio(), feature_lengths=lengths, **given)
        cache = step.past_key_values
        steps.append(step.logits)
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rotation", ["exact", "free"])
@pytest.mark.parametrize("sharing", ["model", "layer", "head", "conditional"])
def test_every_parameter_learns_at_a_generic_point(rotation: str, sharing: str) -> None:
    model = generic_echo(rotation=rotation, rotation_sharing=sharing, global_bias=True).double()
    loss(model, audio().double(), torch.tensor([40, 33])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        # Rows of positions beyond the clip and of tokens that do not occur have none.
        assert parameter.grad.abs().max() > 1e-12, name
        if name.endswith(POSITIONAL):
            reached = parameter.grad.abs() > 1e-12
            if name.endswith("skew"):  # S = A - A^T knows nothing of the diagonal
                reached |= torch.eye(reached.shape[-1], dtype=torch.bool)
            assert reached.all(), name


def test_gradients_of_the_positional_parts_are_right() -> None:
    model = generic_echo(n_audio_layer=1, n_text_layer=1).double()
    features, lengths = audio().double(), torch.tensor([40, 33])
    loss(model, features, lengths).backward()
    for name, parameter in model.named_parameters():
        if not name.endswith((*POSITIONAL, "gain")):
            continue
        index = int(parameter.grad.abs().argmax())
        flat, step = parameter.detach().view(-1), 1e-6
        values = []
        for sign in (1, -1):
            flat[index] += sign * step
            values.append(loss(model, features, lengths).item())
            flat[index] -= sign * step
        numeric = (values[0] - values[1]) / (2 * step)
        assert parameter.grad.view(-1)[index].item() == pytest.approx(numeric, rel=1e-4, abs=1e-8), name


def test_at_a_warm_start_what_opens_the_rest_has_a_gradient() -> None:
    torch.manual_seed(0)
    model = Echo(small_config(position_scale=0.0, givens_std=0.0)).double()
    loss(model, audio().double(), torch.tensor([40, 33])).backward()
    for name, parameter in model.named_parameters():
        if name.endswith(("position_scale", "gate", "table", "query_phase.phase")):
            assert parameter.grad.abs().max() > 1e-12, name


@pytest.mark.parametrize("sharing", ["layer", "conditional"])
def test_a_clip_does_not_depend_on_its_neighbours(sharing: str) -> None:
    model = generic_echo(rotation_sharing=sharing).double().eval()
    clip = audio(1, 37).double()
    alone = model(clip, feature_lengths=torch.tensor([37]), decoder_input_ids=TOKENS[:1])
    noise = audio(2, 64, seed=3).double()
    noise[:1, :, :37] = clip
    together = model(noise, feature_lengths=torch.tensor([37, 64]), decoder_input_ids=TOKENS)
    torch.testing.assert_close(together.logits[:1], alone.logits)
    size = alone.ctc_logits.shape[1]
    assert together.ctc_lengths[0] == size
    torch.testing.assert_close(together.ctc_logits[:1, :size], alone.ctc_logits)


def test_a_clip_longer_than_the_positions_is_refused() -> None:
    config = small_config()
    most = config.n_audio_ctx * config.subsampling
    model = Echo(config).eval()
    assert model.encode(audio(1, most))[0].shape[1] == config.n_audio_ctx
    with pytest.raises(DataError, match="A clip must last at most"):
        model.encode(audio(1, most + 1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input_features": audio()[0]}, r"must be \(batch, 8, frames\), .* got \(8, 40\)"),
        ({"input_features": audio().mT}, r"must be \(batch, 8, frames\), .* got \(2, 40, 8\)"),
        ({"input_features": audio()[..., :0]}, r"got \(2, 8, 0\)"),
        ({"decoder_input_ids": torch.ones(2, 25, dtype=torch.long)}, "at most 24 tokens, .* got 25"),
        ({"labels": torch.ones(2, 25, dtype=torch.long)}, "at most 24 tokens, .* got 25"),
        ({"ctc_targets": torch.tensor([[3, 7], [1, -100]])}, "from 1 to 6, or -100 for none; got 7"),
        ({"ctc_targets": torch.tensor([[3, 0], [1, -100]])}, "from 1 to 6, or -100 for none; got 0"),
    ],
)
def test_what_cannot_be_heard_or_written_is_refused_in_one_sentence(given: dict[str, Tensor], message: str) -> None:
    with pytest.raises(DataError, match=message):
        generic_echo()(**{"input_features": audio(), **given})


def test_a_text_that_goes_on_beyond_the_positions_is_refused() -> None:
    model = generic_echo().eval()
    heard, lengths = model.encode(audio())
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    model.decode(torch.ones(2, 24, dtype=torch.long), heard, lengths, cache)
    with pytest.raises(DataError, match=r"at most 24 tokens, .* got 25"):
        model.decode(torch.ones(2, 1, dtype=torch.long), heard, lengths, cache)


def test_padding_counts_where_the_configuration_says_so() -> None:
    model = generic_echo(mask_audio=False).eval()
    padded = torch.nn.functional.pad(audio(1, 37), (0, 27))
    short = model(audio(1, 37), feature_lengths=torch.tensor([37]), decoder_input_ids=TOKENS[:1]).logits
    long = model(padded, feature_lengths=torch.tensor([37]), decoder_input_ids=TOKENS[:1]).logits
    assert (short - long).abs().max() > 1e-3


@pytest.mark.parametrize("subsampling", [2, 4, 8])
def test_the_first_token_sees_every_frame(subsampling: int) -> None:
    model = generic_echo(subsampling=subsampling).eval()
    features = audio(1, 40).requires_grad_()
    model(features, decoder_input_ids=TOKENS[:1, :1]).logits.square().sum().backward()
    assert (features.grad.abs().sum(1) > 0).all()


def test_long_audio_in_blocks_equals_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    model = generic_echo(global_bias=False).double().eval()
    features, lengths = audio(2, 500).double(), torch.tensor([500, 311])
    blocked, _ = model.encode(features, lengths)
    monkeypatch.setattr("echo_reference.modules.attention._SHORT", 10_000)
    whole, _ = model.encode(features, lengths)
    torch.testing.assert_close(blocked, whole)


def test_the_loss_is_the_sum_of_its_weighted_parts() -> None:
    model = generic_echo(rotation="free")
    with torch.no_grad():
        model.encoder.turner.slots[0].rotation.matrix.mul_(1.1)
    model.dials.ctc_weight.set(0.7)
    model.dials.rotation_penalty.set(2.0)
    out = model(audio(), labels=LABELS, ctc_targets=CTC)
    torch.testing.assert_close(out.loss, out.ce_loss + 0.7 * out.ctc_loss + 2.0 * out.rotation_defect)
    assert out.rotation_defect > 0.1
    assert not out.ce_loss.requires_grad


def test_smoothed_labels_leave_a_share_of_the_target_to_every_token() -> None:
    model = generic_echo(label_smoothing=0.2)
    out = model(audio(), labels=LABELS)
    log_probs, told = out.logits.log_softmax(-1), LABELS >= 0
    right = log_probs.gather(-1, LABELS.clamp_min(0)[..., None])[..., 0]
    torch.testing.assert_close(out.ce_loss, -(0.8 * right + 0.2 * log_probs.mean(-1))[told].mean())


def test_every_dial_is_listed_and_changes_the_result() -> None:
    model = generic_echo(rotation="free")
    with torch.no_grad():
        model.encoder.turner.slots[0].rotation.matrix.mul_(1.1)
    assert set(model.dials()) == set(dials(model))
    moved = {"rotary_base": 50.0, "attention_window": 1.5, "rotation_penalty": 3.0, "embedding_width": 20.0}
    moved |= {"ctc_weight": 0.9, "dropout.rate": 0.5}
    for name in model.dials():
        dial = model.get_submodule(name)
        assert isinstance(dial, Dial)
        before = loss(model, audio(), torch.tensor([40, 40]))
        dial.set(moved[name.removeprefix("dials.")])
        assert (loss(model, audio(), torch.tensor([40, 40])) - before).abs() > 1e-5, name
        dial.reset()


# Over 250 positions the span of blocks grows beyond a window of 16, 32 and 48, and beyond 80 one product takes over.
@pytest.mark.parametrize(
    ("dial", "values"),
    [
        ("attention_window", [3.0, 16.0, 32.0, 48.0, 80.0]),
        ("embedding_width", [8.0, 20.25, 30.0]),
        ("rotary_base", [1e2, 1e4]),
    ],
)
def test_logits_move_in_proportion_to_a_dial(dial: str, values: list[float]) -> None:
    model = generic_echo(rotation="free").double().eval()
    features, lengths = audio(2, 500).double(), torch.tensor([500, 311])

    def logits(value: float) -> Tensor:
        getattr(model.dials, dial).set(value)
        with torch.no_grad():
            scores: Tensor = model(features, feature_lengths=lengths, decoder_input_ids=TOKENS).logits
        return scores

    for value in values:
        at, near, far = (logits(value * (1 + step)) for step in (0.0, 1e-4, 1e-3))
        # A jump would be the same for both.
        assert 1e-7 < (near - at).abs().max() < 0.15 * (far - at).abs().max() < 1e-2


def test_dials_and_angles_keep_their_precision_under_a_cast() -> None:
    model = generic_echo().to(torch.bfloat16)
    assert model.dials.rotary_base().dtype == torch.float32
    assert model.encoder.turner.rotary.position_scale.dtype == torch.float32
    assert model.encoder.turner.slots[0].rotation.angles.dtype == torch.float32
    assert model.encoder.blocks[0].attention.q_proj.weight.dtype == torch.bfloat16
    assert loss(model, audio().bfloat16(), torch.tensor([40, 33])).isfinite()


def test_taps_offer_local_and_global_heads_only_when_listened_to() -> None:
    model = generic_echo()
    heard: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_modules():
        if isinstance(module, AttentionTap) and name.startswith("encoder."):
            module.listener = lambda call, name=name: heard.update({name: call.q.shape})
    loss(model, audio(), torch.tensor([40, 33]))
    assert heard["encoder.blocks.1.attention.local_tap"] == (2, 2, 20, 8)
    assert heard["encoder.blocks.0.attention.global_tap"] == (2, 2, 20, 8)


def test_checkpointing_gives_the_same_gradients() -> None:
    plain, saved = generic_echo(), generic_echo(checkpointing=True)
    for model in (plain, saved):
        loss(model, audio(), torch.tensor([40, 33])).backward()
    for (name, a), (_, b) in zip(plain.named_parameters(), saved.named_parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name


@pytest.mark.parametrize("sharing", ["model", "head"])
def test_saved_and_loaded_it_is_the_same_model_with_its_dials_where_they_stood(tmp_path: Path, sharing: str) -> None:
    model = generic_echo(base=500.0, dropout=0.125, rotation="free", rotation_sharing=sharing).eval()
    model.dials.rotary_base.set(77.0)
    model.save_pretrained(tmp_path)
    loaded = Echo.from_pretrained(tmp_path).eval()
    assert {name: dial.value for name, dial in dials(loaded).items()} == {
        "dials.rotary_base": 77.0,
        "dials.attention_window": 3.5,
        "dials.rotation_penalty": 1.0,
        "dials.embedding_width": 32.0,
        "dials.ctc_weight": pytest.approx(0.3),
        "dials.dropout.rate": 0.125,
    }
    assert all(dial().item() == dial.value for dial in dials(loaded).values())
    assert torch.equal(*(m(audio(), decoder_input_ids=TOKENS).logits for m in (model, loaded)))
    assert loaded.proj_out.weight is loaded.decoder.tokens.embedding.weight
    # On some processors products of weights at odd addresses round otherwise.
    assert {p.data_ptr() % 64 for p in loaded.parameters()} == {p.data_ptr() % 64 for p in model.parameters()} == {0}


def test_loading_in_half_precision_keeps_angles_whole(tmp_path: Path) -> None:
    model = generic_echo(rotation_sharing="conditional")
    model.save_pretrained(tmp_path)
    loaded = Echo.from_pretrained(tmp_path, dtype=torch.bfloat16)
    for name in (
        "encoder.turner.rotary.log_frequency_offset",
        "encoder.turner.condition.fc1.weight",
        "encoder.turner.slots.1.rotation.skew",
        "decoder.blocks.0.attention.query_phase.phase",
    ):
        assert torch.equal(loaded.get_parameter(name), model.get_parameter(name))
    assert loaded.decoder.blocks[0].attention.q_proj.weight.dtype == torch.bfloat16
    assert loss(loaded, audio().bfloat16(), torch.tensor([40, 33])).isfinite()


def test_apply_initialization_starts_anew() -> None:
    model = generic_echo()
    model.dials.attention_window.set(1.0)
    model.apply_initialization()
    assert model.dials.attention_window.value == 3.5
    assert model.encoder.blocks[0].convolution.gate.item() == 0.0
    assert model.encoder.turner.slots[0].rotation.skew.abs().max() == 0.0
    assert model.decoder.blocks[0].attention.q_proj.weight.std().item() == pytest.approx(0.2, rel=0.1)


def test_the_gradient_of_the_tied_weight_is_that_of_both_its_uses() -> None:
    gradients = []
    for apart in (False, True):
        model = generic_echo()
        if apart:  # what listens to the output layer must hear it
            model.proj_out.register_forward_hook(lambda *_: None)
        loss(model, audio(), torch.tensor([40, 23])).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for together, summed in zip(*gradients, strict=True):
        torch.testing.assert_close(together, summed)
