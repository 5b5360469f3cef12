"""Talking faces with sound: DeepfakeTIMIT, RAVDESS and FakeAVCeleb.

Where the sound is becomes the fact ``audio`` (a path relative to the root; the video itself when it holds the sound).
Besides the official folders, 2D3MF's renamed copies are read: ``video/STEM-{0,1}.mp4`` with ``audio/STEM-{0,1}.wav``,
where the last token is the label. Speakers never cross splits; where there is no official split it follows from the
speaker's name (``split_of_group``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Layout, Remark, list_files
from preprocessing.layouts.files import (
    Found,
    each,
    find_image_folders,
    find_videos,
    place,
    present,
    split_of_group,
)  # fmt: skip

SOUND = {".wav", ".mp3", ".flac"}


class _Talking(Layout):
    renamed: ClassVar[tuple[str, str]]  # class strings of a renamed copy's labels 0 and 1

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """See ``Layout.find``."""
        return self._renamed(root) if (root / "video").is_dir() else self.official_tree(root)

    def official_tree(self, root: Path) -> Iterator[Item | Remark]:
        """Items of the official folders."""
        raise NotImplementedError

    def speaker(self, tokens: list[str]) -> str:
        """Who speaks, from the tokens of a renamed copy's stem without its label."""
        return tokens[0]

    def split(self, speaker: str) -> str:
        """Split of a speaker."""
        return split_of_group(speaker)

    def _renamed(self, root: Path) -> Iterator[Item | Remark]:
        return each(find_videos(root, root / "video"), partial(self._renamed_item, root))

    def _renamed_item(self, root: Path, found: Found) -> Item | Remark:
        *tokens, label = found.name.split("-")
        if label not in ("0", "1") or not tokens or self.renamed[int(label)] not in self.classes:
            allowed = "-0" if len(self.classes) == 1 else "-0 (real) or -1 (fake)"
            return Remark("left out", place(found.path, root), f"its name does not end in {allowed}")
        speaker = self.speaker(tokens)
        facts = {"subject": speaker}
        for stem in (found.name, tokens[0]):
            if (root / "audio" / f"{stem}.wav").is_file():
                facts["audio"] = f"audio/{stem}.wav"
                break
        return found.item(self.renamed[int(label)], self.split(speaker), "video", found.name, facts)


@LAYOUTS.register("DeepfakeTIMIT")
class DeepfakeTIMIT(_Talking):
    """DeepfakeTIMIT: 320 swaps in lower and 320 in higher quality; real speech is VidTIMIT, put beside it."""

    name = "DeepfakeTIMIT"
    home = "zenodo.org/records/4068245"
    tree = """
        lower_quality/fadg0/sa1-video-fram1.avi
        higher_quality/fadg0/sa1-video-fram1.avi
        VidTIMIT/fadg0/video/sa1/001  # conradsanderson.id.au/vidtimit: the reals
        VidTIMIT/fadg0/audio/sa1.wav
    """
    classes = {"DFTIMIT_real": 0, "DFTIMIT_LQ_fake": 1, "DFTIMIT_HQ_fake": 1, "DFTIMIT_fake": 1}
    official = {("DFTIMIT_LQ_fake", "all"): 320, ("DFTIMIT_HQ_fake", "all"): 320}
    renamed = ("DFTIMIT_real", "DFTIMIT_fake")
    folders = {"lower_quality": "DFTIMIT_LQ_fake", "higher_quality": "DFTIMIT_HQ_fake"}

    def official_tree(self, root: Path) -> Iterator[Item | Remark]:
        """``{lower,higher}_quality/SPEAKER/SENTENCE-video-TARGET.avi``, ``VidTIMIT/SPEAKER/{video,audio}/SENTENCE``."""
        folders, missing = present(self.name, root, self.folders)
        yield from missing
        for folder in folders:
            yield from each(find_videos(root, root / folder, ignore=SOUND), partial(self._fake, root, folder))
        if (root / "VidTIMIT").is_dir():
            yield from self._real(root)
        else:
            yield Remark("missing", "VidTIMIT", "the real videos; DeepfakeTIMIT itself has none")

    def _fake(self, root: Path, folder: str, found: Found) -> Item:
        speaker = found.inner[0] if found.inner else ""
        facts = {"subject": speaker, **_sound_beside(root, found)}
        return found.item(self.folders[folder], self.split(speaker), folder, found.flat_name, facts)

    def _real(self, root: Path) -> Iterator[Item | Remark]:
        for speaker in sorted(path for path in (root / "VidTIMIT").iterdir() if (path / "video").is_dir()):
            frames = find_image_folders(root, speaker / "video", suffixes={"", ".jpg"})
            yield from each(frames, partial(self._sentence, root, speaker))

    def _sentence(self, root: Path, speaker: Path, found: Found) -> Item | Remark:
        sound = speaker / "audio" / f"{found.name}.wav"
        if not sound.is_file():
            return Remark("left out", place(found.path, root), "no sentence: it has no sound")
        facts = {"subject": speaker.name, "audio": place(sound, root)}
        video, split = f"{speaker.name}_{found.name}", self.split(speaker.name)
        return Item("DFTIMIT_real", split, "VidTIMIT", video, found.source, facts=facts)  # whole pictures, not crops


@LAYOUTS.register("RAVDESS")
class RAVDESS(_Talking):
    """RAVDESS: acted speech and song of 24 actors, all real, with emotions; 2D3MF's split by actor."""

    name = "RAVDESS"
    home = "zenodo.org/records/1188976"
    tree = """
        Actor_01/01-01-03-01-01-01-01.mp4  # 01-... with sound; 02-... is left out
    """
    classes = {"RAVDESS_real": 0}
    official = {("RAVDESS_real", "all"): 2452}
    renamed = ("RAVDESS_real", "")
    test_actors = ("05", "10", "16", "19")
    val_actors = ("11", "13", "18", "22")
    emotions = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")

    def official_tree(self, root: Path) -> Iterator[Item | Remark]:
        """``[...]/Actor_01/MM-CC-EE-II-SS-RR-AA.mp4``: MM 01 has sound, 02 is the same recording without it."""
        return each(find_videos(root, root, ignore=SOUND), partial(self._recording, root))

    def _recording(self, root: Path, found: Found) -> Item | Remark:
        fields = found.name.split("-")
        if len(fields) != 7 or not all(re.fullmatch(r"\d\d", value) for value in fields):
            return Remark("left out", place(found.path, root), "its name is not seven numbers")
        if fields[0] != "01":
            return Remark("left out", place(found.path, root), "without sound; the same recording is 01-...")
        code = int(fields[2])
        facts = {
            "subject": fields[6], "emotion": self.emotions[code - 1] if 0 < code <= 8 else fields[2],
            "intensity": int(fields[3]), "statement": int(fields[4]), "audio": place(found.path, root),
        }  # fmt: skip
        return found.item("RAVDESS_real", self.split(fields[6]), f"Actor_{fields[6]}", found.name, facts)

    def speaker(self, tokens: list[str]) -> str:
        """The seventh field is the actor."""
        return tokens[-1]

    def split(self, speaker: str) -> str:
        """Fixed actors."""
        return "test" if speaker in self.test_actors else "val" if speaker in self.val_actors else "train"


@LAYOUTS.register("FakeAVCeleb")
class FakeAVCeleb(_Talking):
    """FakeAVCeleb: real or fake video with real or fake sound; anything fake makes a video fake."""

    name = "FakeAVCeleb"
    home = "github.com/DASH-Lab/FakeAVCeleb"
    tree = """
        RealVideo-RealAudio/African/men/id00076/00109.mp4
        FakeVideo-RealAudio/African/men/id00076/00109_2.mp4
        RealVideo-FakeAudio/African/men/id00076/00109_fake.mp4
        FakeVideo-FakeAudio/African/men/id00076/00109_2_fake.mp4
    """
    folders = {
        "RealVideo-RealAudio": "FAVC_RealVideo-RealAudio_real",
        "RealVideo-FakeAudio": "FAVC_RealVideo-FakeAudio_fake",
        "FakeVideo-RealAudio": "FAVC_FakeVideo-RealAudio_fake",
        "FakeVideo-FakeAudio": "FAVC_FakeVideo-FakeAudio_fake",
    }
    classes = {**{cls: int(cls.endswith("_fake")) for cls in folders.values()}, "FAVC_fake": 1}
    official = {("FAVC_RealVideo-RealAudio_real", "all"): 500}
    renamed = ("FAVC_RealVideo-RealAudio_real", "FAVC_fake")

    def official_tree(self, root: Path) -> Iterator[Item | Remark]:
        """``FakeVideo-RealAudio/RACE/GENDER/id00076/00109.mp4``."""
        folders, missing = present(self.name, root, self.folders)
        yield from missing
        for folder in folders:
            yield from each(find_videos(root, root / folder, ignore=SOUND), partial(self._clip, root, folder))

    def _clip(self, root: Path, folder: str, found: Found) -> Item | Remark:
        subject = next((part for part in found.inner if re.fullmatch(r"id\d+", part)), "")
        if not subject:
            return Remark("left out", place(found.path, root), "not in the folder of a person (id00076)")
        facts = {
            "subject": subject, "video_fake": int("FakeVideo" in folder), "audio_fake": int("FakeA" in folder),
            "audio": place(found.path, root), **dict(zip(("race", "gender"), found.inner[:2], strict=False)),
        }  # fmt: skip
        return found.item(self.folders[folder], self.split(subject), folder, found.flat_name, facts)

    def speaker(self, tokens: list[str]) -> str:
        """The first token with ``id`` and digits."""
        return next((token for token in tokens if re.search(r"id\d+", token)), tokens[0])


def _sound_beside(root: Path, found: Found) -> dict[str, str]:
    """The sound file of a DeepfakeTIMIT video: the same stem, or its first token (the sentence)."""
    sounds = {path.stem: path for path, reason in list_files(found.path.parent, SOUND) if not reason}
    path = sounds.get(found.name) or sounds.get(found.name.split("-")[0])
    return {"audio": place(path if path else found.path, root)}
