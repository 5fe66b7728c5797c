// The exported network in the browser, and what its file says of it.
import * as ort from "onnxruntime-web/wasm";

ort.env.wasm.numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;

export async function openModel(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status}. See the README: export the model first.`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const told = metadata(bytes);
  const session = await ort.InferenceSession.create(bytes);
  return {
    names: JSON.parse(told.classes).map((one) => one.name),
    photo: JSON.parse(told.use).photo,
    // ImageData in; probabilities of each class out, one plane after another.
    async predict({ data, width, height }) {
      const rgb = new Uint8Array(width * height * 3);
      for (let from = 0, to = 0; to < rgb.length; from += 4)
        for (let channel = 0; channel < 3; channel++) rgb[to++] = data[from + channel];
      const image = new ort.Tensor("uint8", rgb, [1, height, width, 3]);
      return (await session.run({ image })).probabilities.data;
    },
  };
}

// ONNX Runtime Web does not hand out a model's metadata_props: field 14 of the file's outermost
// message, each with a key (1) and a value (2). All else is skipped by its length.
function metadata(bytes) {
  const text = new TextDecoder();
  const told = {};
  for (const [field, value] of fields(bytes))
    if (field === 14) {
      const entry = Object.fromEntries(fields(value));
      told[text.decode(entry[1])] = text.decode(entry[2]);
    }
  return told;
}

function* fields(bytes) {
  let at = 0;
  const varint = () => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const kind = key & 7; // 0: a number; 1 and 5: eight and four bytes; 2: its length, then bytes
    if (kind === 0) varint();
    else if (kind === 2) {
      const length = varint();
      yield [key >> 3, bytes.subarray(at, at + length)];
      at += length;
    } else at += kind === 1 ? 8 : 4;
  }
}
