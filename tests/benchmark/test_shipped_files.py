"""Every YAML file that is shipped validates, can build its plugins, and holds nobody's disk paths."""

from __future__ import annotations

import re

import pytest
import torch

from benchmark.config import CONFIG_DIR, Settings, checked_options, options_model
from benchmark.data.cards import DatasetCard, builtin_cards, parse_word
from benchmark.data.index import LABELS
from benchmark.errors import ConfigError
from benchmark.protocols import Protocol, builtin_protocols, get_protocol
from benchmark.registry import AUGMENTATIONS, BACKBONES, DATASETS, DETECTORS, MASKINGS
from benchmark.schema import load_run_config
from training.pipeline import build_detector
from training.settings import without_initial_weights

RUNS = sorted(CONFIG_DIR.glob("*.yaml"))
CARDS = sorted((CONFIG_DIR / "datasets").glob("*.yaml"))
PROTOCOLS = sorted((CONFIG_DIR / "protocols").glob("*.yaml"))
ALL = sorted(CONFIG_DIR.rglob("*.y*ml"))


def test_no_shipped_file_is_outside_the_tested_folders():
    assert sorted([*RUNS, *CARDS, *PROTOCOLS]) == ALL
    assert len(RUNS) >= 4
    assert len(CARDS) >= 10
    assert len(PROTOCOLS) >= 2


def name_of(path):
    return path.relative_to(CONFIG_DIR).as_posix()


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_no_absolute_path(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        assert not re.search(r"(^|[\s\"'\[{:,=])(/|~/|[A-Za-z]:\\)[\w.]", line), f"{path}:{number}: {line}"


@pytest.mark.parametrize("path", RUNS, ids=name_of)
def test_run_validates_with_its_plugins_options(path):
    config, settings = load_run_config(path)
    detector = DETECTORS.get(config.detector.name)
    detector.Config.model_validate(config.detector.options)
    if config.backbone is not None:
        checked_options(
            BACKBONES.get(config.backbone.name),
            config.backbone.options,
            settings.section("backbone"),
            prefix="backbone",
        )
    checked_options(
        AUGMENTATIONS.get(config.augmentation.name),
        config.augmentation.options,
        settings.section("augmentation"),
        prefix="augmentation",
        skip=("size", "mean"),
    )


@pytest.mark.parametrize("path", RUNS, ids=name_of)
def test_run_can_be_built(path):
    """Every network of full size, on a device that takes no memory; no weights are fetched."""
    config, settings = load_run_config(path)
    with torch.device("meta"):
        detector = build_detector(without_initial_weights(config), settings)
    assert any(parameter.requires_grad for parameter in detector.parameters())
    assert config.data.image_size in (None, detector.input_size)


@pytest.mark.parametrize("path", RUNS, ids=name_of)
def test_model_selection_of_shipped_runs_uses_validation_data(path):
    config, _ = load_run_config(path)
    assert config.evaluation.select.metric != "last"
    assert not config.data.allow_overlap
    assert not config.evaluation.allow_missing


def test_the_published_fsfm_recipe_is_what_the_paper_says():
    config, _ = load_run_config(CONFIG_DIR / "fsfm.yaml")
    assert (config.optimizer.name, config.optimizer.base_lr, config.optimizer.weight_decay) == ("adamw", 2.5e-4, 0.05)
    assert (config.optimizer.layer_decay, config.optimizer.betas, config.optimizer.eps) == (0.65, (0.9, 0.999), 1e-8)
    assert (config.schedule.epochs, config.schedule.warmup_epochs, config.schedule.min_lr) == (10, 5, 1e-6)
    assert (config.trainer.batch_size, config.trainer.clip_grad) == (64, None)
    assert config.backbone.options["drop_path_rate"] == 0.1
    assert config.detector.options == {"label_smoothing": 0.1, "mixup": 0.8, "cutmix": 1.0}
    assert (config.data.image_size, config.data.normalize, config.data.eval_transform) == (224, "backbone", "direct")
    assert (config.data.frames.train, config.data.frames.train_real) == (32, 128)
    assert config.evaluation.select.metric == "loss"


@pytest.mark.parametrize(
    ("name", "epochs", "micro_batch"), [("", 400, 256), ("_small", 600, 512), ("_base", 600, 256), ("_large", 600, 256)]
)
def test_the_published_pre_training_recipes_are_what_the_scripts_say(name, epochs, micro_batch):
    config, _ = load_run_config(CONFIG_DIR / f"fsfm_pretrain{name}.yaml")
    assert (config.optimizer.name, config.optimizer.base_lr, config.optimizer.weight_decay) == ("adamw", 1.5e-4, 0.05)
    assert (config.optimizer.betas, config.trainer.clip_grad, config.schedule.min_lr) == ((0.9, 0.95), 1.0, 0.0)
    assert (config.schedule.epochs, config.schedule.warmup_epochs, config.trainer.batch_size) == (epochs, 40, 4096)
    assert config.trainer.batch_size / config.trainer.accumulate / 4 == micro_batch  # on 4 GPUs
    assert (config.data.normalize, config.data.frames.train, config.augmentation.name) == ("dataset", "all", "none")
    options = DETECTORS.get("fsfm_pretrain").Config.model_validate(config.detector.options)
    assert options == DETECTORS.get("fsfm_pretrain").Config.model_validate(
        {"masking": {"name": "crfr_p", "region_draw": "per_batch"}}
    )
    assert (options.mask_ratio, options.region_weight, options.contrast_weight) == (0.75, 0.007, 0.1)


@pytest.mark.parametrize("path", CARDS, ids=name_of)
def test_dataset_card_validates(path):
    card = Settings.from_file(path).validate(DatasetCard)
    assert card.title
    assert card.terms
    checked_options(
        DATASETS.get(card.reader.name), card.reader.options, prefix="reader", skip=("word", "paths", "labels")
    )
    for subset in card.subsets.values():
        for cls in subset.classes:
            assert LABELS.get(cls, card.labels.get(cls)) == 1, f"{cls} is not a known fake class"


def test_no_spelling_means_two_datasets():
    seen: dict[str, str] = {}
    for card in builtin_cards().values():
        for spelling in (card.name, *card.aliases):
            assert seen.setdefault(spelling.lower(), card.name) == card.name
        subsets: dict[str, str] = {}
        for name, subset in card.subsets.items():
            for spelling in (name, *subset.aliases):
                assert subsets.setdefault(spelling.lower(), name) == name, card.name


@pytest.mark.parametrize("path", PROTOCOLS, ids=name_of)
def test_protocol_validates_and_its_words_are_known(path, tmp_path):
    protocol = Settings.from_file(path).validate(Protocol)
    assert get_protocol(protocol.name) == protocol
    assert protocol.title
    for text in (*protocol.train, *(protocol.val or ()), *protocol.test):
        parse_word(text, tmp_path)


def test_protocols_from_files_and_unknown_names(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ntrain: [FF++]\ntest: [CDFv2]\nselect: {metric: loss}\n")
    protocol = get_protocol(str(path))
    assert (protocol.train, protocol.test, protocol.select.metric) == (["FF++"], ["CDFv2"], "loss")
    with pytest.raises(
        ConfigError, match=r"No protocol named 'dfdd'\. Closest: dfd, diff, df40\. See all: python -m benchmark list"
    ):
        get_protocol("dfdd")
    path.write_text("name: mine\ntrain: [FF++]\ntests: [CDFv2]\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml, line 3: tests is not a known key\. Did you mean test\?"):
        get_protocol(str(path))
    assert "mine" not in builtin_protocols()


@pytest.mark.parametrize("registry", [BACKBONES, DETECTORS, AUGMENTATIONS, MASKINGS, DATASETS], ids=lambda r: r.kind)
def test_every_built_in_plugin_loads_and_says_what_it_is(registry):
    built_in = [entry for entry in registry.entries() if entry.module.startswith(registry.package)]
    assert built_in
    for entry in built_in:
        assert registry.get(entry.name) is not None
        assert len(entry.summary) > 15, entry
        assert entry.summary.endswith("."), entry
        assert len(entry.summary) < 110, entry


@pytest.mark.parametrize("registry", [BACKBONES, AUGMENTATIONS, MASKINGS, DATASETS], ids=lambda r: r.kind)
def test_every_plugin_option_has_a_type(registry):
    for entry in registry.entries():
        if entry.module.startswith(registry.package):
            model = options_model(registry.get(entry.name), skip=("word", "paths", "labels", "size", "mean"))
            assert all(info.annotation is not None for info in model.model_fields.values()), entry.name
