"""What of a file's identity may leave it: pseudonyms, and acquisition parameters from an allow-list."""

import hashlib
import hmac
import math
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from ..files import checksum
from ..places import config_folder

SALT_VARIABLE = "MEDDET_SALT"
SALT_NAME = "salt"

# Numbers that may leave a file, with the range in which they are believable. The range is there because a tag may hold
# anything: a date or a patient's number in the echo time stays behind.
NUMBERS: dict[str, tuple[float, float]] = {
    "MagneticFieldStrength": (0.01, 25.0),  # tesla
    "EchoTime": (0.0, 5000.0),  # ms
    "RepetitionTime": (0.0, 50000.0),  # ms
    "InversionTime": (0.0, 20000.0),  # ms
    "FlipAngle": (0.0, 360.0),  # degrees
    "SliceThickness": (0.01, 500.0),  # mm
    "SpacingBetweenSlices": (0.01, 500.0),  # mm
    "EchoTrainLength": (0, 2000),
    "NumberOfAverages": (0.0, 1000.0),
    "PixelBandwidth": (0.0, 10000.0),  # Hz a pixel
    "Rows": (1, 65535),
    "Columns": (1, 65535),
    "BitsStored": (1, 64),
}
# Codes that may leave a file: DICOM's defined terms and nothing else, or a name of capital letters would pass for one.
CODES: dict[str, frozenset[str]] = {
    "Modality": frozenset(
        ["CR", "CT", "DX", "ES", "MG", "MR", "NM", "OT", "PT", "PX", "RF", "RG", "SC", "SEG", "US", "XA", "XC"]
    ),
    "ScanningSequence": frozenset(["SE", "IR", "GR", "EP", "RM"]),
    "SequenceVariant": frozenset(["SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "TOF", "NONE"]),
    "ScanOptions": frozenset(["PER", "RG", "CG", "PPG", "FC", "PFF", "PFP", "SP", "FS"]),
    "MRAcquisitionType": frozenset(["2D", "3D"]),
    "BodyPartExamined": frozenset(["CSPINE", "CTSPINE", "TSPINE", "TLSPINE", "LSPINE", "LSSPINE", "SPINE", "NECK"]),
    "PhotometricInterpretation": frozenset(
        ["MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"]
    ),
}


def allowed_tags(values: Mapping[str, Any]) -> dict[str, str | float | int]:
    """The part of a header that may leave the file.

    Args:
        values: by DICOM keyword; a text, a number, a sequence of them, or None.

    Returns:
        By keyword, in the order of NUMBERS and CODES: numbers in their range, rounded to four decimals; codes of
        DICOM's defined terms, several joined by "+". What does not fit is left out.
    """
    tags: dict[str, str | float | int] = {}
    for keyword, (low, high) in NUMBERS.items():
        (number,) = numbers(values.get(keyword), 1) or (math.nan,)
        if low <= number <= high:
            tags[keyword] = int(number) if number.is_integer() else round(number, 4)
    for keyword, terms in CODES.items():
        value = values.get(keyword)
        # Of DICOM's several values, those that are codes; a picture's decoding does not hang on them.
        parts = [value] if isinstance(value, str) else list(value) if isinstance(value, Sequence) else []
        known = [part for part in map(str, parts) if part in terms]
        if known:
            tags[keyword] = "+".join(known)
    return tags


def numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """``count`` finite numbers from a tag's value, or None if it holds anything else."""
    if value is None or isinstance(value, str | bytes):
        return None
    try:
        found = tuple(float(number) for number in (value if hasattr(value, "__iter__") else [value]))
    except (TypeError, ValueError, OverflowError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


class Pseudonyms:
    """Names that say nothing: salted hashes (HMAC-SHA256) of patients' numbers and images' identifiers.

    The same salt gives the same pseudonyms, so that results of two days can be joined. Whoever has the salt can test
    whether a known number is behind a pseudonym: it is a secret, and is not given on with results.
    """

    def __init__(self, salt: str | bytes) -> None:
        """
        Args:
            salt: any text or bytes; a long random one.

        Raises:
            ValueError: it is empty.
        """
        self._salt = salt.encode() if isinstance(salt, str) else bytes(salt)
        if not self._salt:
            raise ValueError(f"The salt of pseudonyms is empty; set {SALT_VARIABLE} to a long random text.")

    def patient(self, text: str) -> str:
        """ "p" and 16 hexadecimal digits for a patient's number, as a table or DICOM's PatientID gives it.

        Blanks around the text do not count.
        """
        return "p" + self._digest(f"patient:{text.strip()}")

    def image(self, text: str) -> str:
        """ "i" and 16 hexadecimal digits for whatever identifies an image."""
        return "i" + self._digest(f"image:{text}")

    def _digest(self, text: str) -> str:
        return hmac.new(self._salt, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:16]

    @classmethod
    def load(cls) -> "Pseudonyms":
        """With the salt of the environment variable MEDDET_SALT, or of a file of this user's, made on first use.

        The file is `salt` in the folder meddet_d2 of $XDG_CONFIG_HOME (default: ~/.config; on Windows: %APPDATA%).

        Raises:
            ValueError: the variable or the file is empty, or others may read the file.
            OSError: the file cannot be made or read.
        """
        salt = os.environ.get(SALT_VARIABLE)
        if salt is not None:
            return cls(salt.strip())
        try:
            path = config_folder() / SALT_NAME
        except RuntimeError as error:
            raise ValueError(f"No home folder for the salt of pseudonyms; set {SALT_VARIABLE} to a text.") from error
        try:
            if not path.exists():
                _make_salt(path)
        except OSError as error:
            raise OSError(
                f"{path}: the salt of pseudonyms cannot be kept there ({type(error).__name__}); "
                f"set {SALT_VARIABLE} to a long random text."
            ) from error
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise ValueError(f"{path}: others may read this salt of pseudonyms; run: chmod 600 {path}")
        salt = path.read_text(encoding="utf-8").strip()
        if not salt:
            raise ValueError(f"{path}: the salt of pseudonyms is empty; delete the file, and a new one is made.")
        return cls(salt)


def _make_salt(path: Path) -> None:
    """Write a random salt that its user alone can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=path.parent) as file:
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        # Unlike a renaming, this never replaces: of two first runs at once, both go on with the salt of one.
        with suppress(FileExistsError):
            os.link(file.name, path)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content: what an image is known by that has no identifier."""
    return f"sha256:{checksum(path)}"
