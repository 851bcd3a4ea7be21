"""Measurements, attributes and words of an answer as a DICOM structured report (TID 1500, PS3.16), beside its segmentation.

One measurement group for each segment, in the order of the segments. The report is complete and never verified: accepting a
finding names the person as an observer, and verification is an act of its own (PS3.3 C.17.2).
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from ..errors import InputError
from ..geometry import Volume
from ..version import __version__
from ..vocabulary import Code, Vocabulary
from ..vocabulary.codes import MEASUREMENTS, SCHEME, SCHEME_NAME, SCHEME_VERSION, attribute_code, value_code
from .derived import MANUFACTURER, MODEL_NAME
from .files import save
from .grid import GridMap, grid_map
from .seg import exportable, settle
from .segment import SegObject, algorithm_of, coded, coding_of
from .uids import content_uid

SR_SERIES_NUMBER = 9002
DESCRIPTION = "CTReasoner measurements - research use only"
PROCEDURE: Code = ("25045-6", "LN", "CT unspecified body region")
ANATOMY = "123037004"  # the SCT code of the category "Anatomical Structure"
SIDES = {"7771000", "24028007", "51440002"}  # SCT: left, right, both


def write_sr(path: str | Path, objects: Sequence[SegObject], segmentation: Dataset, volume: Volume, sources: Sequence[Dataset], *,
             vocabulary: Vocabulary | None = None, model: str = "", created: datetime.datetime | None = None,
             accepted_by: str = "") -> Path:
    """Write the report on the segments of ``segmentation``.

    Parameters
    ----------
    objects : the findings that the segmentation was made from; those without a voxel have no segment and no group.
    segmentation : what :func:`build_seg` returned for the same volume and sources.
    accepted_by : the person who accepted the findings, a DICOM name ("Doe^Jane"), or nothing.

    Raises
    ------
    InputError : the segmentation is not that of the findings, or a header cannot be carried on. ResourceError : disk full.
    """
    objects = [item for item in objects if item.mask.any()]
    labels = [str(segment.SegmentLabel) for segment in segmentation.SegmentSequence]
    if labels != [item.display[:64] for item in objects]:
        raise InputError("The segmentation does not hold the segments that the report is about.", code="CTR-IO-054")
    vocabulary, created = vocabulary or Vocabulary.load(), created or datetime.datetime.now()
    grid = grid_map(volume, sources)
    images = [[sources[k] for k in _slices(item, grid)] for item in objects]
    return save(_build(objects, segmentation, images, vocabulary, model, created, accepted_by), Path(path))


def _slices(item: SegObject, grid: GridMap) -> list[int]:
    """Return the slices of the series that hold a segment."""
    mask, first = grid.place(item.mask, item.first_voxel, item.display)
    return [int(first[2] + k) for k in range(mask.shape[2]) if mask[:, :, k].any()]


def _build(objects: Sequence[SegObject], segmentation: Dataset, images: Sequence[Sequence[Dataset]], vocabulary: Vocabulary,
           model: str, created: datetime.datetime, accepted_by: str) -> Dataset:
    import highdicom as hd

    content = (segmentation.SOPInstanceUID, model, __version__, accepted_by, *map(_facts, objects))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            groups = [_group(number, item, segmentation, shown, vocabulary, model)
                      for number, (item, shown) in enumerate(zip(objects, images, strict=True), start=1)]
            report = hd.sr.MeasurementReport(
                observation_context=_observers(accepted_by), procedure_reported=coded(PROCEDURE), imaging_measurements=groups)
            referenced = list({str(image.SOPInstanceUID): image for shown in images for image in shown}.values())
            document = hd.sr.ComprehensiveSR(
                evidence=[*exportable(referenced), segmentation],
                content=report,
                series_instance_uid=content_uid("sr series", *content),
                series_number=SR_SERIES_NUMBER,
                sop_instance_uid=content_uid("sr", *content),
                instance_number=1,
                manufacturer=MANUFACTURER,
                manufacturer_model_name=MODEL_NAME,
                software_versions=__version__,
                device_serial_number="0",
                series_description=DESCRIPTION,
                is_complete=True,
                is_final=False,
                is_verified=False,
            )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(
            "The header of the source series cannot carry a report.",
            code="CTR-IO-055",
            hint="Export from a volume (NIfTI) instead: a CT series is then derived.",
        ) from error
    document.SpecificCharacterSet = "ISO_IR 192"
    document.CodingSchemeIdentificationSequence = [_scheme()]
    document.ContentDate, document.ContentTime = created.strftime("%Y%m%d"), created.strftime("%H%M%S.%f")
    document.SeriesDate, document.SeriesTime = document.ContentDate, document.ContentTime
    settle(document, "", created)
    return document


def _facts(item: SegObject) -> str:
    """Return what a report says of a finding, for its identifiers."""
    measured = [(m.get("name"), m.get("value")) for m in item.measurements]
    return repr((measured, sorted(item.attributes.items()), item.text))


def _scheme() -> Dataset:
    """Return how the private codes are to be understood (PS3.3 C.12.1.1.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeUID = content_uid("coding scheme", SCHEME)
    item.CodingSchemeName = SCHEME_NAME
    item.CodingSchemeVersion = SCHEME_VERSION
    item.CodingSchemeResponsibleOrganization = "CTReasoner"
    return item


def _observers(accepted_by: str):
    """Return the device that measured, and the person who accepted."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    device = hd.sr.ObserverContext(codes.DCM.Device, hd.sr.DeviceObserverIdentifyingAttributes(
        uid=content_uid("device", MODEL_NAME, __version__), name=MODEL_NAME, manufacturer_name=MANUFACTURER,
        model_name=MODEL_NAME, serial_number=__version__))
    person = None
    if accepted_by:
        name = accepted_by if "^" in accepted_by else f"{accepted_by}^"
        person = hd.sr.ObserverContext(codes.DCM.Person, hd.sr.PersonObserverIdentifyingAttributes(name=name))
    return hd.sr.ObservationContext(observer_device_context=device, observer_person_context=person)


def _group(number: int, item: SegObject, segmentation: Dataset, images: Sequence[Dataset], vocabulary: Vocabulary, model: str):
    """Return the measurement group of a segment (TID 1411)."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    segment, coding = segmentation.SegmentSequence[number - 1], coding_of(item, vocabulary)
    algorithm = None
    if item.algorithm != "MANUAL":
        algorithm = hd.sr.AlgorithmIdentification(**algorithm_of(item, model))
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=segment.TrackingUID, identifier=segment.TrackingID),
        referenced_segment=hd.sr.ReferencedSegment(
            segmentation.SOPClassUID, segmentation.SOPInstanceUID, number, source_images=[
                hd.sr.SourceImageForSegmentation(image.SOPClassUID, image.SOPInstanceUID) for image in images]),
        finding_type=coded(coding.type),
        finding_category=coded(coding.category),
        finding_sites=_sites(coding) or None,
        algorithm_id=algorithm,
        measurements=list(_measurements(item)) or None,
        qualitative_evaluations=list(_evaluations(item)) or None,
    )
    for text in filter(None, (item.text, item.note)):
        group[0].ContentSequence.append(  # TID 1411 is extensible, and this is the standard's concept for free words
            hd.sr.TextContentItem(name=codes.DCM.Comment, value=text, relationship_type="CONTAINS"))
    return group


def _sites(coding) -> list:
    """Return where a finding lies: its anatomic region, or the structure that it is, with its side."""
    import highdicom as hd

    region = coding.anatomic_region or (coding.type if coding.category[0] == ANATOMY else None)
    if region is None:
        return []
    side = coded(coding.modifier) if coding.modifier and coding.modifier[0] in SIDES else None
    return [hd.sr.FindingSite(anatomic_location=coded(region), laterality=side)]


def _measurements(item: SegObject) -> Iterator:
    """Yield what was measured and has a code, in the order of the table of codes."""
    import highdicom as hd

    values = {m["name"]: m.get("value") for m in item.measurements}
    for name, code in MEASUREMENTS.items():
        if values.get(name) is None:
            continue
        yield hd.sr.Measurement(
            name=coded(code.concept), value=float(values[name]), unit=coded(code.unit),
            derivation=coded(code.derivation) if code.derivation else None,
            finding_sites=[hd.sr.FindingSite(anatomic_location=coded(code.site))] if code.site else None)


def _evaluations(item: SegObject) -> Iterator:
    import highdicom as hd

    for attribute, value in item.attributes.items():
        concept, answer = attribute_code(attribute), value_code(attribute, value)
        if concept and answer:
            yield hd.sr.QualitativeEvaluation(name=coded(concept), value=coded(answer))
