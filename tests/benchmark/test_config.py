"""Configuration: what is read, what is refused, and that every refusal says where, what and what instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.build import create_backbone, create_detector
from benchmark.config import Settings, checked_options
from benchmark.errors import ConfigError, RegistryError
from benchmark.schema import RunConfig, load_run_config

PLAIN = """\
detector:
  name: fsfm
  mixup: 0.8
backbone:
  name: fsfm_vit_tiny_patch16
optimizer:
  lr: 1e-4
schedule:
  epochs: 50
"""


@pytest.fixture
def write(tmp_path):
    def make(text: str, name: str = "run.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return make


def message_of(path: Path, overrides: list[str] | None = None) -> str:
    with pytest.raises(ConfigError) as error:
        load_run_config(path, overrides)
    return str(error.value)


def test_unknown_key_names_file_line_and_nearest_key(write):
    path = write(PLAIN.replace("  lr: 1e-4", "  lr: 1e-4\n  wieght_decay: 0.1"))
    assert message_of(path) == (
        f"{path}, line 8: optimizer.wieght_decay is not a known key. Did you mean optimizer.weight_decay?"
    )


def test_unknown_top_level_key(write):
    path = write(PLAIN + "trainner: {}\n")
    assert message_of(path) == f"{path}, line 10: trainner is not a known key. Did you mean trainer?"


def test_unknown_key_without_a_near_one_lists_the_known(write):
    path = write(PLAIN + "evaluation: {qqqqq: 1}\n")
    assert message_of(path) == (
        f"{path}, line 10: evaluation.qqqqq is not a known key. Known: allow_missing, batch_size, metrics, select."
    )


def test_bad_value_shows_what_was_found_and_what_is_allowed(write):
    path = write(PLAIN + "data:\n  balance: equal\n")
    message = message_of(path)
    assert message.startswith(f"{path}, line 11: data.balance is 'equal'; allowed: ")
    for allowed in ("natural", "class", "manipulation"):
        assert f"'{allowed}'" in message


@pytest.mark.parametrize(
    ("line", "key", "found", "allowed"),
    [
        ("trainer: {batch_size: 0}", "trainer.batch_size", "0", "greater than or equal to 1"),
        ("trainer: {batch_size: many}", "trainer.batch_size", "'many'", "a valid integer"),
        ("data: {train: FF++}", "data.train", "'FF++'", "a valid list"),
        ("data: {frames: {test: none}}", "data.frames.test", "'none'", "'all'"),
        ("data: {frames: {train: 0}}", "data.frames.train", "0", "greater than or equal to 1"),
        ("data: {normalize: imagenett}", "data.normalize", "'imagenett'", "'imagenet'"),
        ("backbone: 3", "backbone", "3", "a valid dictionary"),
    ],
)
def test_each_bad_value_is_one_readable_line_per_allowed_form(write, line, key, found, allowed):
    text = PLAIN.replace("backbone:\n  name: fsfm_vit_tiny_patch16\n", "") if line.startswith("backbone") else PLAIN
    message = message_of(write(text + line + "\n"))
    assert all(f": {key} is {found}; allowed: " in part for part in message.splitlines()), message
    assert allowed in message


def test_missing_key(write):
    path = write("optimizer: {lr: 1e-4}\n")
    assert message_of(path) == f"{path}: detector is missing."


def test_all_problems_are_reported_at_once(write):
    path = write(PLAIN + "data: {balnce: class}\ntrainer: {seed: -1}\n")
    lines = message_of(path).splitlines()
    assert lines == [
        f"{path}, line 10: data.balnce is not a known key. Did you mean data.balance?",
        f"{path}, line 11: trainer.seed is -1; allowed: greater than or equal to 0.",
    ]


def test_cross_field_check_names_both_keys_and_the_rule(write):
    path = write(PLAIN.replace("  epochs: 50", "  epochs: 50\n  warmup_epochs: 60"))
    assert message_of(path) == (
        f"{path}, line 8: schedule.warmup_epochs is 60 but schedule.epochs is 50; warm-up must be shorter than the run."
    )


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("{epochs: 5, steps: 10}", "give either schedule.epochs or schedule.steps."),
        ("{}", "give either schedule.epochs or schedule.steps."),
        ("{epochs: 5, warmup_steps: 2}", "schedule.warmup_steps goes with schedule.steps; use warmup_epochs."),
        ("{steps: 5, warmup_epochs: 2}", "schedule.warmup_epochs goes with schedule.epochs; use warmup_steps."),
        ("{steps: 5, warmup_steps: 5}", "schedule.warmup_steps is 5 but schedule.steps is 5; warm-up must be shorter"),
    ],
)
def test_contradicting_schedules_are_refused(write, schedule, message):
    assert message in message_of(write(PLAIN.replace("schedule:\n  epochs: 50", f"schedule: {schedule}")))


def test_optimizer_needs_one_rate(write):
    message = message_of(write(PLAIN.replace("  lr: 1e-4", "  weight_decay: 0.1")))
    assert message.endswith("line 6: give optimizer.lr, or optimizer.base_lr (per 256 samples).")


def test_duplicate_key_names_both_lines(write):
    path = write(PLAIN + "optimizer:\n  lr: 1e-3\n")
    assert message_of(path) == f"{path}, line 10: optimizer is given twice (first at {path}, line 6)."


def test_duplicate_nested_key(write):
    path = write(PLAIN.replace("  lr: 1e-4", "  lr: 1e-4\n  lr: 2e-4"))
    assert message_of(path) == f"{path}, line 8: optimizer.lr is given twice (first at {path}, line 7)."


def test_broken_yaml_names_the_line(write):
    path = write(PLAIN + "data: [unclosed\n")
    assert message_of(path).startswith(f"{path}, line 11: not valid YAML (")


@pytest.mark.parametrize(("text", "found"), [("- a\n- b\n", "list"), ("just words\n", "str")])
def test_a_file_without_keys_is_refused(write, text, found):
    assert message_of(write(text)).endswith(f"expected keys and values at the top, found {found}.")


def test_missing_file_suggests_a_neighbour(write):
    path = write(PLAIN, "baseline.yaml")
    assert message_of(path.with_name("baselin.yaml")) == (
        f"No configuration file at {path.with_name('baselin.yaml')}. Did you mean baseline.yaml?"
    )


def test_a_folder_or_binary_file_is_no_configuration(write, tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_run_config(tmp_path)
    path = tmp_path / "picture.yaml"
    path.write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_run_config(path)


# ------------------------------------------------------------------ inheritance


def test_base_is_merged_below(write):
    write(PLAIN, "base.yaml")
    config, _ = load_run_config(write("base: base.yaml\noptimizer: {weight_decay: 0.3}\n"))
    assert (config.optimizer.lr, config.optimizer.weight_decay, config.schedule.epochs) == (1e-4, 0.3, 50)
    assert config.name == "run"


def test_base_is_one_level_only(write):
    write(PLAIN, "grandparent.yaml")
    write("base: grandparent.yaml\n", "parent.yaml")
    path = write("base: parent.yaml\n")
    message = message_of(path)
    assert message.startswith(f"{path}, line 1: base ")
    assert message.endswith("parent.yaml itself has a base; inheritance is one level.")


def test_missing_base_is_an_error(write):
    assert "No configuration file at" in message_of(write("base: nowhere.yaml\n" + PLAIN))


def test_plugin_section_is_replaced_when_the_name_changes(write):
    """Options of one backbone must not leak into another."""
    write(PLAIN.replace("patch16\n", "patch16\n  drop_path_rate: 0.3\n"), "base.yaml")
    config, _ = load_run_config(write("base: base.yaml\nbackbone: {name: timm, model: resnet18}\n"))
    assert config.backbone.options == {"model": "resnet18"}
    config, _ = load_run_config(write("base: base.yaml\nbackbone: {name: fsfm_vit_tiny_patch16, depth: 2}\n"))
    assert config.backbone.options == {"drop_path_rate": 0.3, "depth": 2}
    config, _ = load_run_config(write("base: base.yaml\nbackbone: {depth: 2}\n"))
    assert config.backbone.options == {"drop_path_rate": 0.3, "depth": 2}


def test_error_in_the_base_names_the_base(write):
    base = write(PLAIN + "data: {balnce: class}\n", "base.yaml")
    assert message_of(write("base: base.yaml\n")).startswith(f"{base}, line 10: data.balnce")


# ------------------------------------------------------------------ overrides


def test_overrides_win_and_scientific_notation_is_a_number(write):
    """YAML 1.1 reads 1e-4 as a string; the typed model must still see a number."""
    assert Settings({}).override("a=1e-4") is None
    config, _ = load_run_config(
        write(PLAIN), ["optimizer.lr=1e-3", "data.train=[FF++, DFDCP]", "trainer.clip_grad=null", "name=other"]
    )
    assert config.optimizer.lr == 1e-3
    assert config.data.train == ["FF++", "DFDCP"]
    assert config.trainer.clip_grad is None
    assert config.name == "other"


def test_scientific_notation_reaches_plugin_options():
    assert create_detector("fsfm", {"name": "fsfm_vit_tiny_patch16", "depth": 1}, mixup="8e-1").config.mixup == 0.8
    options = checked_options(_example, {"rate": "1e-4"}, prefix="example")
    assert options == {"rate": 1e-4}


def _example(rate: float = 0.5, *, kind: str = "a") -> None:
    """Target of ``checked_options``."""


def test_override_of_an_unknown_key_says_it_came_from_the_command_line(write):
    assert message_of(write(PLAIN), ["trainer.batchsize=3"]) == (
        "command line: trainer.batchsize is not a known key. Did you mean trainer.batch_size?"
    )


@pytest.mark.parametrize("assignment", ["optimizer.lr", "=3", " =3"])
def test_malformed_override(write, assignment):
    assert message_of(write(PLAIN), [assignment]) == (
        f"Override '{assignment}' is not of the form key=value, e.g. optimizer.lr=1e-4."
    )


def test_override_with_a_broken_value(write):
    assert message_of(write(PLAIN), ["data.train=[a, "]).startswith(
        "Override 'data.train=[a, ': the value is not valid YAML ("
    )


@pytest.mark.parametrize("name", ["..", "/abs/olute", "a/../../b", "", "."])
def test_a_run_name_cannot_leave_the_runs_folder(write, name):
    """``--overwrite`` deletes the run folder, so the name must not point anywhere else."""
    message = message_of(write(PLAIN), [f"name='{name}'"])
    assert message.startswith("command line: ")
    assert "run" in message


# ------------------------------------------------------------------ plugin options


def detector_from(path: Path):
    config, settings = load_run_config(path)
    backbone = {"name": config.backbone.name, **config.backbone.options}
    return create_detector(config.detector.name, backbone, settings, **config.detector.options)


def test_unknown_detector_option_names_file_and_line(write):
    path = write(PLAIN.replace("mixup: 0.8", "mixupp: 0.8"))
    with pytest.raises(ConfigError) as error:
        detector_from(path)
    assert str(error.value) == (f"{path}, line 3: detector.mixupp is not a known key. Did you mean detector.mixup?")


def test_bad_detector_option(write):
    path = write(PLAIN.replace("mixup: 0.8", "label_smoothing: 1.5"))
    with pytest.raises(ConfigError) as error:
        detector_from(path)
    assert str(error.value) == f"{path}, line 3: detector.label_smoothing is 1.5; allowed: less than 1."


def test_unknown_backbone_option_names_file_and_line(write):
    path = write(PLAIN.replace("patch16\n", "patch16\n  drop_pth_rate: 0.1\n"))
    with pytest.raises(ConfigError) as error:
        detector_from(path)
    assert str(error.value) == (
        f"{path}, line 6: backbone.drop_pth_rate is not a known key. Did you mean backbone.drop_path_rate?"
    )


def test_bad_backbone_option(write):
    path = write(PLAIN.replace("patch16\n", "patch16\n  depth: deep\n"))
    with pytest.raises(ConfigError) as error:
        detector_from(path)
    assert str(error.value).startswith(f"{path}, line 6: backbone.depth is 'deep'; allowed: a valid integer")


def test_impossible_dimensions_are_a_config_error(write):
    path = write(PLAIN.replace("patch16\n", "patch16\n  num_heads: 7\n"))
    with pytest.raises(ConfigError, match=r"backbone fsfm_vit_tiny_patch16: .* embed_dim 192 of num_heads 7"):
        detector_from(path)


def test_unknown_backbone_and_detector_names(write):
    with pytest.raises(
        RegistryError, match=r"No backbone named 'fsfm_vit_tny_patch16'\. Closest: fsfm_vit_tiny_patch16"
    ):
        detector_from(write(PLAIN.replace("tiny", "tny")))
    with pytest.raises(RegistryError, match=r"No detector named 'fsmf'\. Closest: fsfm"):
        detector_from(write(PLAIN.replace("name: fsfm\n", "name: fsmf\n")))


def test_detector_without_backbone_says_what_to_add():
    with pytest.raises(ConfigError, match=r"Detector fsfm needs a backbone: add 'backbone: \{name: \.\.\.\}'"):
        create_detector("fsfm")


def test_required_backbone_option():
    with pytest.raises(ConfigError, match=r"backbone\.model is missing"):
        create_backbone("timm")


def test_from_python_the_message_names_the_factory():
    with pytest.raises(ConfigError) as error:
        create_backbone("fsfm_vit_tiny_patch16", dept=2)
    assert "backbone.dept is not a known key. Did you mean backbone.depth?" in str(error.value)


def test_unknown_augmentation_option(toy_config):
    import torch

    from training.distributed import Processes
    from training.session import Session

    toy_config.write_text(toy_config.read_text() + "augmentation:\n  name: flip\n  flip_prop: 1\n")
    config, settings = load_run_config(toy_config)
    line = len(toy_config.read_text().splitlines())
    with pytest.raises(ConfigError) as error:
        Session(config, settings, Processes(0, 1, torch.device("cpu")))
    assert str(error.value) == (
        f"{toy_config}, line {line}: augmentation.flip_prop is not a known key. Did you mean augmentation.flip_prob?"
    )


def test_resolved_config_reads_back_to_the_same_run(write):
    import yaml

    config, _ = load_run_config(write(PLAIN))
    assert RunConfig.model_validate(yaml.safe_load(yaml.safe_dump(config.resolved()))) == config


def test_every_setting_has_a_sentence():
    """The sentences are the reference documentation of the settings."""
    from benchmark import schema
    from benchmark.config import Section

    sections = [
        item
        for item in vars(schema).values()
        if isinstance(item, type) and issubclass(item, Section) and item is not Section
    ]
    assert len(sections) >= 9
    missing = [
        f"{section.__name__}.{name}"
        for section in sections
        for name, info in section.model_fields.items()
        if not info.description and not (isinstance(info.annotation, type) and issubclass(info.annotation, Section))
    ]
    assert missing == []
