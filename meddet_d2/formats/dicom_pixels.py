"""The pixels of a DICOM frame: decoded by pydicom and its plugins, rescaled, windowed, inverted where MONOCHROME1."""

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, get_decoder, pixel_array

from .dicom_bits import value_bits
from .dicom_streams import check_stream, frame_of
from .gdcm_process import GDCM
from .records import ReadError
from .windowing import why_not, window

PIXEL_DATA = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
GREY = ("MONOCHROME1", "MONOCHROME2")
PLAIN = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
# Of several decoders for a compression only this one: any other is tried where the first refuses a damaged frame.
PLUGINS = {
    uid.RLELossless: "pydicom",
    uid.JPEGBaseline8Bit: "pillow",
    **dict.fromkeys(uid.JPEG2000TransferSyntaxes, "pylibjpeg"),
}
# What gdcm decodes; elsewhere it would end this process at some damaged frames. (highdicom brings another decoder for
# JPEG-LS, which takes seconds over each of those.)
BY_GDCM = (uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1, *uid.JPEGLSTransferSyntaxes)
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def set_transfer_syntax(dataset: Dataset) -> None:
    """Where a file does not say how it is written, or pydicom has unpacked it, it is as pydicom has found it to be.

    Raises:
        ValueError: it says several.
    """
    said = dataset.file_meta.get("TransferSyntaxUID")
    if said is not None and not isinstance(said, uid.UID):
        raise ValueError("several transfer syntaxes")
    if not said or said == uid.DeflatedExplicitVRLittleEndian:
        implicit, little = dataset.original_encoding
        plain = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else plain


def check_decodable(dataset: Dataset) -> None:
    """Raise ReadError, which names no file, where there are no pixels or their compression or colours are not known."""
    if not any(keyword in dataset for keyword in PIXEL_DATA):
        raise ReadError("holds no pixels (a report, a plan, an index, or cut off before them); leave it out.")
    if dataset.get("PhotometricInterpretation") not in (*GREY, *COLOUR, "PALETTE COLOR"):
        raise ReadError("its colours (photometric interpretation) are of no known kind; save it as MONOCHROME2 or RGB.")
    try:
        decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    except NotImplementedError:
        raise ReadError(
            "its transfer syntax is not known or is a video's; save it again as Explicit VR Little Endian."
        ) from None
    if not decoder.is_available:
        raise ReadError("its compression needs a decoder; run: pip install pylibjpeg-openjpeg python-gdcm")


def measured_values(dataset: Dataset, index: int, functions: Dataset) -> tuple[np.ndarray, list[str]]:
    """A frame as the file means it: stored values after the modality LUT or rescale, or colours.

    Args:
        dataset: the whole file.
        index: of the frame, from 0.
        functions: with the frame's RescaleSlope and RescaleIntercept or ModalityLUTSequence, if it has any.

    Returns:
        (H, W) of any real type, or (H, W, 3) uint8 or wider, RGB; and remarks.

    Raises:
        ReadError: it is not as its header says. It names no file.
        Exception: whatever pydicom and its plugins raise on a damaged file.
    """
    precision = check_stream(dataset, index)
    syntax = dataset.file_meta.TransferSyntaxUID
    available = get_decoder(syntax).available_plugins
    if precision is not None and syntax in BY_GDCM and "gdcm" in available:
        words = GDCM.decode(dataset, frame_of(dataset, index), precision)
    else:
        plugin = PLUGINS.get(syntax, "")
        words = pixel_array(
            dataset,
            index=index,
            decoding_plugin=plugin if plugin in available else "",
            correct_unused_bits=dataset.get("SamplesPerPixel") != 1,
        )
    values, remarks = value_bits(words, dataset, precision) if "PixelData" in dataset else (words, [])
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        colours = apply_color_lut(values, dataset)[..., :3]
        # Entries of 16 bits span all 16, as the standard has it; but some hold 8 bits in 16.
        nominal = dataset.RedPaletteColorLookupTableDescriptor[2]
        return (colours >> 8).astype(np.uint8) if nominal == 16 else colours.astype(np.uint8), remarks
    return (values if photometric in COLOUR else apply_modality_lut(values, functions)), remarks


def to_picture(values: np.ndarray, dataset: Dataset, functions: Dataset) -> tuple[np.ndarray, list[str]]:
    """Window what `measured_values` gave.

    The file's own window (VOI LUT, or the first window) is used where `why_not` has nothing against it, percentiles
    otherwise. Colours of 8 bits, and grey of 8 bits without a window and a rescale, stay as they are.

    Returns:
        (H, W, 3) uint8, RGB, and remarks.

    Raises:
        ReadError: NaN or infinite values. It names no file.
    """
    if not np.isfinite(values).all():
        raise ReadError("holds NaN or infinite values; export it again with finite ones.")
    if values.ndim == 3:
        return (values if values.dtype == np.uint8 else window(values)), []
    grey, remark = _windowed(values, dataset, functions)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return np.repeat(grey[:, :, None], 3, axis=2), [remark] if remark else []


def _windowed(values: np.ndarray, dataset: Dataset, functions: Dataset) -> tuple[np.ndarray, str | None]:
    remark = None
    measured = _not_padding(values, dataset, functions)
    if functions.get("VOILUTSequence") or "WindowCenter" in functions:
        try:
            shown = _own_window(values, functions)
        except Exception:
            # Whatever is wrong with it (no number, no width, a table without entries), there is another way.
            remark = "the file's display window cannot be used; percentiles were used instead"
        else:
            remark = why_not(values[measured], shown[measured])
            if remark is None:
                return np.rint(shown).astype(np.uint8), None
    elif _is_plain(dataset, functions):
        return values.astype(np.uint8), None
    return window(values, measured), remark


def _own_window(values: np.ndarray, functions: Dataset) -> np.ndarray:
    """The frame after its own window, float in 0..255."""
    if functions.get("VOILUTSequence"):
        if not np.array_equal(values, np.rint(values)):
            raise ValueError("a table for whole numbers, and values between them")
        table = functions.VOILUTSequence[0]
        entries, first, depth = table.LUTDescriptor
        # pydicom counts in the type of the entries, so that 8 bits would be too few for a table of more than 256.
        own, deep = Dataset(), Dataset()
        deep.LUTDescriptor = [entries, first, 16]
        deep["LUTData"] = table["LUTData"]
        own.VOILUTSequence, own.file_meta = [deep], functions.file_meta
        return apply_voi_lut(values.astype(np.int64), own) / (2.0**depth - 1.0) * 255.0
    # pydicom maps to the range of the stored values; those of 8 bits without rescale are what a picture has.
    own = Dataset()
    own.PhotometricInterpretation, own.BitsStored, own.PixelRepresentation = "MONOCHROME2", 8, 0
    for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
        if functions.get(keyword) is not None:
            own[keyword] = functions[keyword]
    if own.get("WindowWidth") is None:
        raise ValueError("a window without width")
    shown = apply_voi_lut(values, own)
    if not np.isfinite(shown).all():
        raise ValueError("no finite grey levels")
    return shown


def _is_plain(dataset: Dataset, functions: Dataset) -> bool:
    """Whether values are 8-bit grey levels already, as in an exported picture."""
    # Of floats, the file says no more than their size.
    plain = tuple(map(dataset.get, ("BitsAllocated", "BitsStored", "PixelRepresentation"))) == (8, 8, 0)
    rescale = functions.get("RescaleSlope", 1), functions.get("RescaleIntercept", 0)
    return plain and rescale == (1, 0) and not functions.get("ModalityLUTSequence")


def _not_padding(values: np.ndarray, dataset: Dataset, functions: Dataset) -> np.ndarray:
    """Where something was measured, as bool: padding around an image says nothing about its range."""
    kind = next(keyword for keyword in PIXEL_DATA if keyword in dataset).removesuffix("Data")
    padding, limit = dataset.get(f"{kind}PaddingValue"), dataset.get(f"{kind}PaddingRangeLimit")
    measured = np.ones(values.shape, bool)
    if isinstance(padding, int | float):
        ends = np.array([padding, limit if isinstance(limit, int | float) else padding])
        low, high = sorted(apply_modality_lut(ends, functions))
        measured = (values < low) | (values > high)
    return measured if measured.any() else ~measured
