"""The networks, losses and update rules of FSFM pre-training against the reference's own numbers."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from backbones.fsfm_networks import OnlineNetwork, PretrainingShape, patchify, sincos_table
from benchmark import create_detector
from benchmark.build import create_backbone
from benchmark.schema import OptimizerConfig, ScheduleConfig
from detectors.contrastive import byol, info_nce, moco_v3, simclr, simsiam
from detectors.fsfm_pretrain import masked_mean, patch_errors, target_momentum, visible_patches
from detectors.masking import Masks, build_masking
from training.dataset_statistics import PixelSums
from training.optimizer import build_optimizer, set_learning_rate
from training.schedule import learning_rate

FORWARDS = ("forward_A", "forward_B_rawpix_nonzero_reppos")
TABLES = [("d48_g8", 48, 8), ("d384_g14", 384, 14), ("d512_g14", 512, 14), ("d1280_g16", 1280, 16)]


def read(shared: Path, name: str) -> tuple[dict[str, torch.Tensor], dict]:
    path = shared / "golden" / "fsfm_pretrain" / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        return load_file(path), {key: json.loads(value) for key, value in (file.metadata() or {}).items()}


def part(tensors, prefix):
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def detector_of(config, **options):
    backbone = {key: config[key] for key in ("img_size", "patch_size", "embed_dim", "depth", "num_heads")}
    networks = {
        "decoder_dim": config["decoder_embed_dim"],
        "decoder_depth": config["decoder_depth"],
        "decoder_heads": config["decoder_num_heads"],
        "rep_decoder_depth": config["rep_decoder_depth"],
        "rep_decoder_heads": config["rep_decoder_num_heads"],
        "projection_dim": config["projection_size"],
        "projection_hidden": config["projection_hidden_size"],
    }
    given = {"norm_pix": config["norm_pix_loss"], "mask_ratio": config["mask_ratio"], "networks": networks, **options}
    return create_detector("fsfm_pretrain", {"name": "fsfm_vit_tiny_patch16", **backbone}, **given)


def normalised(pixels, meta):
    mean, std = (torch.tensor(meta[key])[:, None, None] for key in ("mean", "std"))
    return (pixels.float() / 255 - mean) / std


@pytest.fixture(params=FORWARDS)
def case(request, shared):
    tensors, meta = read(shared, request.param)
    detector = detector_of(meta["config"])
    detector.online.load_state_dict(part(tensors, "online."))
    detector.target.load_state_dict(part(tensors, "target."))
    images = normalised(tensors["in.images_uint8"], meta)
    masks = Masks(tensors["in.img_mask"].bool(), tensors["in.region_mask"].bool())
    return detector, tensors, images, masks


def close(actual, expected, atol=1e-5):
    torch.testing.assert_close(actual.squeeze(), expected.squeeze(), atol=atol, rtol=1e-5)


def test_forward_of_both_networks(case):
    detector, golden, images, masks = case
    online = detector.online
    visible = visible_patches(masks.hidden, detector.patches - detector.hidden)
    latent = online.encode(images, visible)
    close(latent[:, 0], golden["out.latent_cls"])
    on_grid = torch.zeros_like(golden["out.latent_visible_on_grid"])
    on_grid.scatter_(1, visible[..., None].expand_as(latent[:, 1:]), latent[:, 1:].detach())
    close(on_grid, golden["out.latent_visible_on_grid"])
    tokens = online.represent(latent, visible)
    close(tokens, golden["out.rep_decoder_tokens"])
    close(online.projector(tokens.mean(1)), golden["out.projector"])
    close(online.predictor(online.projector(tokens.mean(1))), golden["out.predictor_raw"])
    output = online.view(images, visible)
    close(output.features, golden["out.features_cl"])
    close(output.pixels, golden["out.pred"], 1e-4)
    shown = golden["out.patchified_images"]
    close(patchify(images, detector.patch_size)[:, : shown.shape[1]], shown)
    target = detector.target
    close(target.represent(target.encode(images)), golden["out.target_rep_decoder_tokens"])
    close(target(images), golden["out.target_features"])
    counts = [sum(p.numel() for p in network.parameters()) for network in (online, target)]
    assert counts == golden["info.param_counts_online_target"].tolist()


def test_losses_and_gradients_of_one_step(case, monkeypatch):
    detector, golden, images, masks = case
    monkeypatch.setattr(detector, "masks", lambda batch: masks)
    losses = detector.training_step({"image": images})
    for name, key in (("rec_all", "loss_rec_all"), ("rec_sfr", "loss_rec_sfr"), ("cl", "cl_simsiam")):
        close(losses[name], golden[f"out.{key}"])
    close(losses["loss"], golden["out.total_loss"])
    losses["loss"].backward()
    gradients = {name: p.grad for name, p in detector.online.named_parameters() if p.requires_grad}
    expected = part(golden, "grad.")
    assert expected
    for name, gradient in expected.items():
        close(gradients[name], gradient, 1e-4)
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    close(norm, golden["out.grad_norm_total"], 1e-4)
    assert all(parameter.grad is None for parameter in detector.target.parameters())


def test_other_comparisons_of_the_same_features(case):
    _, golden, _, _ = case
    online, target = golden["out.features_cl"], golden["out.target_features"]
    close(byol(online, target), golden["out.cl_byol"])
    close(info_nce(online, target), golden["out.cl_infonce_all"])
    close(simclr(online, target), golden["out.cl_simclr_all"])


def test_the_target_follows_by_a_thousandth_step(case):
    detector, golden, _, _ = case
    detector.after_micro_batch(0, 10)  # momentum 0.996 at the start
    expected = part(golden, "ema_after_one_step_m0.996.")
    assert expected
    state = detector.target.state_dict()
    for name, value in expected.items():
        close(state[name], value, 1e-6)


LOSSES = {
    "simsiam": simsiam,
    "byol": byol,
    "infonce_all": info_nce,
    "infonce_positive": lambda p, z: info_nce(p, z, "positive"),
    "mocov3": moco_v3,
    "simclr_all": simclr,
    "simclr_positive": lambda p, z: simclr(p, z, "positive"),
}


@pytest.mark.parametrize("kind", ["raw", "unit"])
@pytest.mark.parametrize("name", LOSSES)
def test_contrastive_losses_and_gradients(golden, name, kind):
    data = golden("fsfm_contrastive_losses.safetensors")
    views = data[f"in.features_{kind}"].clone().requires_grad_()
    loss = LOSSES[name](views[:, 0], views[:, 1])
    torch.testing.assert_close(loss, data[f"out.{kind}.{name}"].squeeze(), rtol=1e-5, atol=1e-7)
    loss.backward()
    torch.testing.assert_close(views.grad, data[f"out.{kind}.{name}.grad"], rtol=1e-5, atol=1e-5)


def test_relations_between_the_losses_on_unit_features():
    torch.manual_seed(0)
    p, z = (torch.nn.functional.normalize(torch.randn(6, 16), dim=1) for _ in range(2))
    close(info_nce(p, z), moco_v3(p, z))
    close(simsiam(p, z), (byol(p, z) - 2) / 4)


def test_the_reference_loop_step_by_step(shared, monkeypatch):
    """18 micro-batches, accumulated in pairs: losses, rates, momentum and both final networks (spec 13.4)."""
    tensors, meta = read(shared, "train_A_simsiam_ema")
    final, losses, rates, momenta = run_loop(tensors, meta, monkeypatch)
    expected = tensors["out.per_step_loss_recall_recsfr_cl_lr"]
    torch.testing.assert_close(torch.tensor(losses), expected[:, :4].float(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        torch.tensor(rates, dtype=torch.float64), expected[::2, 4].double(), atol=1e-9, rtol=1e-6
    )
    torch.testing.assert_close(
        torch.tensor(momenta, dtype=torch.float64), tensors["out.momentum_schedule"].double(), atol=0, rtol=1e-6
    )
    for name, value in part(tensors, "final_target.").items():
        close(final.target.state_dict()[name], value, 1e-5)
    for name, value in part(tensors, "final_online.").items():
        close(final.online.state_dict()[name], value, 5e-4)


def test_a_frozen_target_stays_bit_for_bit(shared, monkeypatch):
    tensors, meta = read(shared, "train_A_simsiam_ema")
    final, _, _, _ = run_loop(tensors, meta, monkeypatch, target_update="frozen")
    for name, value in final.target.state_dict().items():
        assert torch.equal(value, tensors[f"init_online.{name}"]), name


def run_loop(tensors, meta, monkeypatch, **options):
    """The reference's epoch loop with its images and masks, through the detector's own hooks."""
    run, detector = meta["run"], detector_of(meta["config"], **options)
    detector.online.load_state_dict(part(tensors, "init_online."))
    detector._copy_online_to_target(detector.online)
    settings = OptimizerConfig(lr=run["lr"], weight_decay=run["weight_decay"], betas=(0.9, 0.95))
    groups = detector.parameter_groups(settings)
    assert [len(group["params"]) for group in groups] == tensors["info.n_params_nodecay_decay"].tolist()
    schedule = ScheduleConfig(epochs=run["epochs"], warmup_epochs=run["warmup_epochs"], min_lr=run["min_lr"])
    engine = LoopEngine(detector, build_optimizer(groups, settings, run["lr"]))
    engine.total_steps = run["epochs"] * run["batches"] // run["accum_iter"]
    losses, rates, momenta = [], [], []
    original = detector.training_step
    monkeypatch.setattr(detector, "masks", lambda batch: batch["masks"])
    monkeypatch.setattr(detector, "training_step", lambda batch: note(losses, original(batch)))
    for epoch in range(run["epochs"]):
        for first in range(0, run["batches"], run["accum_iter"]):
            rate = learning_rate(epoch + first / run["batches"], run["lr"], schedule)
            set_learning_rate(engine.optimizer, rate)
            rates.append(rate)
            numbers = range(first, first + run["accum_iter"])
            momenta += [
                target_momentum(epoch * run["batches"] + n, run["epochs"] * run["batches"], run["t_momentum"])
                for n in numbers
            ]
            batches = [
                {
                    "image": normalised(tensors["in.images_uint8"][n], meta),
                    "masks": Masks(*(tensors[f"in.{kind}_mask"][epoch, n].bool() for kind in ("img", "region"))),
                }
                for n in numbers
            ]
            detector.optimize(engine, batches)
            engine.step_number += 1
    return detector, losses, rates, momenta


def note(record, losses):
    record.append([losses[name].item() for name in ("loss", "rec_all", "rec_sfr", "cl")])
    return losses


class LoopEngine:
    """The trainer's part of a step, in its shortest form."""

    def __init__(self, detector, optimizer):
        self.detector, self.optimizer, self.step_number, self.total_steps = detector, optimizer, 0, 0

    def draw_alike(self):
        pass

    def forward(self, batch):
        return self.detector.training_step(batch)

    def backward(self, loss):
        loss.backward()

    def accumulating(self, last):
        return nullcontext()

    def step(self):
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


# ---------------------------------------------------------------------------------------------- architecture


@pytest.mark.parametrize("name", ["small_patch16", "base_patch16", "large_patch16", "huge_patch14"])
def test_keys_shapes_counts_and_optimiser_groups_are_the_published_ones(golden, name):
    facts = golden("fsfm_state_dict_keys.json")[f"fsfm_vit_{name}"]
    with torch.device("meta"):
        detector = create_detector("fsfm_pretrain", f"fsfm_vit_{name}")
    for network, keys in ((detector.online, facts["online"]), (detector.target, facts["target"])):
        assert {key: list(value.shape) for key, value in network.state_dict().items()} == keys
        assert list(network.state_dict()) == list(keys), "order"
    info = facts["info"]
    trained = [p for p in detector.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == info["trainable_online"]
    assert sum(p.numel() for p in detector.online.parameters()) == info["params_online"]
    assert sum(p.numel() for p in detector.target.parameters()) == info["params_target"]
    groups = detector.parameter_groups(OptimizerConfig(lr=1e-3))
    assert [len(group["params"]) for group in groups] == [info["no_decay_tensors"], info["decay_tensors"]]
    assert [group["weight_decay"] for group in groups] == [0.0, 0.05]


@pytest.mark.parametrize(("name", "width", "grid"), TABLES)
def test_sincos_tables(shared, name, width, grid):
    golden, _ = read(shared, "pos_embed")
    table = sincos_table(width, grid)[0]
    rows = golden[f"sincos_{name}.row_index"].long()
    torch.testing.assert_close(table[rows], golden[f"sincos_{name}.rows"], atol=1e-6, rtol=0)
    sums = torch.stack([table.double().sum(), table.double().abs().sum(), table.double().square().sum()])
    torch.testing.assert_close(sums, golden[f"sincos_{name}.sum_abs_sum_sq"].double(), atol=1e-2, rtol=1e-6)


def test_initial_state():
    torch.manual_seed(0)
    shape = PretrainingShape(decoder_depth=1)
    encoder = create_backbone("fsfm_vit_base_patch16", depth=2, img_size=64)
    online = OnlineNetwork(encoder, shape)
    online.initialise(keep_encoder=False)
    assert torch.equal(online.pos_embed, sincos_table(768, 4))
    assert torch.equal(online.decoder_pos_embed, sincos_table(512, 4))
    assert not online.rep_decoder_pos_embed.any()
    for name, module in online.named_modules():
        if isinstance(module, torch.nn.LayerNorm):
            assert module.eps == (1e-5 if name.startswith(("projector", "predictor")) else 1e-6), name
            assert bool((module.weight == 1).all())
            assert not module.bias.any()
    head = online.projector.projection_head[0].weight
    assert head.std().item() == pytest.approx((2 / (768 + 4096)) ** 0.5, rel=0.01)  # Xavier, not Kaiming's 0.0221
    qkv = online.blocks[0].attn.qkv.weight
    assert qkv.std().item() == pytest.approx((2 / (768 + 3 * 768)) ** 0.5, rel=0.02)
    assert online.mask_token.std().item() == pytest.approx(0.02, rel=0.15)


def test_the_target_starts_as_a_copy_and_sincos_can_be_asked_for():
    tiny = {
        "name": "fsfm_vit_tiny_patch16",
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 48,
        "depth": 1,
        "num_heads": 4,
    }
    detector = create_detector("fsfm_pretrain", tiny, networks={"rep_decoder_pos": "sincos"})
    assert torch.equal(detector.online.rep_decoder_pos_embed, sincos_table(48, 4))
    for name, value in detector.target.state_dict().items():
        assert torch.equal(value, detector.online.state_dict()[name]), name
    assert not any(p.requires_grad for p in detector.target.parameters())


# ---------------------------------------------------------------------------------------------- schedules, statistics


def test_rates_and_momenta_of_the_published_schedules(shared):
    data = json.loads((shared / "golden" / "fsfm_pretrain" / "schedules.json").read_text())
    for case in data["lr"]:
        schedule = ScheduleConfig(epochs=case["epochs"], warmup_epochs=case["warmup"], min_lr=case["min_lr"])
        for epoch, (rate, scaled) in zip(case["epoch_grid"], case["lr_and_lr_with_scale_0_3"], strict=True):
            assert learning_rate(epoch, case["lr"], schedule) == pytest.approx(rate, rel=1e-12, abs=1e-18)
            assert 0.3 * learning_rate(epoch, case["lr"], schedule) == pytest.approx(scaled, rel=1e-12, abs=1e-18)


def test_mean_learning_rates_of_the_published_log():
    """E = 800, 2.4e-3 at 4096, 2,904 micro-batches an epoch, accumulated by 4 (spec 13.10)."""
    schedule = ScheduleConfig(epochs=800, warmup_epochs=40)
    for epoch, logged in ((0, 2.9958677685950e-05), (400, 1.29662660747e-03)):
        rates = [learning_rate(epoch + 4 * step / 2904, 2.4e-3, schedule) for step in range(726)]
        assert sum(rates) / len(rates) == pytest.approx(logged, rel=1e-9)


def test_mean_and_std_of_a_dataset(golden, shared):
    data = golden("fsfm_mean_std.safetensors")
    images = data["in.dataset0_images_uint8_hwc"].movedim(-1, 1)
    sums = PixelSums()
    for batch in (images[:3], images[3:8]):  # the reference drops the last incomplete batch of 4
        sums.add(batch)
    mean, std = sums.normalization()
    torch.testing.assert_close(torch.tensor(mean), data["out.mean"], atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.tensor(std), data["out.std"], atol=1e-6, rtol=0)


def test_pixel_errors_by_hand():
    torch.manual_seed(1)
    images, predicted = torch.randn(2, 3, 8, 8), torch.randn(2, 4, 48)
    patch = images[1, :, 4:, :4].permute(1, 2, 0).flatten()  # patch 2 is below patch 0
    wanted = (patch - patch.mean()) / (patch.var(unbiased=True) + 1e-6).sqrt()
    close(patch_errors(predicted, images, 4, norm_pix=True)[1, 2], (predicted[1, 2] - wanted).square().mean())
    close(patch_errors(predicted, images, 4, norm_pix=False)[1, 2], (predicted[1, 2] - patch).square().mean())


TINY = {"name": "fsfm_vit_tiny_patch16", "img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}


def tiny_detector_and_batch():
    torch.manual_seed(2)
    batch = {
        "image": torch.randn(4, 3, 32, 32),
        "parsing": torch.randint(0, 11, (4, 32, 32), dtype=torch.uint8),
        "seed": torch.arange(4),
        "video": list("abcd"),
    }
    return create_detector("fsfm_pretrain", TINY).train(), batch


@pytest.mark.parametrize("name", ["crfr_p", "crfr_r", "frp", "fasking_i", "random"])
def test_the_step_is_one_graph_for_every_strategy(name):
    """No graph break (it would cost a synchronisation on a GPU), masks included, whatever the batch's strings are."""
    from torch._dynamo.testing import CompileCounter

    detector, batch = tiny_detector_and_batch()
    detector.masking = build_masking(name)
    counter = CompileCounter()
    compiled = torch.compile(detector.training_step, backend=counter, fullgraph=True)
    for shift in (0, 100):
        changed = {**batch, "seed": batch["seed"] + shift, "video": [f"{shift}{video}" for video in "abcd"]}
        torch.testing.assert_close(compiled(changed)["loss"], detector.training_step(changed)["loss"])
    assert counter.frame_count == 1


def test_mixed_precision_is_finite_and_close():
    detector, batch = tiny_detector_and_batch()
    full = detector.training_step(batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = detector.training_step(batch)
    mixed["loss"].backward()
    assert all(value.dtype == torch.float32 for value in mixed.values())
    for name in ("rec_all", "rec_sfr", "cl"):
        torch.testing.assert_close(mixed[name], full[name], atol=0.02, rtol=0.02)
    assert all(torch.isfinite(p.grad).all() for p in detector.online.parameters() if p.requires_grad)


def test_an_empty_region_costs_nothing():
    errors = torch.rand(3, 4, requires_grad=True)
    loss = masked_mean(errors, torch.zeros(3, 4, dtype=torch.bool))
    assert loss.item() == 0
    loss.backward()
    assert not errors.grad.any()
