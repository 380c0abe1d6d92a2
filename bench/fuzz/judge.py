"""Judges the outcome of a damaged image by the worker's answer and the files that it wrote."""

import re
import struct
from pathlib import Path

from PIL import Image

from bench.fuzz.cases import Case
from tests.samples import SECRET
from workers.colour import P3_PROFILE
from workers.encode import file_name
from workers.formats import PILLOW_NAMES, is_format, read_claimed_size, sniff
from workers.messages import Done, Failed, Made
from workers.shapes import output_size
from workers.variants import Variant, read_specs

_OF_THE_IMAGE = ("undecodable", "too-many-pixels", "too-much-memory", "too-slow")
_SIGNAL = re.compile(r"ended by SIG[A-Z]+\.")
_CLAIM = re.compile(r"has (\d+) x (\d+)(?: x (\d+) frames)? pixels, and only (\d+) ")


def outcome(answer: Done | Failed) -> str:
    """The word for an answer in the report: done, the reason, or the signal that ended the fork."""
    if isinstance(answer, Done):
        return "done"
    ended = _SIGNAL.search(answer.detail)
    return ended.group().split()[-1].rstrip(".") if ended else answer.reason


def is_death(answer: Done | Failed) -> bool:
    """Whether a signal ended the job's process: a crash in a codec, which affects no other job."""
    return (
        isinstance(answer, Failed) and answer.reason == "worker-died" and bool(_SIGNAL.search(answer.detail))
    )


def faults(case: Case, answer: Done | Failed, folder: Path) -> list[str]:
    """What is wrong with an answer, each fault in a few words; an empty list if nothing is."""
    if answer.id != case.name:
        return ["it is the answer to another job"]
    if isinstance(answer, Failed):
        return _faults_of_failure(case, answer)
    return _faults_of_success(case, answer, folder)


def _faults_of_failure(case: Case, failed: Failed) -> list[str]:
    if case.way == "none":
        return [f"a whole image failed: {failed.reason}"]
    if is_death(failed):
        return []
    if failed.reason not in _OF_THE_IMAGE:
        return [f"failed for {failed.reason}: {failed.detail}"]
    if failed.reason == "too-much-memory" and _is_roomy(case):
        return ["blamed on memory, of which there is plenty for all pixels that are allowed"]
    claim = _CLAIM.search(failed.detail)
    if claim is not None:
        width, height, frames, most = (int(each or 1) for each in claim.groups())
        if width * height * frames <= most or most != case.limits["max_pixels"]:
            return [f"refused within its bounds: {failed.detail}"]
    return (
        [] if failed.detail.isprintable() and "/" not in failed.detail else ["its detail is not for people"]
    )


def _is_roomy(case: Case) -> bool:
    return int(case.limits["memory_bytes"]) >= 256 * int(case.limits["max_pixels"])


def _faults_of_success(case: Case, done: Done, folder: Path) -> list[str]:
    found, variants = [], read_specs(case.variants)
    source = done.source
    if source.format != sniff(case.data[:512]):
        found.append(f"called {source.format}")
    if source.width * source.height > case.limits["max_pixels"]:
        found.append("more pixels than allowed")
    claimed = _claimed(source.format, case.data)
    if claimed is not None and sorted(claimed) != sorted((source.width, source.height)):
        found.append(f"claimed to be {claimed}, made as {source.width} x {source.height}")
    if bool(done.blurhash) != case.limits["blurhash"] and not any(each.animated for each in variants):
        found.append("a BlurHash where none was asked for, or none where one was")
    if sorted(made.file for made in done.made) != sorted(path.name for path in folder.iterdir()):
        found.append("other files than it says")
    if [made.name for made in done.made] != [variant.name for variant in variants]:
        return [*found, "not all variants"]
    for variant, made in zip(variants, done.made, strict=True):
        found += _faults_of_variant(variant, made, (source.width, source.height), folder / file_name(variant))
    return found


def _faults_of_variant(variant: Variant, made: Made, size: tuple[int, int], path: Path) -> list[str]:
    data, name = path.read_bytes(), variant.name
    found = [] if is_format(variant.format, data[:512]) else [f"{name} is no {variant.format}"]
    if (made.width, made.height) != output_size(variant, size):
        found.append(f"{name} is said to be {made.width} x {made.height}")
    if SECRET in data:
        found.append(f"{name} has the metadata of its source")
    # A file of our own encoder: the damaged one is opened by nobody but the confined process.
    try:
        with Image.open(path, formats=[PILLOW_NAMES[variant.format]]) as image:
            image.load()
            found += _faults_of_picture(image, variant, (made.width, made.height))
    except OSError as error:
        found.append(f"{name} does not decode: {error}")
    return found


def _faults_of_picture(image: Image.Image, variant: Variant, size: tuple[int, int]) -> list[str]:
    found, name = [], variant.name
    if image.size != size:
        found.append(f"{name} is {image.size}")
    if getattr(image, "n_frames", 1) > 1 and not variant.animated:
        found.append(f"{name} moves")
    profile = image.info.get("icc_profile")
    if image.getexif() or not (profile is None or (variant.p3 and profile == P3_PROFILE)):
        found.append(f"{name} has metadata")
    return found


def _claimed(format_: str, data: bytes) -> tuple[int, int] | None:
    """Width and height that the header of a PNG or WebP claims; None where they cannot be told."""
    if format_ == "png" and data.count(b"IHDR") == 1:
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    return read_claimed_size(format_, data[:512]) if format_ == "webp" else None
