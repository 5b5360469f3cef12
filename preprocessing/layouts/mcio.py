"""The four domains of the MCIO protocol (MSU-MFSD, CASIA-FASD, Replay-Attack, OULU-NPU) and CelebA-Spoof.

``split`` is the release's own; the protocol's lists are in ``few_shot.py``. Attack types are read from names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.errors import DataError
from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Remark
from preprocessing.layouts.fas import Domain, PartitionedDomain, first
from preprocessing.layouts.files import Found, absent, each, find_images, find_videos, place, present, read_list
from preprocessing.layouts.fsfm_tree import FsfmTree

HINT = "It comes with the dataset and decides what is train and what is test."
CLIENT = r"client(\d{3})"


@LAYOUTS.register("MSU-MFSD")
class MSU(Domain):
    """MSU-MFSD: 70 live and 210 attack videos by laptop and Android phone."""

    name = "MSU-MFSD"
    home = "www.cse.msu.edu/rgroups/biometrics"
    tree = """
        scene01/real/real_client001_android_SD_scene01.mp4
        scene01/attack/attack_client001_android_SD_ipad_video_scene01.mp4
        train_sub_list.txt  # subjects' numbers
        test_sub_list.txt
    """
    domain = "msu"
    classes = {"msu_live": 0, "msu_spoof": 1}
    official = {("msu_live", "all"): 70, ("msu_spoof", "all"): 210}

    def raw(self, root: Path) -> Iterator[Item | Remark]:
        """Subjects of ``train_sub_list.txt`` and ``test_sub_list.txt``, label by folder ``real`` or ``attack``."""
        partition_of: dict[int, str] = {}
        for partition in ("train", "test"):
            path = root / f"{partition}_sub_list.txt"
            for line in read_list(path, self.name, HINT):
                if not line.isdecimal():
                    raise DataError(f"{path}: expected a subject's number a line, found '{line[:80]}'.")
                partition_of[int(line)] = partition

        def item(found: Found) -> Item | Remark:
            subject = int(first(CLIENT, found.name) or -1)
            kind = next((part for part in found.inner if part in ("real", "attack")), None)
            if kind is None or subject not in partition_of:
                reason = "its subject is in neither list" if kind else "not in a folder real or attack"
                return Remark("left out", place(found.path, root), reason)
            return self.item(partition_of[subject], kind == "attack", found.name, found.source)

        yield from each(find_videos(root, root, ignore={".face", ".txt", ".pdf"}), item)

    def facts(self, name: str, is_attack: bool, partition: str) -> dict[str, Any]:
        """See ``Domain.facts``."""
        return {"subject": first(CLIENT, name), **({"attack": first(r"SD_(\w+?)_scene", name)} if is_attack else {})}


@LAYOUTS.register("CASIA-FASD")
class CASIA(PartitionedDomain):
    """CASIA-FASD: 50 subjects, 3 live and 9 attack videos each (warped photo, cut photo, video)."""

    name = "CASIA-FASD"
    home = "www.cbsr.ia.ac.cn"
    tree = """
        train_release/1/1.avi  # 1, 2, HR_1 are live, the others attacks
        test_release/1/HR_4.avi
    """
    domain = "casia"
    classes = {"casia_live": 0, "casia_spoof": 1}
    official = {("casia_live", "all"): 150, ("casia_spoof", "all"): 450}
    partitions = {"train": "train_release", "test": "test_release"}
    live = ("1", "2", "HR_1")
    attacks = {
        **dict.fromkeys(("3", "4", "HR_2"), "warped_photo"),
        **dict.fromkeys(("5", "6", "HR_3"), "cut_photo"),
        **dict.fromkeys(("7", "8", "HR_4"), "video"),
    }

    def read_name(self, found: Found) -> tuple[str, bool] | Remark:
        """``train_release/SUBJECT/1.avi`` and so on; the number says what it is."""
        if len(found.inner) != 1 or found.name not in (*self.live, *self.attacks):
            return Remark("left out", "/".join(found.path.parts[-3:]), "not SUBJECT/{1..8, HR_1..HR_4}.avi")
        return f"{found.inner[0]}_{found.name}", found.name not in self.live

    def facts(self, name: str, is_attack: bool, partition: str) -> dict[str, Any]:
        """See ``Domain.facts``. Both partitions count their subjects from 1."""
        subject, _, number = name.partition("_")
        return {"subject": f"{partition}_{subject}", **({"attack": self.attacks.get(number, "")} if is_attack else {})}


@LAYOUTS.register("Replay-Attack")
class ReplayAttack(PartitionedDomain):
    """Replay-Attack: 140 live and 700 attack videos in train and test; devel is val, enrolment is not used."""

    name = "Replay-Attack"
    home = "www.idiap.ch/en/scientific-research/data/replayattack"
    tree = """
        train/real/client001_session01_webcam_authenticate_adverse_1.mov
        train/attack/fixed/attack_highdef_client001_session01_highdef_photo_adverse.mov
        devel/real/client003_session01_webcam_authenticate_adverse_1.mov
        test/attack/hand/attack_print_client009_session01_highdef_photo_adverse.mov
    """
    domain = "replay"
    classes = {"replay_live": 0, "replay_spoof": 1}
    official = {("replay_live", "all"): 140, ("replay_spoof", "all"): 700}

    partitions = {"train": "train", "devel": "devel", "test": "test"}

    def read_name(self, found: Found) -> tuple[str, bool] | Remark:
        """``train/real/*.mov``, ``train/attack/{fixed,hand}/*.mov``; a name is its last two path parts joined."""
        kind = found.inner[0] if found.inner else ""
        if kind not in ("real", "attack"):
            return Remark("left out", "/".join(found.path.parts[-2:]), "not in a folder real or attack")
        return f"{found.inner[-1]}_{found.name}", kind == "attack"

    def facts(self, name: str, is_attack: bool, partition: str) -> dict[str, Any]:
        """See ``Domain.facts``."""
        attack = {"attack": first(r"attack_([a-z]+)_", name), "support": name.partition("_")[0]}
        return {"subject": first(CLIENT, name), **(attack if is_attack else {})}


@LAYOUTS.register("OULU-NPU")
class OULU(PartitionedDomain):
    """OULU-NPU: 720 live and 2,880 attack videos in train and test by six phones; Dev_files is val."""

    name = "OULU-NPU"
    home = "sites.google.com/site/oulunpudatabase"
    tree = """
        Train_files/1_1_01_1.avi  # the last number: 1 is live
        Dev_files/1_1_21_2.avi
        Test_files/1_1_36_5.avi
    """
    domain = "oulu"
    classes = {"oulu_live": 0, "oulu_spoof": 1}
    official = {("oulu_live", "all"): 720, ("oulu_spoof", "all"): 2880}
    partitions = {"train": "Train_files", "devel": "Dev_files", "test": "Test_files"}
    attacks = {"2": "print", "3": "print", "4": "video", "5": "video"}

    def read_name(self, found: Found) -> tuple[str, bool] | Remark:
        """``Train_files/PHONE_SESSION_USER_TYPE.avi``; type 1 is live."""
        if not first(r"^(\d_\d_\d\d_[1-5])$", found.name):
            return Remark("left out", "/".join(found.path.parts[-2:]), "not PHONE_SESSION_USER_TYPE.avi")
        return found.name, not found.name.endswith("_1")

    def facts(self, name: str, is_attack: bool, partition: str) -> dict[str, Any]:
        """See ``Domain.facts``."""
        attack = {"attack": self.attacks.get(name[-1:], "")} if is_attack else {}
        return {"subject": first(r"_(\d\d)_", name), "session": first(r"^\d_(\d)_", name), **attack}


@LAYOUTS.register("CelebA-Spoof")
class CelebASpoof(Domain):
    """CelebA-Spoof: photographs; the fourth source of MCIO is a list of 40,000 live and 40,000 attack images of it."""

    name = "CelebA-Spoof"
    home = "github.com/ZhangYuanhan-AI/CelebA-Spoof"
    tree = """
        Data/train/563/spoof/348234.jpg
        Data/train/563/live/096546.jpg
        Data/test/10001/live/494405.png
        txt/celeb_real_train.txt  # the lists of few_shot_fas; without them everything is taken
        txt/celeb_fake_train.txt
    """
    domain = "celeb"
    classes = {"celeb_live": 0, "celeb_spoof": 1}
    official = {("celeb_live", "all"): 40000, ("celeb_spoof", "all"): 40000}
    frames = "all"
    fsfm = FsfmTree(
        stem=lambda entry, number, position: entry.video,
        folders=lambda entry: (f"frame/celeb/{entry.folder.rpartition('/')[2]}",),
    )

    def raw(self, root: Path) -> Iterator[Item | Remark]:
        """``Data/{train,test}/ID/{live,spoof}/NUMBER.jpg``; what ``txt/celeb_*_train.txt`` lists, if it is there."""
        folders, missing = present(self.name, root, ("Data/train", "Data/test"))
        yield from missing
        listed = self._listed(root)
        seen: set[str] = set()
        unlisted = 0
        for folder in folders:
            for found in find_images(root, root / folder, ignore={".txt"}):
                if isinstance(found, Remark):
                    yield found
                    continue
                name = found.flat_name  # 563_spoof_348234
                kind = found.inner[-1] if found.inner else ""
                if kind not in ("live", "spoof"):
                    yield Remark("left out", place(found.path, root), "not in a folder live or spoof")
                elif listed and name not in listed:
                    unlisted += 1
                else:
                    seen.add(name)
                    yield self.item(folder.rpartition("/")[2], kind == "spoof", name, found.source)
        if unlisted:
            yield Remark("left out", "Data", f"{unlisted} images that the lists in txt do not name")
        yield from absent(listed, seen, "txt/celeb_{real,fake}_train.txt")

    def _listed(self, root: Path) -> set[str]:
        paths = [root / "txt" / f"celeb_{kind}_train.txt" for kind in ("real", "fake")]
        if not any(path.is_file() for path in paths):
            return set()
        lines = [line for path in paths for line in read_list(path, self.name, HINT)]
        return {Path(line.replace("\\", "/")).stem for line in lines}

    def facts(self, name: str, is_attack: bool, partition: str) -> dict[str, Any]:
        """See ``Domain.facts``."""
        return {"subject": name.partition("_")[0]}
