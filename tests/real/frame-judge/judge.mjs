// The frame judge: the frame worker of npm livekit-client as browsers load it, on Node, driven by
// JSON lines on stdin and stdout. What a browser has around it is stubbed here; the worker itself is
// the file as it was published.
//
// A request is {id, cmd, ...}; its answer {id, ok: {...}} or {id, error: "..."}. Bytes are
// hexadecimal. Commands:
//   profile {ring, window, tolerance}       for participants that are named from now on
//   key {who, index, key, derivation}       derivation: "HKDF" or "PBKDF2"
//   ratchet {who, index} -> {key}           the new material
//   trailer {trailer}                       what the server marks its own frames with
//   seal, open {who, track, coding, type, frame, ssrc, timestamp} -> {frame, errors}
//       coding: "opus" (no type), "vp8", "vp9", "h264"; type: "key" or "delta";
//       frame is null where the worker dropped it
//
// Environment: REAL_MODULES, the folder that holds node_modules.
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";
import vm from "node:vm";

const worker = path.join(
    process.env.REAL_MODULES, "node_modules/livekit-client/dist/livekit-client.e2ee.worker.js",
);

class RTCEncodedAudioFrame {
    constructor(data, timestamp, ssrc) {
        Object.assign(this, { data, timestamp, ssrc });
    }

    getMetadata() {
        return { synchronizationSource: this.ssrc };
    }
}

// A type makes it a video frame in the worker's eyes.
class RTCEncodedVideoFrame extends RTCEncodedAudioFrame {
    constructor(data, timestamp, ssrc, coding, type) {
        super(data, timestamp, ssrc);
        Object.assign(this, { coding, type });
    }

    getMetadata() {
        return { synchronizationSource: this.ssrc, mimeType: "video/" + this.coding.toUpperCase() };
    }
}

// What the worker says that nobody asked for.
let told = [];
let waiting = null;

function posted(message) {
    if (message.kind === "error") {
        told.push(String(message.data.error?.message ?? message.data.error));
    }
    if (waiting && message.kind === waiting.kind) {
        waiting.resolve(message.data);
        waiting = null;
    }
}

const reply = (kind) => new Promise((resolve) => { waiting = { kind, resolve }; });

Object.assign(globalThis, {
    self: globalThis, onmessage: null, postMessage: posted, RTCEncodedAudioFrame, RTCEncodedVideoFrame,
});
vm.runInThisContext(fs.readFileSync(worker, "utf8"), { filename: worker });
const post = (kind, data) => globalThis.onmessage({ data: { kind, data } });

const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex")).buffer;
const hex = (buffer) => Buffer.from(new Uint8Array(buffer)).toString("hex");

// One pipe through the worker for each track and direction.
const pipes = new Map();

function pipe(kind, who, track, coding) {
    const name = [kind, who, track].join(" ");
    if (!pipes.has(name)) {
        let feed;
        const arrived = { frames: [], wake: () => {} };
        const readableStream = new ReadableStream({ start: (controller) => { feed = controller; } });
        const writableStream = new WritableStream({
            write: (frame) => { arrived.frames.push(frame); arrived.wake(); },
        });
        const codec = coding === "opus" ? undefined : coding;
        post(kind, {
            participantIdentity: who, trackId: name, readableStream, writableStream, codec,
            hasPacketTrailer: false,
        });
        pipes.set(name, { feed, arrived });
    }
    return pipes.get(name);
}

// An empty frame passes unchanged and in order: when it arrives, the worker is done with the other.
async function through(kind, { who, track, coding, type, frame, ssrc, timestamp }) {
    told = [];
    const { feed, arrived } = pipe(kind, who, track, coding);
    const made = (data) => coding === "opus"
        ? new RTCEncodedAudioFrame(data, timestamp, ssrc)
        : new RTCEncodedVideoFrame(data, timestamp, ssrc, coding, type);
    const mark = made(new ArrayBuffer(0));
    feed.enqueue(made(bytes(frame)));
    feed.enqueue(mark);
    while (arrived.frames.at(-1) !== mark) {
        await new Promise((resolve) => { arrived.wake = resolve; });
    }
    const [first] = arrived.frames.splice(0);
    return { frame: first === mark ? null : hex(first.data), errors: told };
}

const commands = {
    async profile({ ring, window, tolerance }) {
        const ready = reply("initAck");
        post("init", {
            loglevel: "silent",
            keyProviderOptions: {
                sharedKey: false, ratchetSalt: "LKFrameEncryptionKey", ratchetWindowSize: window,
                failureTolerance: tolerance, keyringSize: ring, keySize: 128,
            },
        });
        await ready;
    },
    async key({ who, index, key, derivation }) {
        const material = await crypto.subtle.importKey(
            "raw", bytes(key), derivation, false, ["deriveBits", "deriveKey"],
        );
        post("setKey", {
            participantIdentity: who, isPublisher: true, key: material, keyIndex: index,
            updateCurrentKeyIndex: true,
        });
        // Commands are worked off in order.
        const enabled = reply("enable");
        post("enable", { enabled: true, participantIdentity: who });
        await enabled;
    },
    async ratchet({ who, index }) {
        const ratcheted = reply("ratchetKey");
        post("ratchetRequest", { participantIdentity: who, keyIndex: index });
        return { key: hex((await ratcheted).ratchetResult.chainKey) };
    },
    async trailer({ trailer }) {
        post("setSifTrailer", { trailer: new Uint8Array(bytes(trailer)) });
    },
    seal: (request) => through("encode", request),
    open: (request) => through("decode", request),
};

for await (const line of readline.createInterface({ input: process.stdin })) {
    const { id, cmd, ...rest } = JSON.parse(line);
    let answer;
    try {
        answer = { id, ok: (await commands[cmd](rest)) ?? {} };
    } catch (error) {
        answer = { id, error: String(error) };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
}
