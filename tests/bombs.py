"""Small files that stand for enormous ones, each read in this process: ``python tests/bombs.py FOLDER``.

Prints a line for each, and exits with 1 if one is accepted, is not refused in the reader's own words, takes longer than
`fuzzing.SECONDS` or more memory than `fuzzing.GROWTH`.
"""

import gzip
import json
import resource
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import dicom_files
import fuzz_readers
import fuzzing
import nibabel
import numpy as np
import SimpleITK
import torch
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

READERS = fuzz_readers.READERS
# Bytes of zeros that a file unpacks to.
BLOCK, BLOCKS = 2**24, 256
# A guard for the machine that this runs on.
ADDRESSES = 2**35


def png(path: Path, width: int, height: int) -> None:
    """A sound file but for its size, which its header says."""
    Image.new("L", (8, 8)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)


def png_text(path: Path) -> None:
    """A compressed text in the metadata."""
    Image.new("L", (8, 8)).save(path)
    data = path.read_bytes()
    body = b"zTXtComment\0\0" + zlib.compress(bytes(2**28), 9)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(data[:33] + chunk + data[33:])


def png_chunk(path: Path) -> None:
    """A chunk of 2 GB, by its header, in an image of 16-bit colours, which a decoder of its own reads."""
    cv2.imwrite(str(path), np.full((12, 10, 3), 4000, np.uint16))
    data = bytearray(path.read_bytes())
    data[33] |= 0x80
    path.write_bytes(data)


def tiff(path: Path) -> None:
    """Tiles that are larger than the image."""
    Image.new("L", (64, 64)).save(path, tile=(16, 16), compression="tiff_deflate")
    data = bytearray(path.read_bytes())
    start = struct.unpack("<I", data[4:8])[0]
    for index in range(struct.unpack("<H", data[start : start + 2])[0]):
        place = start + 2 + 12 * index
        (tag,) = struct.unpack("<H", data[place : place + 2])
        if tag in (256, 257, 278, 322, 323):
            data[place + 2 : place + 4] = struct.pack("<H", 4)
            size = 7000 if tag in (256, 257) else 2**20
            data[place + 8 : place + 12] = struct.pack("<I", size)
    path.write_bytes(data)


def packed_zeros(blocks: int = BLOCKS) -> bytes:
    """A gzip file of that many blocks, each a member of its own."""
    return gzip.compress(bytes(BLOCK), 1) * blocks


def nifti(path: Path, offset: float, extension: int | None = None) -> None:
    """Zeros before the voxels, or an extension of the header, as long as you like."""
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)), path)
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[108:112] = struct.pack("<f", offset)
    if extension is not None:
        data[348:360] = struct.pack("<iii", 1, extension, 6)
    path.write_bytes(gzip.compress(bytes(data)) + packed_zeros())


def nifti_volume(path: Path, shape: tuple[int, ...]) -> None:
    """A header for more voxels than there are."""
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)), path)
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[40:56] = struct.pack("<8h", len(shape), *shape, *(1,) * (7 - len(shape)))
    path.write_bytes(gzip.compress(bytes(data)) + packed_zeros(2))


def metaimage(path: Path, size: str, packed: bool) -> None:
    """A sound volume but for its size, which its header says."""
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((3, 12, 10), np.int16)), path, packed)
    path.write_bytes(path.read_bytes().replace(b"DimSize = 10 12 3", f"DimSize = {size}".encode()))


def deflated(path: Path, blocks: int = BLOCKS) -> None:
    """A sound head and then zeros."""
    dataset = dicom_files.make_dicom(fuzz_readers.VALUES)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dicom_files.save(dataset, path)
    data = path.read_bytes()
    start = 132 + 12 + struct.unpack("<I", data[140:144])[0]
    packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    head = zlib.decompress(data[start:], -zlib.MAX_WBITS)
    first = packer.compress(head + bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    # Behind a full flush nothing refers back, so that a block can be repeated.
    block = packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(data[:start] + first + block * blocks + packer.flush())


def stream_size(kind: str, path: Path) -> None:
    """A compressed DICOM frame whose own header says another size than the file's."""
    READERS[f"dicom {kind}"].make(path.parent)
    data = bytearray((path.parent / f"{kind}.dcm").read_bytes())
    if kind == "jpeg2000":
        place = data.index(b"\xff\x4f\xff\x51") + 8
        data[place : place + 8] = struct.pack(">II", 60000, 60000)
        data[place + 16 : place + 24] = struct.pack(">II", 60000, 60000)
    else:
        place = data.index(b"\xff\xf7") + 5
        data[place : place + 4] = struct.pack(">HH", 65000, 65000)
    path.write_bytes(data)


def dicom(path: Path, **tags) -> None:
    dicom_files.write_dicom(path, fuzz_readers.VALUES, **tags)


def torch_zip(path: Path) -> None:
    """A .pth whose parts are compressed."""
    plain = path.with_name("plain.pth")
    torch.save({"model": {"a": torch.zeros(2**24)}}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    plain.unlink()


ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
TABLES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}\n" for i in range(1, 60))
ENTITIES = "<!DOCTYPE a [<!ENTITY b 'ha'>" + "".join(
    f"<!ENTITY b{i} '&b{i - 1 or ''};&b{i - 1 or ''};'>" for i in range(1, 60)
)


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content) and None


def card(path: Path) -> None:
    content = json.loads(fuzz_readers.make_card(path.parent)[0].read_text())
    content["image"]["min_size"] = 10**9
    path.write_text(json.dumps(content))


def config_circle(path: Path) -> None:
    path.write_text(f"_BASE_: {path.name}\n")


def bombs() -> Iterator[tuple[str, str, str, Callable[[Path], None]]]:
    """(name, reader, file name, what makes it)"""
    yield "png of 900 million pixels", "png", "a.png", lambda path: png(path, 30000, 30000)
    yield "png of a line of 4 billion", "png", "a.png", lambda path: png(path, 2**31 - 1, 2)
    yield "png of 64 million that are not there", "png", "a.png", lambda path: png(path, 8000, 8000)
    yield "png with a chunk of 2 GB", "png", "a.png", png_chunk
    yield "png with a long text", "png", "a.png", png_text
    yield "tif with large tiles", "tif", "a.tif", tiff
    yield "nii.gz that begins late", "nii.gz", "a.nii.gz", lambda path: nifti(path, 2.0**31)
    yield "nii.gz that begins very late", "nii.gz", "a.nii.gz", lambda path: nifti(path, 1e30)
    yield "nii.gz of many voxels", "nii.gz", "a.nii.gz", lambda path: nifti_volume(path, (30000, 30000, 30000))
    yield "nii.gz cut off", "nii.gz", "a.nii.gz", lambda path: nifti_volume(path, (500, 1000, 1000))
    yield "gz that is no nifti", "nii.gz", "a.nii.gz", lambda path: path.write_bytes(packed_zeros())
    for packed in (False, True):
        make = partial(metaimage, size="60000 60000 3", packed=packed)
        yield f"mha of 10 billion voxels, packed {packed}", "mha", "a.mha", make
        make = partial(metaimage, size="4000 8000 3", packed=packed)
        yield f"mha of 96 million that are not there, packed {packed}", "mha", "a.mha", make
    yield "deflated dicom", "dicom deflated", "a.dcm", deflated
    yield "jpeg 2000 of another size", "dicom jpeg2000", "b.dcm", lambda path: stream_size("jpeg2000", path)
    yield "jpeg-ls of another size", "dicom jpegls", "b.dcm", lambda path: stream_size("jpegls", path)
    yield "dicom of 4 billion pixels", "dicom plain", "a.dcm", lambda path: dicom(path, Rows=65535, Columns=65535)
    yield "dicom of many frames", "dicom plain", "a.dcm", lambda path: dicom(path, NumberOfFrames=2**31 - 1)
    yield (
        "yaml of aliases, suite",
        "suite",
        "a.yaml",
        text(f"seeds: [1]\nrows:\n  {ALIASES.replace(chr(10), chr(10) + '  ')}"),
    )
    yield "yaml of aliases, config", "config", "a.yaml", text(TABLES)
    yield "yaml of aliases, names", "yolo names", "a.yaml", text(f"{ALIASES}names: *a59\n")
    yield "yaml that holds itself", "suite", "a.yaml", text("rows: &a [*a]\n")
    yield "yaml of 50 MB", "suite", "a.yaml", text("# x\n" * 12_500_000)
    yield "yaml, deep", "config", "a.yaml", text("a: " + "[" * 100_000)
    yield "config on itself", "config", "a.yaml", config_circle
    yield "class 10^12", "yolo names", "a.yaml", text("names: {1000000000000: disc}\n")
    for reader in ("split json", "detections", "card"):
        yield f"deep brackets, {reader}", reader, "a.json", text("[" * 1_000_000)
        yield f"long number, {reader}", reader, "a.json", text("1" * 1_000_000)
    yield "card of large pictures", "card", "b.json", card
    yield "pth, compressed", "weights zip", "a.pth", torch_zip
    safetensors = struct.pack("<Q", 2**40) + b"{}"
    yield (
        "safetensors with a long head",
        "weights safetensors",
        "a.safetensors",
        lambda path: path.write_bytes(safetensors),
    )
    head = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    whole = struct.pack("<Q", len(head)) + head
    yield "safetensors of much", "weights safetensors", "b.safetensors", lambda path: path.write_bytes(whole)
    place = b"\x80\x04K\x01r" + struct.pack("<I", 2**31 - 1) + b"."
    yield "pickle with a large memo", "pickle", "a.pkl", lambda path: path.write_bytes(place)
    claimed = b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x."
    yield "pickle with long bytes", "pickle", "b.pkl", lambda path: path.write_bytes(claimed)
    array = b"\x80\x05\x96" + struct.pack("<Q", 2**30) + b"x."
    yield "pickle with a long bytearray", "pickle", "c.pkl", lambda path: path.write_bytes(array)


def harmless_bombs() -> Iterator[tuple[str, str, str, Callable[[Path], None]]]:
    """What is large in the volumes is not read, and the annotations are counted and named instead of refused."""
    yield "nii.gz with a long extension", "nii.gz", "a.nii.gz", lambda path: nifti(path, 2.0**20, 2**31 - 16)
    yield "nii.gz with a negative extension", "nii.gz", "a.nii.gz", lambda path: nifti(path, 2.0**20, -16)
    yield "xml of entities", "voc", "a.xml", text(f"{ENTITIES}]><annotation>&b59;</annotation>")
    yield "xml, deep", "voc", "a.xml", text("<annotation>" + "<a>" * 300_000 + "</a>" * 300_000 + "</annotation>")
    for reader in ("coco", "labelme"):
        yield f"deep brackets, {reader}", reader, "a.json", text("[" * 1_000_000)
    yield "long number, yolo", "yolo", "a.txt", text("9" * 1_000_000 + " 0.1 0.1 0.1 0.1")


def main(folder: Path) -> int:
    """Try all; returns the exit status."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    failed = 0
    for accepted, found in ((False, bombs()), (True, harmless_bombs())):
        for number, (name, kind, file_name, make) in enumerate(found):
            place = folder / f"{accepted} {number}"
            place.mkdir()
            if kind == "detections":
                READERS[kind].make(place)  # the ground truth
            make(place / file_name)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                taken = fuzzing.attack(READERS[kind], place / file_name)
                wrong = "" if taken is accepted else "was accepted"
            except (Exception, fuzzing.TooMuch) as error:
                wrong = f"{type(error).__name__}: {str(error)[:300]}"
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
            print(
                f"{name}: {wrong or 'refused'} ({(place / file_name).stat().st_size} bytes, {grown:.0f} MiB)",
                flush=True,
            )
            failed += bool(wrong)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
