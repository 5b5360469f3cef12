"""The trainer: one class for every method, from the first batch to the selected checkpoint.

Every step is a pure function of (weights, optimiser state, batch, step number): sample order and augmentation come
from (seed, epoch, sample), and the random generators are re-seeded from (seed, step) before each step. That is why
a run killed at any moment resumes to the same weights, and why no generator state has to be stored.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from loguru import logger
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from benchmark.data.datasets import FaceDataset
from benchmark.data.sampling import BatchPlan, StepSampler
from benchmark.errors import CheckpointError, ConfigError, DataError, TrainingError
from benchmark.schema import RunConfig
from detectors.base import Batch, Detector, Losses
from training.checkpoint import CheckpointStore
from training.distributed import Processes
from training.inputs import InputFormat, autocast, to_device
from training.journal import Journal, LossWindow
from training.optimizer import build_optimizer, peak_learning_rate, set_learning_rate
from training.progress import Progress, selection_value
from training.resuming import comparable_settings, refuse_other_run, with_own_settings
from training.schedule import learning_rate
from training.seeding import seed_shared, seed_step, start_worker
from training.stopping import Interrupted, StopSignals

Validator = Callable[[], dict[str, float | None]]
_STOP_CHECK_STEPS = 8  # how often processes agree on a stop signal; asking every step would cost a round trip each


class _TrainingStep(nn.Module):
    """Gives DDP a ``forward`` to wrap."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, batch: Batch) -> Losses:
        return self.detector.training_step(batch)


class Trainer:
    """Trains one detector.

    Args:
        config: the run's settings.
        detector: on any device; it is moved.
        dataset: training samples.
        inputs: size and normalisation of the input.
        run: run folder.
        group: this process among those of the run.
        validate: returns validation metrics by name (``loss``, ``video_auc``, ...), or None without validation.
        metadata: strings stored inside the weights file.
        data: fingerprint of the data of every part (``training``, ``validation``), compared on resume.

    Raises:
        TrainingError: empty or one-class training data, fewer samples than a batch, nothing to train.
        ConfigError: the batch does not divide over processes and micro-batches.
    """

    def __init__(
        self,
        config: RunConfig,
        detector: Detector,
        dataset: FaceDataset,
        inputs: InputFormat,
        run: Path,
        group: Processes,
        validate: Validator | None = None,
        metadata: dict[str, str] | None = None,
        data: dict[str, str] | None = None,
    ) -> None:
        self.config, self.detector, self.dataset, self.inputs = config, detector, dataset, inputs
        self.group, self.validate, self.metadata, self.data = group, validate, metadata or {}, data or {}
        self.store = CheckpointStore(run)
        self.journal = Journal(run, group.is_main)
        self.progress = Progress()
        self.plan = self._make_plan()
        self.total_steps = config.schedule.steps or self.plan.steps_per_epoch * (config.schedule.epochs or 0)
        self.peak_lr = peak_learning_rate(config.optimizer, config.trainer.batch_size)
        self._prepare_modules()
        self._unreadable = 0
        self._signals = StopSignals()
        self._watched: tuple[torch.Tensor, Sequence[Batch], int] | None = None
        self._epoch_loss = torch.zeros((), dtype=torch.float64, device=group.device)

    # ------------------------------------------------------------------ the run, in order of time

    def fit(self) -> Progress:
        """Train to the end, from the start or from where ``resume`` put it.

        Raises:
            TrainingError: a non-finite loss (the batch is saved), or unreadable samples with data.on_error=fail.
            Interrupted: SIGINT or SIGTERM; the state was saved.
        """
        batches = iter(self._loader())
        window, run_started = LossWindow(), time.monotonic() - self.progress.seconds
        with self._signals:
            while self.progress.step < self.total_steps:
                rate = self._set_rate()
                micro_batches = self._next_batches(batches)
                losses = self._step(micro_batches)
                window.add(losses)
                self._epoch_loss += losses["loss"]
                self.progress.epoch_steps += 1
                self.progress.step += 1
                self.progress.seconds = time.monotonic() - run_started
                if self._due(self.config.trainer.log_every_steps):
                    self._log(window, rate)
                    window = LossWindow()
                if self._due(self.config.trainer.picture_every_steps):
                    self._draw(micro_batches[0])
                self._validate_and_save()
                self._stop_if_asked()
        self._check_finite()
        self.journal.close()
        return self.progress

    def _step(self, batches: Sequence[Batch]) -> Losses:
        """One optimiser step: forward, backward, clip, update (in ``Detector.optimize``), then the method's hook."""
        step = self.progress.step
        seed_step(self.config.trainer.seed, step, self.group.rank)
        self.module.train()
        losses = self.detector.optimize(self, batches)
        self.detector.after_step(step, self.total_steps)
        self._check_finite()
        self._watched = (torch.isfinite(losses["loss"]), batches, step)
        return losses

    def _set_rate(self) -> float:
        step = self.progress.step
        position = step if self.config.schedule.steps else step / self.plan.steps_per_epoch
        rate = learning_rate(position, self.peak_lr, self.config.schedule)
        for optimizer in self.optimizers.values():
            set_learning_rate(optimizer, rate)
        return rate

    def _next_batches(self, stream: Iterator[Batch]) -> list[Batch]:
        batches = []
        for _ in range(self.config.trainer.accumulate):
            batch = self._readable(next(stream))
            batches.append(to_device(batch, self.group.device, self.inputs, self.detector.memory_format))
        return batches

    def _readable(self, batch: Batch) -> Batch:
        """Deal with samples that could not be read: stop, or count and go on."""
        errors = batch.pop("errors")
        if not errors:
            return batch
        if self.config.data.on_error == "fail" or "label" not in batch:
            raise DataError(
                f"{len(errors)} training samples of a batch cannot be read (first: {errors[0][1]}). "
                "Repair the data, or leave such samples out and count them: data.on_error=skip"
            )
        left_out = len(errors)
        if len(batch["label"]) % 2 and (len(batch["label"]) + len(errors)) % 2 == 0:
            batch = {key: value[:-1] for key, value in batch.items()}  # mixup needs pairs
            left_out += 1
        self._unreadable += left_out
        logger.warning("Left {} samples out of a batch; first: {}", left_out, errors[0][1])
        return batch

    # ------------------------------------------------------------------ what a method may call (detectors.base.Engine)

    @property
    def step_number(self) -> int:
        """Optimiser steps done."""
        return self.progress.step

    def draw_alike(self) -> None:
        """Restart the generators that all processes share, so that all micro-batches of a step mix alike."""
        seed_shared(self.config.trainer.seed, self.progress.step)

    def forward(self, batch: Batch) -> Losses:
        """``training_step`` under autocast, through DDP."""
        with autocast(self.config.trainer.precision, self.group.device):
            losses: Losses = self.module(batch)
        return losses

    def backward(self, loss: torch.Tensor) -> None:
        """Accumulate gradients; scaled under fp16."""
        self.scaler.scale(loss).backward()

    def accumulating(self, last: bool) -> AbstractContextManager[None]:
        """Exchange gradients between processes only in the last micro-batch."""
        if isinstance(self.module, DistributedDataParallel) and not last:
            return self.module.no_sync()
        return nullcontext()

    def step(self, optimizer: str = "main") -> None:
        """Clip, update, clear gradients."""
        chosen = self.optimizers[optimizer]
        if self.config.trainer.clip_grad is not None:
            self.scaler.unscale_(chosen)
            parameters = [p for group in chosen.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.config.trainer.clip_grad)
        self.scaler.step(chosen)
        self.scaler.update()
        chosen.zero_grad(set_to_none=True)

    # ------------------------------------------------------------------ preparation

    def _make_plan(self) -> BatchPlan:
        trainer, data = self.config.trainer, self.config.data
        parts = self.group.world * trainer.accumulate
        if trainer.batch_size % parts:
            raise ConfigError(
                f"trainer.batch_size {trainer.batch_size} does not divide over {self.group.world} processes x "
                f"{trainer.accumulate} micro-batches; choose a multiple of {parts}."
            )
        if self.detector.can_predict and len(set(self.dataset.labels.tolist())) < 2:
            only = "real" if self.dataset.labels[0] == 0 else "fake"
            raise TrainingError(f"The training set holds only {only} samples; a detector needs both classes.")
        own = self.detector.batch_plan(self.dataset, trainer.batch_size, trainer.seed)
        return own or self.dataset.default_plan(trainer.batch_size, trainer.seed, data.balance)

    def _prepare_modules(self) -> None:
        device, trainer = self.group.device, self.config.trainer
        self.detector.to(device, memory_format=self.detector.memory_format)  # type: ignore[call-overload]
        if not any(p.requires_grad for p in self.detector.parameters()):
            raise TrainingError("Every parameter is frozen; there is nothing to train.")
        detector = self.detector
        if trainer.sync_batchnorm and self.group.world > 1:
            nn.SyncBatchNorm.convert_sync_batchnorm(detector)
        module: nn.Module = _TrainingStep(detector)
        local = [f"detector.{name}" for name in detector.process_local_state()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, local)
        if trainer.compile:
            module.compile()
        if self.group.world > 1:
            module = DistributedDataParallel(
                module,
                device_ids=[device.index] if device.type == "cuda" else None,
                find_unused_parameters=detector.has_unused_parameters,
                gradient_as_bucket_view=True,
            )
        self.module = module
        settings = self.config.optimizer
        self.optimizers = detector.optimizers(settings, lambda g: build_optimizer(g, settings, self.peak_lr))
        self.scaler = torch.amp.GradScaler(device.type, enabled=trainer.precision == "fp16")

    def _loader(self) -> DataLoader[Batch]:
        trainer = self.config.trainer
        sampler = StepSampler(
            self.plan, self.progress.step, self.total_steps, self.group.rank, self.group.world, trainer.accumulate
        )
        workers = self.config.data.workers
        return DataLoader(
            self.dataset,
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=self.detector.collate,
            pin_memory=self.group.device.type == "cuda",
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
            worker_init_fn=start_worker,
            generator=torch.Generator().manual_seed(trainer.seed),
        )

    # ------------------------------------------------------------------ validation, checkpoints, stopping

    def _due(self, interval: int | None) -> bool:
        """Whether an interval ends here; None means an epoch. The last step always ends one."""
        step = self.progress.step
        return step % (interval or self.plan.steps_per_epoch) == 0 or step == self.total_steps

    def _validate_and_save(self) -> None:
        trainer = self.config.trainer
        improved = None
        if self.validate is not None and self._due(trainer.validate_every_steps):
            self._check_finite()
            improved = self._judge(self.validate())
        if self._due(None):
            mean_loss = self._finish_epoch()
            select = self.config.evaluation.select
            if select.metric == "train_loss" and self._epoch() > 1:
                improved = self.progress.select(mean_loss, select)
        save_now = trainer.save_every_steps is not None and self.progress.step % trainer.save_every_steps == 0
        if improved is not None or save_now or self._due(None):
            self._check_finite()
            keep = trainer.keep_every_epochs
            self._save(improved, keep=keep is not None and self._due(None) and self._epoch() % keep == 0)

    def _judge(self, metrics: dict[str, float | None]) -> float | None:
        """The selection value of a validation when it is the best so far, else None."""
        select = self.config.evaluation.select
        self.journal.validation(self.progress.step, self._epoch(), metrics)
        if select.metric == "train_loss":
            return None
        return self.progress.select(selection_value(metrics, self.progress.step, select), select)

    def _finish_epoch(self) -> float:
        """Mean training loss of the epoch over steps and processes; the next epoch starts from zero."""
        value = float(self.group.mean(self._epoch_loss).item()) / max(1, self.progress.epoch_steps)
        self._epoch_loss.zero_()
        self.progress.epoch_steps = 0
        return value

    @torch.no_grad()
    def _draw(self, batch: Batch) -> None:
        if self.group.is_main:
            self.detector.eval()
            with autocast(self.config.trainer.precision, self.group.device):
                self.journal.pictures(self.progress.step, self.detector.visualize(batch))

    def _save(self, best: float | None = None, *, keep: bool = False) -> None:
        self.progress.unreadable += sum(self.group.gather(self._unreadable))
        self._unreadable = 0
        self._epoch_loss.copy_(self.group.mean(self._epoch_loss))  # a resumed run gives every process the mean
        self.progress.epoch_loss = float(self._epoch_loss.item())
        if self.group.is_main:
            state = {
                "progress": dict(self.progress.__dict__),
                "steps_per_epoch": self.plan.steps_per_epoch,
                "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
                "scaler": self.scaler.state_dict(),
                "settings": comparable_settings(self.config),
                "data": self.data,
            }
            self.store.save(self.progress.step, self.detector.state_dict(), state, self.metadata, best, keep)
        self.group.barrier()

    def resume(self) -> None:
        """Restore weights, optimisers and counters of the last checkpoint exactly.

        Raises:
            ConfigError: settings that shape the weights, or the data, differ from the run's.
        """
        from safetensors.torch import load_file

        state = self.store.load_state("last")
        refuse_other_run(state, self.config, self.data)
        self.detector.load_state_dict(load_file(self.store.weights_path("last")))
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.scaler.load_state_dict(state["scaler"])
        self.progress = Progress(**state["progress"])
        self._epoch_loss.fill_(self.progress.epoch_loss)
        logger.info("Resuming at step {} of {}.", self.progress.step, self.total_steps)

    def continue_from(self, reference: str) -> None:
        """Continue a run that another program saved; the method reads its format (``Detector.import_training``).

        Raises:
            CheckpointError: the file does not fit, or its run is already as long as this one's schedule.
        """
        found = self.detector.import_training(reference)
        for name, saved in found.optimizers.items():
            self.optimizers[name].load_state_dict(with_own_settings(self.optimizers[name], saved, reference))
        if found.scaler:
            self.scaler.load_state_dict(dict(found.scaler))
        self.progress.step = found.epochs * self.plan.steps_per_epoch
        if self.progress.step >= self.total_steps:
            raise CheckpointError(
                f"{reference} has {found.epochs} finished epochs, the schedule ends after "
                f"{self.total_steps / self.plan.steps_per_epoch:g}. Set schedule.epochs to that of the published run."
            )
        logger.info("Continuing {} after {} epochs, at step {}.", reference, found.epochs, self.progress.step)

    def _check_finite(self) -> None:
        """Look at the previous step's loss (by now computed) and stop the run if it was not finite."""
        if self._watched is None:
            return
        finite, batches, step = self._watched
        self._watched = None
        if bool(finite):
            return
        path = self.store.folder.parent / f"non_finite_step_{step}_rank_{self.group.rank}.pt"
        torch.save({"step": step, "batches": [dict(batch) for batch in batches]}, path)
        first = [f"{v}/{f}" for v, f in zip(batches[0]["video"], batches[0]["frame"], strict=True)][:3]
        raise TrainingError(
            f"The loss of step {step} is not finite. The batch is saved in {path} (first samples: {', '.join(first)}). "
            "The last checkpoint is from before it. Lower the learning rate, clip gradients "
            "(trainer.clip_grad=1.0) or use trainer.precision=fp32."
        )

    def _stop_if_asked(self) -> None:
        alone = self.group.world == 1
        if alone or self.progress.step % _STOP_CHECK_STEPS == 0:
            if not self.group.any(self._signals.received is not None):
                return
            self._check_finite()
            self._save()
            logger.warning("Stopped at step {}; continue with --resume.", self.progress.step)
            self.journal.close()
            raise Interrupted(self._signals.received or signal.SIGTERM)

    def _epoch(self) -> float:
        return self.progress.step / self.plan.steps_per_epoch

    def _log(self, window: LossWindow, rate: float) -> None:
        means = {name: self.group.mean(value / window.steps).item() for name, value in window.sums.items()}
        seconds = time.monotonic() - window.started
        self.journal.training(
            step=self.progress.step,
            total=self.total_steps,
            epoch=self._epoch(),
            losses=means,
            lr=rate,
            samples_per_second=window.steps * self.config.trainer.batch_size / seconds,
            seconds_left=(self.total_steps - self.progress.step) * seconds / window.steps,
        )
