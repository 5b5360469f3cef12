"""DF40: forgeries by 40 methods on FaceForensics++ (``ff``) and Celeb-DF v2 (``cdf``), as ready face crops.

The archives hold no real faces: put DeepfakeBench's crops of FaceForensics++ and Celeb-DF-v2 beside them::

    ROOT/DF40_train/METHOD/...            train, on FaceForensics++
    ROOT/DF40/METHOD/{ff,cdf}/...         test; the authors use the same videos as val, so there is no val here
    ROOT/DF40/METHOD/{fake,real}/...      the unknown methods bring their own real faces
    ROOT/FaceForensics++, ROOT/Celeb-DF-v2

What is evaluated are parts, each under the authors' index name (``simswap_ff``, ``FSAll_cdf``, ``heygen``). The
authors' own indexes list frames that were never released; this layout takes only what is on disk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from benchmark.registry import LAYOUTS
from preprocessing.layouts.base import Item, Layout, Remark
from preprocessing.layouts.celebdf import REAL_FOLDERS, TEST_LIST, read_test_list
from preprocessing.layouts.derived import Part
from preprocessing.layouts.ffpp import read_splits
from preprocessing.layouts.files import find_image_folders, place, present
from preprocessing.video import ImageFiles

SWAP = (
    "fsgan", "faceswap", "simswap", "inswap", "blendface", "uniface", "mobileswap", "e4s", "facedancer",
)  # fmt: skip
REENACT = (
    "fomm", "facevid2vid", "wav2lip", "MRAA", "one_shot_free", "pirender", "tpsm", "lia", "danet", "sadtalker",
    "mcnet", "hyperreenact",
)  # fmt: skip
SYNTHESIS = (
    "VQGAN", "StyleGAN2", "StyleGAN3", "StyleGANXL", "sd2.1", "ddim", "rddm", "pixart", "DiT", "SiT",
)  # fmt: skip
KNOWN = (*SWAP, *REENACT, *SYNTHESIS)
UNKNOWN = (
    "deepfacelab", "heygen", "whichisreal", "MidJourney", "stargan", "starganv2", "styleclip", "e4e", "CollabDiff",
)  # fmt: skip
GROUPS = {"FSAll": SWAP, "FRAll": REENACT, "EFSAll": SYNTHESIS}
REALS = {"ff": "DF40_ff_Real", "cdf": "DF40_cdf_Real"}
GROUP_FOLDERS = ("ff", "cdf", "fake", "real")
OTHER_DOMAIN = {"ff": ("cdf",), "cdf": ("ff", "DF40_train")}
_METHODS = {name.lower(): name for name in (*KNOWN, *UNKNOWN)}
REAL_CROPS = "original_sequences/youtube/c23/frames"


def _parts() -> dict[str, Part]:
    parts = {}
    for domain, real in REALS.items():
        for name, methods in {**GROUPS, **{method: (method,) for method in (*KNOWN, "e4e")}}.items():
            fakes = tuple(f"{method}_Fake" for method in methods)
            without = (*OTHER_DOMAIN[domain], *(("fake",) if name == "e4e" else ()))
            parts[f"{name}_{domain}"] = Part((real, *fakes), without)
    for method in UNKNOWN:
        parts[method] = Part((f"{method}_Real", f"{method}_Fake"), without=("ff", "cdf"))
    return parts


@LAYOUTS.register("DF40")
class DF40(Layout):
    """DF40: 31 known methods on two domains and 9 unknown ones, ready crops; no val split."""

    name = "DF40"
    home = "github.com/YZY-stack/DF40"
    tree = """
        DF40_train/simswap/frames/000_003/000.png
        DF40/simswap/ff/frames/000_003/000.png
        DF40/simswap/cdf/frames/id0_id1_0000/000.png
        DF40/heygen/fake/v1/000.png  # the unknown methods bring their own reals
        DF40/heygen/real/r1/000.png
        FaceForensics++/original_sequences/youtube/c23/frames/000/000.png  # DeepfakeBench's crops: the reals of ff
        FaceForensics++/train.json
        FaceForensics++/val.json
        FaceForensics++/test.json
        Celeb-DF-v2/Celeb-real/frames/id0_0000/000.png  # and of cdf
        Celeb-DF-v2/List_of_testing_videos.txt
    """
    classes = {
        **dict.fromkeys(REALS.values(), 0),
        **{f"{method}_Real": 0 for method in UNKNOWN},
        **{f"{method}_Fake": 1 for method in (*KNOWN, *UNKNOWN)},
    }
    frames = "all"
    parts = _parts()

    def find(self, root: Path, levels: Collection[str]) -> Iterator[Item | Remark]:
        """See ``Layout.find``."""
        folders, missing = present(self.name, root, ("DF40", "DF40_train"))
        yield from missing
        for top in folders:
            for path in sorted((root / top).iterdir()):
                method = _METHODS.get(path.name.lower())
                if path.is_dir() and method is None:
                    yield Remark("left out", place(path, root), "not a method of DF40")
                elif path.is_dir() and method is not None:
                    yield from self._method(root, path, method, top)
        yield from self._reals(root)

    def _method(self, root: Path, path: Path, method: str, top: str) -> Iterator[Item | Remark]:
        for found in find_image_folders(root, path):
            if isinstance(found, Remark):
                yield found
                continue
            inner = [part for part in found.inner if part != "frames"]
            is_flat = found.name in (*GROUP_FOLDERS, "inversions")  # images that belong to no video
            if found.name in GROUP_FOLDERS:
                inner.append(found.name)
            group = inner.pop(0) if inner and inner[0] in GROUP_FOLDERS else ""
            if top == "DF40" and not group:
                yield Remark("left out", place(found.path, root), "not under ff, cdf, fake or real")
            elif group in ("fake", "real") and method not in UNKNOWN:
                yield Remark("left out", place(found.path, root), f"{method} is not one of the unknown methods")
            else:
                cls = f"{method}_{'Real' if group == 'real' else 'Fake'}"
                split = "train" if top == "DF40_train" else "test"
                folder = "/".join(part for part in (top, path.name, group) if part)
                start = [group] if group in REALS and split == "test" else []  # a class holds both domains' videos
                facts = {"domain": group or "ff"}
                for image in found.source.files if is_flat else ():
                    name = "_".join([*start, *inner, image.stem])
                    yield Item(cls, split, folder, name, ImageFiles((image,)), is_cropped=True, facts=facts)
                if not is_flat:
                    name = "_".join([*start, *inner, found.name])
                    yield Item(cls, split, folder, name, found.source, is_cropped=True, facts=facts)

    def _reals(self, root: Path) -> Iterator[Item | Remark]:
        frames = root / "FaceForensics++" / REAL_CROPS
        if frames.is_dir():
            splits = read_splits(root / "FaceForensics++")
            folder = f"FaceForensics++/{REAL_CROPS.removesuffix('/frames')}"
            for found in find_image_folders(root, frames):
                if isinstance(found, Remark):
                    yield found
                elif found.name in splits:
                    yield Item(REALS["ff"], splits[found.name], folder, found.name, found.source, is_cropped=True)
        else:
            yield Remark("missing", place(frames, root), "the real faces of domain ff; DF40 itself has none")
        yield from self._celeb_reals(root)

    def _celeb_reals(self, root: Path) -> Iterator[Item | Remark]:
        base = root / "Celeb-DF-v2"
        there = [folder for folder in REAL_FOLDERS if (base / folder / "frames").is_dir()]
        if not there:
            yield Remark("missing", "Celeb-DF-v2", "the real faces of domain cdf; DF40 itself has none")
            return
        tested = read_test_list(base / TEST_LIST, self.name)
        for folder in there:
            for found in find_image_folders(root, base / folder / "frames"):
                if isinstance(found, Remark):
                    yield found
                elif f"{folder}/{found.name}" in tested:
                    place_in_store = f"Celeb-DF-v2/{folder}"
                    yield Item(REALS["cdf"], "test", place_in_store, found.name, found.source, is_cropped=True)
