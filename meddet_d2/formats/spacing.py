"""Which sizes of pixels are believed, and what is said of them."""

# Millimetres of a pixel.
MIN_SPACING, MAX_SPACING = 0.01, 50.0
# Sides of a pixel that differ by more than this factor are worth a remark.
SQUARE = 1.05


def sane_spacing(spacing: tuple[float, ...] | None) -> tuple[float, float] | None:
    """Millimetres from row to row and from column to column, or None where they make no sense."""
    if spacing is None or not all(MIN_SPACING <= side <= MAX_SPACING for side in spacing):
        return None
    down, across = spacing
    return down, across


def spacing_remarks(spacing: tuple[float, float] | None) -> list[str]:
    if spacing is None:
        return ["the pixel spacing is not stated, so nothing can be given in millimetres"]
    if max(spacing) > SQUARE * min(spacing):
        return [f"the pixels are not square ({spacing[0]:.2f} x {spacing[1]:.2f} mm); they are kept as they are"]
    return []
