"""The trainer on a method small enough to check by hand; stopping and resuming."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.inferers import Inferer
from monai.transforms import RandScaleIntensityd
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from medmiss.methods import Method
from medmiss.training import (
    EpochLog,
    EpochSampler,
    LossTerms,
    MethodEvaluator,
    MethodTrainer,
    RegionDice,
    RunCheckpoint,
    SeededDataset,
    Validation,
    WarmupDecay,
    WeightAverage,
)

CPU = torch.device("cpu")


class TinyMethod(Method):
    """One convolution with dropout and two terms."""

    def __init__(self) -> None:
        super().__init__(functional.binary_cross_entropy_with_logits)
        torch.manual_seed(3)
        self.layer = nn.Conv3d(4, 3, 1)
        self.dropout = nn.Dropout(0.0)

    def forward(self, image: Tensor, present: Tensor | None = None) -> Tensor:
        assert present is not None
        return self.layer(self.dropout(image * present[:, :, None, None, None]))

    def loss_terms(self, image: Tensor, present: Tensor, label: Tensor, available: Tensor) -> dict[str, Tensor]:
        logits = self(image, present)
        return {"task": self.task_loss(logits, label), "size": 0.1 * logits.abs().mean()}


class Items(Dataset):
    """Five prepared cases; item i lacks modality i."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(index)
        image = torch.randn(4, 4, 4, 4, generator=generator)
        available = torch.arange(4) != index
        label = (image[:3] > 0).float()
        return {"image": image, "label": label, "available": available, "present": available.clone()}


class ValidationItems(Items):
    subset_names = ("all",)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {**super().__getitem__(index), "row": torch.tensor([index, 0])}


class WholeVolume(Inferer):
    def __call__(self, inputs: Tensor, network: Callable, *args: Any, **kwargs: Any) -> Tensor:
        return network(inputs, *args, **kwargs)


def build(
    folder: Path | None = None, method: TinyMethod | None = None, batch: int = 2, resume: bool = False, **options: Any
) -> tuple[TinyMethod, MethodTrainer]:
    method = TinyMethod() if method is None else method
    data = SeededDataset(Items(), RandScaleIntensityd("image", factors=0.5, prob=1.0), seed=1)
    loader = DataLoader(data, sampler=EpochSampler(data, seed=1), batch_size=batch)
    optimizer = options.pop("optimizer", None) or torch.optim.AdamW(method.parameters(), lr=0.02)
    options = {"device": CPU, "max_epochs": 1, "seed": 1, **options}
    if folder is not None:
        average = WeightAverage(method, decay=0.9)
        evaluator = MethodEvaluator(
            CPU,
            DataLoader(ValidationItems()),
            method,
            WholeVolume(),
            RegionDice(["all"]),
            average,
        )
        model = folder / "model.pt"
        checkpoint = RunCheckpoint(folder / "checkpoints", model, method, evaluator, average, resume=resume)
        options["train_handlers"] = [Validation(options.pop("val_interval", 1), evaluator), checkpoint]
        options["average"] = average
        options["scheduler"] = WarmupDecay(optimizer, steps=3 * options["max_epochs"], warmup=0.1)
    trainer = MethodTrainer(train_data_loader=loader, network=LossTerms(method), optimizer=optimizer, **options)
    return method, trainer


def test_the_terms_are_summed_and_their_means_logged():
    outputs = []
    _, trainer = build()
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.append(dict(engine.state.output)))
    trainer.run()
    assert len(outputs) == 3
    for output in outputs:
        assert output["loss"] == pytest.approx(output["task"] + output["size"])
    for name in ("loss", "task", "size"):
        assert trainer.state.metrics[name] == pytest.approx(sum(output[name] for output in outputs) / 3)
    assert trainer.state.metrics["learning_rate"] == 0.02


def test_accumulating_two_batches_is_one_batch_of_two():
    """Five items: two steps of two and, at the end of the epoch, one of what is left."""
    whole, _ = _trained(build(batch=2, max_epochs=2))
    parts, trainer = _trained(build(batch=1, accumulation=2, max_epochs=2))
    torch.testing.assert_close(parts.state_dict(), whole.state_dict())
    assert trainer.state.iteration == 10


def _trained(built: tuple[TinyMethod, MethodTrainer]) -> tuple[TinyMethod, MethodTrainer]:
    built[1].run()
    return built


def test_the_gradient_is_clipped():
    method = TinyMethod()
    before = nn.utils.parameters_to_vector(method.parameters()).detach().clone()
    build(method=method, batch=5, clip_norm=1e-3, optimizer=torch.optim.SGD(method.parameters(), lr=1.0))[1].run()
    moved = nn.utils.parameters_to_vector(method.parameters()) - before
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_a_loss_that_is_not_finite_stops_the_run():
    method, trainer = build()
    nn.init.constant_(method.layer.weight, torch.nan)
    with pytest.raises(FloatingPointError, match=r"epoch 1, iteration 1.*'task': nan"):
        trainer.run()


def test_one_draw_of_modalities_a_batch_on_request():
    seen = []

    class Watching(TinyMethod):
        def loss_terms(self, image, present, label, available):
            seen.append((present, available))
            return super().loss_terms(image, present, label, available)

    build(method=Watching(), batch=5, drop_per_batch=True)[1].run()
    ((present, available),) = seen
    assert torch.equal(present, present[:1] & available)


@pytest.mark.parametrize("amount", [2, 0.5])
def test_the_first_stage_uses_all_there_is(amount: float):
    seen = []

    class Watching(TinyMethod):
        def loss_terms(self, image: Tensor, present: Tensor, label: Tensor, available: Tensor) -> dict[str, Tensor]:
            seen.append(torch.equal(present, available))
            return super().loss_terms(image, present, label, available)

    build(method=Watching(), batch=5, max_epochs=4, complete_first=amount, drop_per_batch=True)[1].run()
    assert seen == [True, True, False, False]


@pytest.mark.parametrize("options", [{"accumulation": 0}, {"precision": "float8"}, {"precision": "float16"}])
def test_wrong_options_are_named(options: dict):
    with pytest.raises(ValueError, match=next(iter(options))):
        build(**options)


def test_bfloat16_trains():
    method, trainer = build(precision="bfloat16", max_epochs=30)
    trainer.run()
    assert method.layer.weight.dtype == torch.float32
    assert trainer.state.metrics["task"] < 0.6


def test_the_best_weights_are_the_averaged_ones_of_the_best_epoch(tmp_path: Path):
    method, trainer = build(tmp_path, max_epochs=3)
    average = trainer.average
    assert average is not None
    averages = []
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: averages.append({k: v.clone() for k, v in average.weights.items()})
    )
    trainer.run()
    best = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)["best"]
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    TinyMethod().load_state_dict(saved)
    assert_same(saved, averages[best["epoch"] - 1])
    assert not torch.equal(saved["layer.weight"], method.layer.weight)


class Stop(Exception):
    """Stands for the kill."""


@pytest.mark.parametrize("moment", [Events.EPOCH_STARTED(once=3), Events.ITERATION_COMPLETED(once=8)])
def test_a_stopped_and_resumed_run_is_the_unbroken_one(tmp_path: Path, moment: Any):
    def run(folder: Path, **options: Any) -> dict[str, Any]:
        method, trainer = build(folder, max_epochs=5, **options)
        method.dropout.p = 0.5  # the network draws too
        if "stop" in folder.name and not options:
            trainer.add_event_handler(moment, _stop)
            with pytest.raises(Stop):
                trainer.run()
        else:
            trainer.run()
        return torch.load(folder / "checkpoints" / "last.pt", weights_only=True)

    unbroken = run(tmp_path / "unbroken")
    assert run(tmp_path / "stopped")["epoch"] == 2
    resumed = run(tmp_path / "stopped", resume=True)
    assert resumed["epoch"] == 5
    assert_same(resumed, unbroken)
    assert_same(torch.load(tmp_path / "stopped" / "model.pt"), torch.load(tmp_path / "unbroken" / "model.pt"))


def _stop() -> None:
    raise Stop


def test_an_interrupt_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    _, trainer = build(tmp_path)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), interrupt), pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert "terminating" not in caplog.text
    _, trainer = build()
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), _stop)
    with pytest.raises(Stop):
        trainer.run()
    assert "terminating" in caplog.text


def test_a_line_an_epoch(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    method, _ = build()
    evaluator = MethodEvaluator(
        CPU,
        DataLoader(ValidationItems()),
        method,
        WholeVolume(),
        RegionDice(["all"]),
        val_handlers=[EpochLog("validation")],
    )
    _, trainer = build(method=method, max_epochs=2, train_handlers=[EpochLog("training"), Validation(2, evaluator)])
    trainer.run()
    lines = [record.message for record in caplog.records if record.name == "medmiss.training.progress"]
    assert [line.split(":")[0] for line in lines] == [
        "training, epoch 1 of 2",
        "training, epoch 2 of 2",
        "validation, epoch 2",
    ]
    assert all(name in lines[2] for name in ("val_mean_dice", "dice_ET", "dice_TC", "dice_WT", "dice_all"))


def assert_same(a: Any, b: Any) -> None:
    """Equal to the bit, through dictionaries and lists."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list):
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    elif isinstance(a, Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


def test_an_earlier_run_is_not_overwritten(tmp_path: Path):
    build(tmp_path)[1].run()
    with pytest.raises(FileExistsError, match="resume it or choose another output folder"):
        build(tmp_path)[1].run()


def test_a_changed_run_is_resumed_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    build(tmp_path, max_epochs=1)[1].run()
    _, trainer = build(tmp_path, max_epochs=2, resume=True)
    trainer.run()
    assert trainer.state.epoch == 2
    assert "max_epochs was 1 and is 2 now" in caplog.text


def test_there_are_weights_even_before_the_first_validation(tmp_path: Path):
    _, trainer = build(tmp_path, max_epochs=3, val_interval=3)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda engine: engine.terminate())
    trainer.run()
    last = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    assert_same(torch.load(tmp_path / "model.pt", weights_only=True), last["average"]["weights"])


@pytest.mark.parametrize(("epochs", "validated"), [(5, [2, 4, 5]), (4, [2, 4]), (1, [1])])
def test_the_last_epoch_is_validated_too(tmp_path: Path, epochs: int, validated: list[int]):
    seen: list[int] = []

    class Noted(Validation):
        def __call__(self, engine: Engine) -> None:
            seen.append(engine.state.epoch)

    evaluator = MethodEvaluator(CPU, [], TinyMethod(), WholeVolume(), RegionDice(["all"]))
    _, trainer = build(max_epochs=epochs, train_handlers=[Noted(2, evaluator)])
    trainer.run()
    assert seen == validated
