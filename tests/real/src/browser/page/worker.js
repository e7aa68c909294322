// Encoded frames of all lines. On the way out each frame that Chromium's encoder makes gets the bytes
// of the next one of ours, and goes nowhere when there is none; on the way in the bytes go to Rust, and
// the decoder gets something that it understands.
const CODECS = { "audio/opus": 0, "video/vp8": 1, "video/h264": 2 };
const SILENCE = new Uint8Array([0xf8, 0xff, 0xfe]);
// Frames of ours that may wait for Chromium's, and for how long (ms): others would only come late.
const MOST = { audio: 4, video: 2 };
const LONGEST = 100;
const FRAME = 0, WISH = 1;

const outgoing = new Map();
const receivers = new Map();
let decodable = null;

// ----------------------------------------------------------------------------- records to Rust

let waiting = [];
let wake = () => {};

async function talk() {
  for (;;) {
    if (!waiting.length) await new Promise((done) => { wake = done; });
    const body = new Blob(waiting);
    waiting = [];
    await fetch("/arrived", { method: "POST", body });
  }
}

// What came in, and of which line; all numbers are big-endian.
function tell(what, { connection, line }, data, { codec, timestamp, sequence, level } = {}) {
  const head = new DataView(new ArrayBuffer(26));
  head.setUint32(0, 22 + data.byteLength);
  head.setUint8(4, what);
  head.setUint32(5, connection);
  head.setUint32(9, line);
  head.setUint8(13, codec ?? 255);
  head.setUint32(14, timestamp ?? 0);
  head.setInt32(18, sequence ?? -1);
  head.setFloat32(22, level ?? NaN);
  waiting.push(head.buffer, data);
  wake();
}

// --------------------------------------------------------------------------------- both ways

const codecOf = (meta) => CODECS[meta.mimeType?.toLowerCase()] ?? 255;

function outward(frame, controller, options) {
  // Encoders make a key frame when the other side asks for one.
  if (frame.type === "key") tell(WISH, options, new ArrayBuffer(0));
  const queue = outgoing.get(options.line);
  while (queue?.[0]?.since < performance.now() - LONGEST) queue.shift();
  const ours = queue?.shift();
  if (!ours || ours.codec !== codecOf(frame.getMetadata())) return;
  frame.data = ours.data;
  controller.enqueue(frame);
}

function inward(frame, controller, options) {
  const meta = frame.getMetadata();
  tell(FRAME, options, frame.data, {
    codec: codecOf(meta), timestamp: meta.rtpTimestamp, sequence: meta.sequenceNumber,
    level: meta.audioLevel,
  });
  const known = options.kind === "audio" ? SILENCE : decodable;
  frame.data = known.slice().buffer;
  controller.enqueue(frame);
}

onrtctransform = ({ transformer }) => {
  const { options, readable, writable } = transformer;
  const isOut = options.way === "out";
  if (isOut) outgoing.set(options.line, Object.assign([], { most: MOST[options.kind] }));
  else receivers.set(options.line, transformer);
  const step = isOut ? outward : inward;
  const transform = (frame, controller) => step(frame, controller, options);
  // They end with the connection, one way or another.
  readable.pipeThrough(new TransformStream({ transform })).pipeTo(writable).catch(() => {});
};

onmessage = ({ data: { end, keyFrame } }) => {
  if (end) { outgoing.delete(end); receivers.delete(end); }
  if (keyFrame) receivers.get(keyFrame)?.sendKeyFrameRequest().catch(() => {});
};

// ------------------------------------------------------------------------------ frames of ours

function queue(record) {
  const view = new DataView(record.buffer, record.byteOffset);
  const all = outgoing.get(view.getUint32(0));
  if (!all) return;
  const since = performance.now();
  all.push({ since, codec: view.getUint8(4), data: record.slice(5).buffer });
  if (all.length > all.most) all.shift();
}

async function listen() {
  const reader = (await fetch("/frames")).body.getReader();
  for (let rest = new Uint8Array(); ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const all = new Uint8Array(rest.length + value.length);
    all.set(rest);
    all.set(value, rest.length);
    let at = 0;
    for (;;) {
      const left = all.length - at;
      const length = left < 4 ? Infinity : new DataView(all.buffer, at).getUint32(0);
      if (left < 4 + length) break;
      queue(all.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    rest = all.slice(at);
  }
}

// A picture that every decoder takes.
async function encodable() {
  const canvas = new OffscreenCanvas(64, 64);
  canvas.getContext("2d").fillRect(0, 0, 64, 64);
  return new Promise((done, failed) => {
    const output = (chunk) => {
      const data = new Uint8Array(chunk.byteLength);
      chunk.copyTo(data);
      done(data);
    };
    const encoder = new VideoEncoder({ output, error: failed });
    encoder.configure({ codec: "vp8", width: 64, height: 64 });
    encoder.encode(new VideoFrame(canvas, { timestamp: 0 }), { keyFrame: true });
    encoder.flush();
  });
}

encodable().then((data) => {
  decodable = data;
  listen();
  talk();
  postMessage("ready");
});
