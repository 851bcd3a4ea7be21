// Reads a DICOM segmentation or report with dcmjs, as web viewers do, and prints what it holds as JSON.
const fs = require("fs");
const dcmjs = require(process.argv[3]);

const list = (value) => (value === undefined ? [] : Array.isArray(value) ? value : [value]);
const code = (item) => [item.CodeValue, item.CodingSchemeDesignator];

function segmentation(set) {
  const bits = dcmjs.data.BitArray.unpack(new Uint8Array(set.PixelData instanceof Array ? set.PixelData[0] : set.PixelData));
  const size = set.Rows * set.Columns;
  const frames = list(set.PerFrameFunctionalGroupsSequence).map((frame, n) => {
    const source = list(list(frame.DerivationImageSequence)[0].SourceImageSequence)[0];
    const on = [];
    for (let at = 0; at < size; at++) if (bits[n * size + at]) on.push(at);
    return { segment: list(frame.SegmentIdentificationSequence)[0].ReferencedSegmentNumber, image: source.ReferencedSOPInstanceUID, on };
  });
  const segments = list(set.SegmentSequence).map((s) => ({
    number: s.SegmentNumber, label: s.SegmentLabel, type: code(list(s.SegmentedPropertyTypeCodeSequence)[0]),
    category: code(list(s.SegmentedPropertyCategoryCodeSequence)[0]), tracking: s.TrackingID, algorithm: s.SegmentAlgorithmType,
    colour: dcmjs.data.Colors.dicomlab2RGB(s.RecommendedDisplayCIELabValue).map((v) => Math.round(255 * v)),
  }));
  return { columns: set.Columns, frames, segments };
}

function report(set) {
  const numbers = [];
  const walk = (item) => {
    if (item.ValueType === "NUM") {
      const value = list(item.MeasuredValueSequence)[0];
      numbers.push([...code(list(item.ConceptNameCodeSequence)[0]), Number(value.NumericValue),
                    list(value.MeasurementUnitsCodeSequence)[0].CodeValue]);
    }
    list(item.ContentSequence).forEach(walk);
  };
  walk(set);
  return { numbers };
}

const file = fs.readFileSync(process.argv[2]);
const buffer = file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength);
const set = dcmjs.data.DicomMetaDictionary.naturalizeDataset(dcmjs.data.DicomMessage.readFile(buffer).dict);
console.log(JSON.stringify(set.Modality === "SEG" ? segmentation(set) : report(set)));
