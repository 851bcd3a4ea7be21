"""Key images: one picture for each finding as a Secondary Capture series, for viewers that show neither SEG nor SR."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from ..errors import InputError
from ..version import __version__
from .derived import MANUFACTURER, MODEL_NAME, decimal
from .files import save
from .rtstruct import image_reference
from .seg import exportable, settle
from .uids import content_uid

KEYS_SERIES_NUMBER = 9003
DESCRIPTION = "CTReasoner key images - research use only"


@dataclass(frozen=True, eq=False)
class KeyImage:
    """A picture of a finding.

    rgb : (rows, columns, 3) uint8, with what is to be read burned in. caption : what it shows, in words.
    mm_per_px : its scale. orientation : where its rows and columns run to, in DICOM's letters ("L", "P").
    slice : of the source series, that it shows.
    """

    rgb: np.ndarray
    caption: str
    mm_per_px: float
    orientation: tuple[str, str]
    slice: int


def write_keys(folder: str | Path, pictures: Sequence[KeyImage], sources: Sequence[Dataset], content: Sequence[str], *,
               created: datetime.datetime | None = None) -> list[Path]:
    """Write the pictures as one series into ``folder`` (key_00001.dcm, ...).

    Parameters
    ----------
    content : what identifiers are made from, as :func:`content_of` returns it.

    Raises
    ------
    InputError : a header cannot be carried on. ResourceError : disk full.
    """
    created = created or datetime.datetime.now()
    return [save(_build(number, picture, sources, tuple(content), created), Path(folder) / f"key_{number:05d}.dcm")
            for number, picture in enumerate(pictures, start=1)]


def _build(number: int, picture: KeyImage, sources: Sequence[Dataset], content: tuple[str, ...],
           created: datetime.datetime) -> Dataset:
    import highdicom as hd

    series = content_uid("key series", *content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = hd.sc.SCImage.from_ref_dataset(
                exportable(sources[:1])[0],
                pixel_array=np.ascontiguousarray(picture.rgb),
                photometric_interpretation="RGB",
                bits_allocated=8,
                coordinate_system="PATIENT",
                patient_orientation=picture.orientation,
                series_instance_uid=series,
                series_number=KEYS_SERIES_NUMBER,
                sop_instance_uid=content_uid("key", *content, number, picture.caption, picture.rgb.tobytes()),
                instance_number=number,
                manufacturer=MANUFACTURER,
                manufacturer_model_name=MODEL_NAME,
                software_versions=__version__,
                device_serial_number="0",
                series_description=DESCRIPTION,
            )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError("The header of the source series cannot carry a key image.", code="CTR-IO-056",
                         hint="Export from a volume (NIfTI) instead: a CT series is then derived.") from error
    image.SpecificCharacterSet = "ISO_IR 192"
    if sources[0].get("BodyPartExamined"):
        image.BodyPartExamined = sources[0].BodyPartExamined
    else:
        image.Laterality = ""  # type 2C: wanted, though unknown, where no body part is named
    image.ConversionType = "WSD"  # made on a workstation, PS3.3 C.8.6.1
    image.BurnedInAnnotation = "NO"  # nothing in it identifies the patient, PS3.3 C.7.6.1
    image.ImageComments = picture.caption[:10240]
    image.NominalScannedPixelSpacing = [decimal(picture.mm_per_px)] * 2
    image.SourceImageSequence = [image_reference(sources[picture.slice])]
    image.ContentDate, image.ContentTime = created.strftime("%Y%m%d"), created.strftime("%H%M%S.%f")
    image.SeriesDate, image.SeriesTime = image.ContentDate, image.ContentTime
    image.DateOfSecondaryCapture, image.TimeOfSecondaryCapture = image.ContentDate, image.ContentTime
    settle(image, "", created)
    return image
