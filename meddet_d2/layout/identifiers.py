"""Which numbers and texts of a file mean the same record, and which may be the same person."""

import math
import re
import unicodedata
from typing import Any

_WHOLE = re.compile(r"(-?)0*(\d+)(?:\.0*)?")


def record_id(value: Any) -> int | str:
    """An id of an image, annotation or category: 12, 12.0, "12", " 0012" and "12.0" are all 12.

    Raises:
        ValueError: it is no number and no text, or an empty text. One line without a full stop.
    """
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip():
        raise ValueError(f"{value!r} is no id")
    text = str(value).strip()
    whole = _WHOLE.fullmatch(text)
    return int(whole[1] + whole[2]) if whole else text


def patient_key(value: Any) -> str:
    """The same text for all ways of writing that may be one patient; "" for a blank.

    Upper and lower case, kinds of blanks, letters that nobody sees, zeros before a number and ".0" behind it do not
    count: tables and spreadsheets add and drop them. Two patients whom this takes for one are on one side of a split.
    """
    text = unicodedata.normalize("NFKC", str(value))
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    text = " ".join(text.split()).casefold()
    whole = _WHOLE.fullmatch(text)
    return whole[1] + whole[2] if whole else text
