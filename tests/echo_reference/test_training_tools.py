from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from echo_reference.model import Echo
from echo_reference.training.preparation import build_optimizer
from echo_reference.training.settings import TrainSettings
from tests.echo_reference.small import audio, generic_echo

FEATURES = audio(4, 40)
LABELS = torch.tensor([[5, 6, 7, 2], [9, 3, 3, 2], [4, 2, -100, -100], [8, 8, 2, -100]])
DATA = [
    {"input_features": features, "labels": labels, "attention_mask": torch.ones(40)}
    for features, labels in zip(FEATURES, LABELS, strict=True)
]


def collate(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def seq2seq_trainer(model: Echo, folder: Path, **changes: Any) -> Any:
    pytest.importorskip("accelerate")
    settings = transformers.Seq2SeqTrainingArguments(
        str(folder),
        **{"per_device_train_batch_size": 2, "learning_rate": 1e-2, **changes},
        predict_with_generate=True,
        generation_max_length=6,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        seed=0,
    )
    return transformers.Seq2SeqTrainer(model, settings, train_dataset=DATA, eval_dataset=DATA, data_collator=collate)


def test_seq2seq_trainer_trains_evaluates_generates_and_saves(tmp_path: Path) -> None:
    trainer = seq2seq_trainer(generic_echo(rotation="free"), tmp_path, max_steps=6, save_steps=6)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    prediction = trainer.predict(DATA)
    assert prediction.metrics["test_loss"] < 0.8 * before
    assert prediction.predictions.shape[0] == 4
    again = Echo.from_pretrained(tmp_path / "checkpoint-6").eval()
    assert again(FEATURES, labels=LABELS).loss.item() == pytest.approx(prediction.metrics["test_loss"], rel=1e-5)


def test_accumulated_gradients_are_those_of_one_batch(tmp_path: Path) -> None:
    weights = []
    for size in (4, 2):
        model = generic_echo(mask_audio=False, rotation="none")
        options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 4 // size, "optim": "sgd"}
        trainer = seq2seq_trainer(model, tmp_path, max_steps=1, save_strategy="no", max_grad_norm=0.0, **options)
        # Every clip has as many labels, so that the mean of the means is the mean.
        trainer.train_dataset = [{**item, "labels": LABELS[0]} for item in DATA]
        trainer.train()
        weights.append(model.decoder.blocks[0].feed.fc1.weight.detach())
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-5, atol=1e-6)


# peft asks under the old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("targets", [["q_proj", "k_proj"], ["v_proj", "out_proj", "fc1", "fc2"]])
def test_low_rank_adapters_act_learn_and_merge(targets: list[str]) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    model = generic_echo().eval()
    plain = model(FEATURES, labels=LABELS).loss.item()
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=targets))
    adapted.eval()

    def loss() -> Tensor:
        value: Tensor = adapted(input_features=FEATURES, labels=LABELS).loss
        return value

    # An adapter starts at zero, so nothing may change yet.
    assert loss().item() == pytest.approx(plain, rel=1e-5)
    adapters = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in adapters)
    for parameter in adapters.values():
        torch.nn.init.normal_(parameter, std=0.3)
    loss().backward()
    for name, parameter in adapters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-9, name
    changed = loss().item()
    assert abs(changed - plain) > 1e-2
    tokens = adapted.generate(input_features=FEATURES, max_new_tokens=5)
    merged = adapted.merge_and_unload()
    assert merged(FEATURES, labels=LABELS).loss.item() == pytest.approx(changed, rel=1e-4)
    assert torch.equal(merged.generate(FEATURES, max_new_tokens=5), tokens)


def test_it_is_saved_in_shards_and_read_again(tmp_path: Path) -> None:
    model = generic_echo().eval()
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text(encoding="utf-8"))
    assert len(set(index["weight_map"].values())) > 3
    again = Echo.from_pretrained(tmp_path).eval()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_parameters_keep_their_names() -> None:
    """A renamed parameter would leave a saved model behind; the list is changed only with a translation."""
    golden = Path(__file__).with_name("parameters.txt").read_text(encoding="utf-8").splitlines()
    variants: list[dict[str, Any]] = [
        {"rotation": "free"},
        {"rotation": "exact", "rotation_sharing": "conditional"},
        {"rotation_sharing": "model"},
    ]
    names = {name for changes in variants for name in generic_echo(**changes).state_dict()}
    assert sorted(names) == golden


def test_what_is_no_dense_weight_does_not_decay() -> None:
    model = generic_echo(rotation="free", rotation_sharing="conditional")
    optimizer = build_optimizer(TrainSettings(), model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    decayed = {names[parameter] for parameter in optimizer.param_groups[0]["params"]}
    parts = ("turner.slots", "rotary", "phase", "table", "gate", "direction", "gain", "norm")
    assert not [name for name in decayed if any(part in name for part in parts)]
    # And which features a plane joins is nobody's parameter: it cannot drift, collide or decay.
    floating = all(parameter.is_floating_point() for parameter in model.parameters())
    assert floating
    assert not [name for name, _ in model.encoder.named_buffers() if "rotation." in name]
