"""The three domains of the WCS protocol: WMCA, CASIA-SURF CeFA and CASIA-SURF, whose text lists decide everything.

The lists (``ROOT/txt/wmca_real_train.txt`` and so on) name single images. Train lists contain test items, so an image
that both name is put into ``test`` and keeps both names as a fact, from which ``WCS/...`` is made. The pictures show
the face alone on black; they are cut to what is not black and nothing is searched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import ClassVar

from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Layout, Remark
from preprocessing.layouts.few_shot import read_lists, shots
from preprocessing.layouts.files import absent, find_images
from preprocessing.layouts.sources import Hdf5Frame, Trimmed
from preprocessing.video import IMAGE_SUFFIXES, FrameSource, ImageFiles


class _ListedImages(Layout):
    domain: ClassVar[str]
    frames = "all"

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """See ``Layout.find``."""
        named = read_lists(root, self.domain, self.name, ("train", "test"))
        sources = self.sources(root, named)
        for name, source in sources.items():
            kind, lists = named[name]
            split = "test" if "test" in lists else "train"
            video = Path(name).stem if Path(name).suffix in IMAGE_SUFFIXES else name
            facts: dict[str, object] = {"domain": self.domain, "lists": list(lists)}
            if f"{split}/{kind}/{video}" in shots(self.domain) or f"test/{kind}/{video}" in shots(self.domain):
                facts["shot"] = True
            cls = f"{self.domain}_{'spoof' if kind == 'fake' else 'live'}"
            yield Item(cls, split, f"{split}/{kind}", video, Trimmed(source), is_cropped=True, facts=facts)
        yield from absent(named, sources, f"the lists of {self.domain}")

    def sources(self, root: Path, names: Collection[str]) -> dict[str, FrameSource]:
        """Listed names that this copy has."""
        raise NotImplementedError


@LAYOUTS.register("WMCA")
class WMCA(_ListedImages):
    """WMCA: colour frames out of HDF5 recordings (needs h5py)."""

    name = "WMCA"
    home = "www.idiap.ch/en/scientific-research/data/wmca"
    tree = """
        23.05.18/012_06_000_0_00.hdf5  # recordings; needs pip install h5py
        txt/wmca_real_train.txt
        txt/wmca_real_test.txt
        txt/wmca_fake_train.txt
        txt/wmca_fake_test.txt
    """
    domain = "wmca"
    classes = {"wmca_live": 0, "wmca_spoof": 1}
    official = {("wmca_live", "test"): 3460, ("wmca_spoof", "test"): 5470}

    def sources(self, root: Path, names: Collection[str]) -> dict[str, FrameSource]:
        """``DATE_REST_NN.jpg`` is frame ``Frame_NN`` (two digits) of ``DATE/REST.hdf5``."""
        found: dict[str, FrameSource] = {}
        for name in names:
            date, _, rest = Path(name).stem.partition("_")
            recording, _, number = rest.rpartition("_")
            path = next((top / date / f"{recording}.hdf5" for top in (root, root / self.name)
                         if (top / date / f"{recording}.hdf5").is_file()), None)  # fmt: skip
            if path is not None and number.isdecimal():
                found[name] = Hdf5Frame(path, f"Frame_{int(number):02d}")
        return found


@LAYOUTS.register("CeFA")
class CeFA(_ListedImages):
    """CASIA-SURF CeFA: ten equidistant colour frames of each recording, three ethnicities."""

    name = "CeFA"
    home = "sites.google.com/qq.com/face-anti-spoofing"
    tree = """
        AF/AF-213/1_213_1_1_1/profile/0001.jpg
        txt/cefa_real_train.txt
        txt/cefa_real_test.txt
        txt/cefa_fake_train.txt
        txt/cefa_fake_test.txt
    """
    domain = "cefa"
    classes = {"cefa_live": 0, "cefa_spoof": 1}
    official = {
        ("cefa_live", "train"): 12010, ("cefa_spoof", "train"): 36010,
        ("cefa_live", "test"): 2990, ("cefa_spoof", "test"): 8990,
    }  # fmt: skip
    races = {"1": "AF", "2": "CA", "3": "EA"}

    def sources(self, root: Path, names: Collection[str]) -> dict[str, FrameSource]:
        """``1_213_1_1_1_05.jpg`` is frame 5 * (n // 10) of ``AF/AF-213/1_213_1_1_1/profile``."""
        found: dict[str, FrameSource] = {}
        images: dict[Path, list[Path]] = {}
        for name in names:
            recording, _, number = Path(name).stem.rpartition("_")
            race, _, rest = recording.partition("_")
            code, subject = self.races.get(race, ""), rest.partition("_")[0]
            folder = root / code / f"{code}-{subject}" / recording / "profile"
            if folder not in images:
                there = sorted(folder.iterdir()) if folder.is_dir() else []
                images[folder] = [path for path in there if path.suffix.lower() in IMAGE_SUFFIXES]
            position = int(number) * (len(images[folder]) // 10) if number.isdecimal() else len(images[folder])
            if position < len(images[folder]):
                found[name] = ImageFiles((images[folder][position],))
        return found


@LAYOUTS.register("SURF")
class SURF(_ListedImages):
    """CASIA-SURF: colour images of its training and validation parts."""

    name = "CASIA-SURF"
    home = "sites.google.com/qq.com/face-anti-spoofing"
    tree = """
        Training/real_part/CLKJ_AS0005/real.rssdk/color/31.jpg
        Val/0006/006102-color.jpg
        txt/surf_real_train.txt
        txt/surf_real_test.txt
        txt/surf_fake_train.txt
        txt/surf_fake_test.txt
    """
    domain = "surf"
    classes = {"surf_live": 0, "surf_spoof": 1}
    official = {
        ("surf_live", "train"): 26410, ("surf_spoof", "train"): 60586,
        ("surf_live", "test"): 2984, ("surf_spoof", "test"): 6604,
    }  # fmt: skip

    def sources(self, root: Path, names: Collection[str]) -> dict[str, FrameSource]:
        """A listed name is the image's path with ``/`` replaced by ``_``; paths hold underscores of their own."""
        found: dict[str, FrameSource] = {}
        for part in ("Training", "Val"):
            if not (root / part).is_dir():
                continue
            for image in find_images(root, root / part):
                if not isinstance(image, Remark):
                    name = image.path.relative_to(root).as_posix().replace("/", "_")
                    if name in names:
                        found[name] = image.source
        return found
