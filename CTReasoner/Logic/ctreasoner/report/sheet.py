"""Several rows of pictures on one sheet, for a README or a talk."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from .pictures import INK, NOTHING, QUIET, font
from .story import Row

GAP, HEAD = 8, 34


def contact_sheet(rows: Sequence[Row], most_columns: int = 6) -> Image.Image:
    """Return one picture (RGB): a line of words over each row, pictures side by side on a dark ground."""
    rows = [row for row in rows if row.pictures]
    edge = rows[0].pictures[0].image.size[0]
    columns = min(most_columns, max(len(row.pictures) for row in rows))
    width = GAP + columns * (edge + GAP)
    sheet = Image.new("RGB", (width, GAP + len(rows) * (HEAD + edge + GAP)), NOTHING)
    pen = ImageDraw.Draw(sheet)
    for n, row in enumerate(rows):
        top = GAP + n * (HEAD + edge + GAP)
        pen.text((GAP, top + HEAD / 2), row.title, font=font(18), fill=INK, anchor="lm")
        start = GAP + pen.textlength(row.title, font=font(18)) + 16
        caption = row.caption.replace("×", "x")                  # the font that comes with Pillow lacks it
        pen.text((start, top + HEAD / 2), caption, font=font(15), fill=QUIET, anchor="lm")
        for column, picture in enumerate(row.pictures[:columns]):
            sheet.paste(picture.image, (GAP + column * (edge + GAP), top + HEAD))
    return sheet
