"""Pre-training through the real commands: statistics, pictures, resume, processes, published files, fine-tuning."""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from backbones.fsfm_checkpoints import read_pretraining
from backbones.fsfm_vit import PUBLISHED
from backbones.weights import STATISTICS_FILE, PublishedWeights, read_checkpoint, read_statistics
from benchmark import create_detector
from benchmark.build import create_backbone
from benchmark.data.decode import decode_image
from benchmark.errors import CheckpointError, ConfigError, DataError
from benchmark.schema import load_run_config
from training import export, train
from training.distributed import Processes
from training.session import Session

PLUGIN = Path(__file__).parent / "plugins" / "hooked_pretrain.py"
BACKBONE = "{name: fsfm_vit_tiny_patch16, patch_size: 8, embed_dim: 48, depth: 2, num_heads: 4}"
YAML = """\
detector:
  name: hooked_pretrain
  masking: {name: crfr_p, region_draw: per_image}
  networks: {decoder_dim: 32, decoder_depth: 1, decoder_heads: 4, rep_decoder_depth: 1, rep_decoder_heads: 4,
             projection_dim: 16, projection_hidden: 32}
backbone: %s
augmentation: {name: flip}
data: {image_size: 32, train: [Faces], normalize: dataset, frames: {train: all}, workers: 0}
optimizer: {name: adamw, lr: 2e-3, weight_decay: 0.05, betas: [0.9, 0.95]}
schedule: {epochs: 3, warmup_epochs: 0.5}
trainer: {batch_size: 16, precision: fp32, device: cpu, log_every_steps: 1, clip_grad: 1.0}
evaluation: {select: {metric: train_loss}}
paths: {data: %s, indexes: %s, runs: %s}
"""


@pytest.fixture(scope="session")
def faces(tmp_path_factory, make_world):
    """Dataset ``Faces`` with parsing maps: 12 real training videos of 4 frames (3 steps of 16), and 6 fakes."""
    counts = {"train": (12, 6), "val": (2, 2), "test": (2, 2)}
    return make_world(tmp_path_factory.mktemp("faces"), counts, name="Faces", parts=("parsing",))


@pytest.fixture
def arguments(faces, tmp_path):
    """Command line of a pre-training run; further words are options or overrides."""
    path = tmp_path / "pretrain.yaml"
    path.write_text(YAML % (BACKBONE, faces.data, faces.indexes, tmp_path / "runs"), encoding="utf-8")

    def make(name, *extra):
        return ["--detector", str(path), "--plugins", str(PLUGIN), "--name", name, *map(str, extra)]

    return make


def run_here(arguments):
    return train.run(*train.parse(arguments))


def records(run, kind="train"):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


# ------------------------------------------------------------------------------------------------ a whole run


@pytest.fixture
def finished(arguments, tmp_path):
    assert run_here(arguments("whole")) == 0
    return tmp_path / "runs" / "whole"


def test_a_run_leaves_losses_pictures_statistics_and_a_selected_checkpoint(finished, faces, helpers):
    steps = records(finished)
    assert len(steps) == 9
    for step in steps:
        parts = step["rec_all"] + 0.007 * step["rec_sfr"] + 0.1 * step["cl"]
        assert step["loss"] == pytest.approx(parts, abs=1e-6)
        assert step["target_spread"] > 0
    pictures = sorted(path.name for path in (finished / "pictures").iterdir())
    assert pictures == [f"reconstruction-{step:08d}.png" for step in (3, 6, 9)]
    picture = decode_image((finished / "pictures" / pictures[0]).read_bytes(), "picture")
    assert picture.shape == (4 * 32, 3 * 32, 3)
    best = json.loads((finished / "checkpoints" / "best.json").read_text())
    means = [np.mean([step["loss"] for step in steps[3 * n : 3 * n + 3]]) for n in range(3)]
    assert best["value"] == pytest.approx(min(means[1:]), abs=1e-6)  # the first epoch never counts, as published
    assert best["step"] == 3 * (1 + int(np.argmin(means)))
    weights = helpers.final_weights(finished)
    assert {key.split(".")[0] for key in weights} == {"online", "target"}
    assert not torch.equal(weights["target.blocks.0.mlp.fc1.weight"], weights["online.blocks.0.mlp.fc1.weight"])
    mean, std = read_statistics(finished / STATISTICS_FILE)
    expected = brute_statistics(finished, faces)
    np.testing.assert_allclose([mean, std], expected, atol=1e-9)


def brute_statistics(run, faces):
    """Mean and std of the resized real training frames, one image after the other."""
    config, settings = load_run_config(run / "config.yaml", [])
    dataset = Session(config, settings, Processes(0, 1, torch.device("cpu"))).train
    dataset.augmentation = None
    assert dataset.summary()["fake_videos"] == 0
    pixels = torch.stack([dataset[i]["image"] for i in range(len(dataset))]).double() / 255
    assert len(pixels) == 48
    return pixels.mean((0, 2, 3)).numpy(), pixels.std((0, 2, 3), correction=0).numpy()


def test_statistics_are_measured_once(arguments, tmp_path, finished, capsys):
    cache = list((tmp_path / "runs" / ".statistics").iterdir())
    assert len(cache) == 1
    assert read_statistics(cache[0]) == read_statistics(finished / STATISTICS_FILE)
    capsys.readouterr()
    assert run_here(arguments("again", "schedule.epochs=1")) == 0
    assert "Measuring mean" not in capsys.readouterr().err
    assert run_here(arguments("smaller", "schedule.epochs=1", "data.frames.train=2")) == 0
    assert "Measuring mean and std of 24 training images" in capsys.readouterr().err


def test_fakes_are_left_out_with_a_word(arguments, capsys):
    assert run_here(arguments("whole", "schedule.epochs=1")) == 0
    assert "6 fake videos left out: hooked_pretrain learns from real faces." in capsys.readouterr().err


def test_test_sets_are_refused(arguments):
    with pytest.raises(ConfigError, match="makes no predictions; leave out --test"):
        run_here(arguments("x", "--test", "Faces"))


def test_maps_are_needed_only_by_strategies_that_look_at_them(make_world, tmp_path, arguments):
    bare = make_world(tmp_path / "bare", {"train": (12, 0)}, name="Faces")
    with pytest.raises(DataError, match="Dataset Faces has no 'parsing' for its frames"):
        run_here(arguments("x", *bare.overrides()))
    plain = ("detector.masking={name: random}", "detector.contrast_weight=0", "schedule.epochs=1")
    assert run_here(arguments("plain", *bare.overrides(), *plain)) == 0
    assert {"rec_all", "rec_sfr"} < records(tmp_path / "runs" / "plain")[0].keys()
    assert "cl" not in records(tmp_path / "runs" / "plain")[0]
    assert records(tmp_path / "runs" / "plain")[0]["rec_sfr"] == 0


def test_broken_maps_are_named(faces, tmp_path, arguments):
    folder = tmp_path / "reference"
    write_reference_folders(folder, classes=19)
    with pytest.raises(
        DataError, match=r"parsing_maps/face\d\.npy': class ids go up to 18; parsing maps hold LaPa ids 0 to 10"
    ):
        run_here(arguments("x", "--train", folder, "trainer.batch_size=4"))
    write_reference_folders(folder, faces_per_map=2)
    with pytest.raises(DataError, match=r"expected whole class ids from 0 to 255 .* found int8 \(2, 32, 32\)"):
        run_here(arguments("x", "--train", folder, "trainer.batch_size=4"))


def write_reference_folders(root, *, classes=11, faces_per_map=1, count=8):
    """Folders as FSFM's pre-processing writes them."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "images").mkdir(parents=True)
    (root / "parsing_maps").mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        cv2.imwrite(str(root / "images" / f"face{number}.png"), rng.integers(0, 256, (32, 32, 3), np.uint8))
        ids = rng.integers(0, classes, (faces_per_map, 32, 32)).astype(np.int8)
        ids[:, 0, 0] = classes - 1
        np.save(root / "parsing_maps" / f"face{number}.npy", ids)


def test_the_references_folders_and_a_store_are_mixed(tmp_path, arguments, capsys):
    folder = tmp_path / "VGG-Face2"
    write_reference_folders(folder)
    mixed = ("--train", "Faces", folder, "data.balance=dataset", "schedule.epochs=1")
    assert run_here(arguments("mixed", *mixed)) == 0
    assert "of 56 training images" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ interruption


@pytest.mark.slow
def test_kill_9_and_resume_give_both_networks_bit_for_bit(arguments, helpers, tmp_path):
    """Killed inside the second epoch, after a checkpoint in its middle; accumulation on."""
    extra = ("trainer.accumulate=2", "trainer.save_every_steps=4", "detector.masking.region_draw=per_batch")
    killed = helpers.command("train.py", *arguments("killed", *extra, "data.workers=1"), HOOKED="kill:5")
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    runs = tmp_path / "runs"
    assert json.loads((runs / "killed" / "checkpoints" / "last.json").read_text())["step"] == 4
    assert run_here(arguments("killed", "--resume", *extra)) == 0
    assert run_here(arguments("whole", *extra)) == 0
    helpers.assert_same_weights(runs / "killed", runs / "whole")
    helpers.assert_same_weights(runs / "killed", runs / "whole", "best")
    for pointer in ("best", "last"):
        one, other = ((runs / name / "checkpoints" / f"{pointer}.json").read_bytes() for name in ("killed", "whole"))
        assert one == other


# ------------------------------------------------------------------------------------------------ processes


@pytest.mark.slow
def test_two_processes_equal_one_that_accumulates_two_micro_batches(arguments, helpers, tmp_path):
    """Same shares of every batch, hence the same losses and networks; the target moves, equally, although DDP wraps."""
    common = ("detector.masking.region_draw=per_batch", "detector.ema_every=optimizer_step", "optimizer.name=sgd",
              "optimizer.lr=0.05", "detector.region_weight=0.1")  # fmt: skip
    started = helpers.command("train.py", *arguments("two", *common), processes=2, HOOKED=f"dump:{tmp_path}")
    assert started.returncode == 0, started.stderr[-3000:]
    assert run_here(arguments("one", *common, "trainer.accumulate=2")) == 0
    runs = tmp_path / "runs"
    losses = [[step["loss"] for step in records(runs / name)] for name in ("one", "two")]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    first, second = (helpers.final_weights(runs / name) for name in ("one", "two"))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=2e-5, rtol=1e-4)
    last = [load_file(tmp_path / f"last-{rank}.safetensors") for rank in (0, 1)]
    early = load_file(tmp_path / "first-0.safetensors")
    assert all(torch.equal(last[0][key], last[1][key]) for key in last[0])
    assert not torch.equal(early["blocks.0.attn.qkv.weight"], last[0]["blocks.0.attn.qkv.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("contrast", ["infonce", "mocov3", "simclr"])
def test_two_processes_gather_the_negatives_that_one_process_has(arguments, helpers, tmp_path, contrast):
    common = (f"detector.contrast={contrast}", "detector.contrast_weight=1", "detector.region_weight=0",
              "detector.ema_every=optimizer_step", "optimizer.name=sgd", "optimizer.lr=0.05", "schedule.epochs=1",
              "schedule.warmup_epochs=0")  # fmt: skip
    started = helpers.command("train.py", *arguments("two", *common), processes=2)
    assert started.returncode == 0, started.stderr[-3000:]
    assert run_here(arguments("one", *common)) == 0
    runs = tmp_path / "runs"
    one, two = ([step["cl"] for step in records(runs / name)] for name in ("one", "two"))
    np.testing.assert_allclose(two, one, rtol=1e-5)  # of half as many samples the loss is another
    first, second = (helpers.final_weights(runs / name) for name in ("one", "two"))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=2e-5, rtol=1e-4)


@pytest.mark.slow
def test_frozen_per_rank_keeps_two_strangers_through_a_resume(arguments, helpers, tmp_path):
    extra = ("detector.target_update=frozen_per_rank",)
    stopped = helpers.command("train.py", *arguments("two", *extra), processes=2, HOOKED=f"dump-and-stop:{tmp_path}")
    assert stopped.returncode != 0
    resumed = helpers.command("train.py", *arguments("two", *extra, "--resume"), processes=2, HOOKED=f"dump:{tmp_path}")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    first, last = (
        [load_file(tmp_path / f"{when}-{rank}.safetensors") for rank in (0, 1)] for when in ("first", "last")
    )
    for rank in (0, 1):
        assert all(torch.equal(first[rank][key], last[rank][key]) for key in last[rank])
    assert not torch.equal(first[0]["blocks.0.attn.qkv.weight"], first[1]["blocks.0.attn.qkv.weight"])
    assert torch.equal(first[0]["pos_embed"], first[1]["pos_embed"])


# ------------------------------------------------------------------------------------------------ published files


def test_exported_files_continue_to_the_same_weights(arguments, helpers, tmp_path, monkeypatch, finished):
    """Stopped after two of three epochs, exported, imported into another run: the end is that of the whole run."""
    monkeypatch.setenv("HOOKED", "term:6")
    assert run_here(arguments("stopped")) == 143
    monkeypatch.delenv("HOOKED")
    # the test's own plugin name stands for fsfm_pretrain
    rename_detector(tmp_path / "runs" / "stopped")
    online, target = export.export(tmp_path / "runs" / "stopped", tmp_path / "published")
    assert (online.name, target.name) == ("checkpoint-1.pth", "checkpoint-te-1.pth")
    content = read_checkpoint(online)
    assert list(content) == ["model", "optimizer", "epoch", "scaler", "args"]
    assert content["epoch"] == 1
    assert [len(group["params"]) for group in content["optimizer"]["param_groups"]] == no_decay_and_decay()
    assert list(content["model"]) == list(tiny_detector().online.state_dict())
    assert list(read_checkpoint(target)["model"]) == list(tiny_detector().target.state_dict())
    assert read_statistics(tmp_path / "published" / STATISTICS_FILE) == read_statistics(finished / STATISTICS_FILE)
    assert run_here(arguments("continued", "--continue-from", online)) == 0
    helpers.assert_same_weights(tmp_path / "runs" / "continued", finished)
    with pytest.raises(CheckpointError, match="has 2 finished epochs, the schedule ends after 2"):
        run_here(arguments("short", "--continue-from", online, "schedule.epochs=2"))


def test_the_checkpoint_of_every_second_epoch_is_kept_and_exported(arguments, tmp_path):
    assert run_here(arguments("kept", "trainer.keep_every_epochs=2", "schedule.epochs=4")) == 0
    run = tmp_path / "runs" / "kept"
    assert {"step-00000006", "step-00000012"} <= {path.name for path in (run / "checkpoints").glob("step-*")}
    rename_detector(run)
    online, _ = export.export(run, tmp_path / "published", "2")
    assert online.name == "checkpoint-1.pth"
    stored = load_file(run / "checkpoints" / "step-00000006" / "model.safetensors")
    assert all(torch.equal(value, stored[f"online.{key}"]) for key, value in read_checkpoint(online)["model"].items())
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 3; there are: 6, .*12"):
        export.export(run, tmp_path / "out", "1")
    with pytest.raises(CheckpointError, match=r"--checkpoint newest: expected last, best, or a number"):
        export.export(run, tmp_path / "out", "newest")


def rename_detector(run):
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("hooked_pretrain", "fsfm_pretrain"))


def tiny_detector(**options):
    networks = {"decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 4, "rep_decoder_depth": 1,
                "rep_decoder_heads": 4, "projection_dim": 16, "projection_hidden": 32}  # fmt: skip
    backbone = {"name": "fsfm_vit_tiny_patch16", "img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2,
                "num_heads": 4}  # fmt: skip
    return create_detector("fsfm_pretrain", backbone, networks=networks, **options)


def no_decay_and_decay():
    trained = [(name, p) for name, p in tiny_detector().online.named_parameters() if p.requires_grad]
    vectors = sum(p.ndim <= 1 for _, p in trained)
    return [vectors, len(trained) - vectors]


@pytest.fixture
def published(tmp_path):
    """A synthetic pair in the published layout, with the Namespace and the path that real ones hold."""
    torch.manual_seed(3)
    source = tiny_detector()
    for parameter in source.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    groups = source.parameter_groups(load_settings())
    optimizer = torch.optim.AdamW([{"params": g["params"], "weight_decay": g["weight_decay"]} for g in groups], lr=1e-3)
    for parameter in (p for group in groups for p in group["params"]):
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    rest = {
        "optimizer": optimizer.state_dict(),
        "epoch": 0,
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000,
                   "_growth_tracker": 1},
        "args": argparse.Namespace(model="fsfm_vit_tiny", output_dir=pathlib.PosixPath("checkpoint"), lr=1e-3),
    }  # fmt: skip
    folder = tmp_path / "hub"
    folder.mkdir()
    prefixed = {f"module.{key}": value for key, value in source.online.state_dict().items()}
    torch.save({"model": prefixed, **rest}, folder / "checkpoint-0.pth")
    torch.save({"model": source.target.state_dict(), **rest}, folder / "checkpoint-te-0.pth")
    (folder / STATISTICS_FILE).write_text('{"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}\n' * 2)
    return source, folder / "checkpoint-0.pth"


def load_settings():
    from benchmark.schema import OptimizerConfig

    return OptimizerConfig(lr=1e-3)


def test_a_published_checkpoint_loads_strictly_resumes_and_fine_tunes(published, arguments, tmp_path):
    source, file = published
    detector = tiny_detector(weights=str(file))
    for name, value in source.state_dict().items():
        assert torch.equal(detector.state_dict()[name], value), name
    assert detector.normalization == ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    assert run_here(arguments("continued", "--continue-from", file)) == 0
    steps = records(tmp_path / "runs" / "continued")
    assert [step["step"] for step in steps] == [4, 5, 6, 7, 8, 9]
    encoder = create_backbone(
        "fsfm_vit_tiny_patch16", img_size=48, patch_size=8, embed_dim=48, depth=2, num_heads=4, weights=str(file)
    )
    assert encoder.normalization == detector.normalization
    assert torch.equal(encoder.blocks[1].mlp.fc2.weight, source.online.blocks[1].mlp.fc2.weight)
    assert encoder.pos_embed.shape == (1, 37, 48)  # resized from a grid of 4 to one of 6


def test_wrong_files_are_refused(published, tmp_path):
    source, file = published
    with pytest.raises(
        CheckpointError, match=r"checkpoint-te-0\.pth is a target network's file; give checkpoint-0\.pth"
    ):
        read_pretraining(file.with_name("checkpoint-te-0.pth"))
    torch.save(source.online.state_dict(), tmp_path / "bare.pth")
    assert read_pretraining(tmp_path / "bare.pth").target is None
    bare = tiny_detector(weights=str(tmp_path / "bare.pth"))
    assert torch.equal(bare.target.cls_token, source.online.cls_token)
    with pytest.raises(CheckpointError, match=r"holds no optimiser state .* detector\.weights="):
        bare.import_training(str(tmp_path / "bare.pth"))
    with pytest.raises(CheckpointError, match=r"online network: .* tensors fit; .*of another shape"):
        create_detector("fsfm_pretrain", {"name": "fsfm_vit_tiny_patch16", "img_size": 32, "patch_size": 8,
                                          "embed_dim": 48, "depth": 2, "num_heads": 4}, weights=str(file))  # fmt: skip
    with pytest.raises(ConfigError, match=r"Detector fsfm_pretrain trains the encoders fsfm_vit_\*"):
        create_detector("fsfm_pretrain", {"name": "timm", "model": "resnet10t"})
    with pytest.raises(CheckpointError, match="is no run folder"):
        export.export(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("reference", ["hf-hub:someone/models/vit/checkpoint-0.pth", "published"])
def test_the_target_is_fetched_beside_the_online_network(published, monkeypatch, reference):
    source, file = published
    asked = []

    def fetch(repo, name):
        asked.append((repo, name))
        return file.with_name(Path(name).name)

    facts = PublishedWeights("published", "fsfm_vit_base_patch16", "someone/models", "vit/checkpoint-0.pth")
    monkeypatch.setattr("backbones.weights._download", fetch)
    monkeypatch.setitem(PUBLISHED, "published", facts)
    detector = tiny_detector(weights=reference)
    assert sorted(asked) == [("someone/models", f"vit/checkpoint-{which}0.pth") for which in ("", "te-")]
    assert torch.equal(detector.target.cls_token, source.target.cls_token)
    assert not torch.equal(detector.target.cls_token, detector.online.cls_token)


# ------------------------------------------------------------------------------------------------ fine-tuning


@pytest.mark.parametrize("detector", ["fsfm", "linear_probe"])
def test_fine_tuning_takes_encoder_and_statistics_from_the_run_folder(finished, toy_config, session, detector, helpers):
    options = ["detector.name=fsfm"] if detector == "fsfm" else ["detector={name: linear_probe}"]
    made = session(*options, f"backbone={BACKBONE}", f"backbone.weights={finished}", "data.normalize=backbone")
    assert (made.inputs.mean, made.inputs.std) == read_statistics(finished / STATISTICS_FILE)
    best = helpers.final_weights(finished, "best")
    encoder = made.detector.backbone
    for name, value in encoder.state_dict().items():
        if not name.startswith(("head", "fc_norm")):
            assert torch.equal(value, best[f"online.{name}"]), name
    assert made.train_and_test(resume=False) == 0


def test_other_heads_are_noticed(finished):
    with pytest.raises(CheckpointError, match="trained with 4 attention heads; set num_heads=4"):
        create_backbone(
            "fsfm_vit_tiny_patch16",
            img_size=32,
            patch_size=8,
            embed_dim=48,
            depth=2,
            num_heads=6,
            weights=str(finished),
        )


def test_pre_training_goes_on_from_an_encoder(finished):
    """``backbone.weights``: the encoder is kept, decoders and heads are fresh, the target is a copy."""
    backbone = {"name": "fsfm_vit_tiny_patch16", "img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2,
                "num_heads": 4, "weights": str(finished)}  # fmt: skip
    detector = create_detector("fsfm_pretrain", backbone)
    loaded = create_backbone(**backbone)
    for key, value in loaded.state_dict().items():
        if not key.startswith(("fc_norm", "head")):
            assert torch.equal(detector.online.state_dict()[key], value), key
    assert torch.equal(detector.target.blocks[0].mlp.fc1.weight, loaded.blocks[0].mlp.fc1.weight)
    assert math.isclose(detector.online.mask_token.std().item(), 0.02, rel_tol=0.4)
