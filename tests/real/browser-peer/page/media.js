// What the media of a call do: counters, sound levels, the first sound that came.
import { emit, until } from "./news.js";

// Every connection of the page, whoever made it: to see whether calls leave some behind.
const connections = new Set();
window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...args) {
        super(...args);
        connections.add(this);
    }
};
export const openPeerConnections = () =>
    [...connections].filter((connection) => connection.signalingState !== "closed").length;

const end = (candidate) => candidate && {
    type: candidate.candidateType, protocol: candidate.protocol, address: candidate.address,
    port: candidate.port, relayProtocol: candidate.relayProtocol, url: candidate.url,
};

const pair = (transport, byId) => {
    const chosen = byId.get(transport.selectedCandidatePairId);
    return {
        local: end(byId.get(chosen?.localCandidateId)),
        remote: end(byId.get(chosen?.remoteCandidateId)),
        dtls: transport.dtlsState, srtp: transport.srtpCipher,
        tls: transport.tlsVersion, dtlsRole: transport.dtlsRole,
    };
};

const inbound = (stream, codec) => ({
    mid: stream.mid, kind: stream.kind, bytes: stream.bytesReceived,
    packets: stream.packetsReceived, lost: stream.packetsLost,
    framesDecoded: stream.framesDecoded, width: stream.frameWidth, height: stream.frameHeight,
    freezeCount: stream.freezeCount, totalFreezesDuration: stream.totalFreezesDuration,
    keyFramesDecoded: stream.keyFramesDecoded, pliCount: stream.pliCount,
    concealedSamples: stream.concealedSamples, totalSamplesReceived: stream.totalSamplesReceived,
    silentConcealedSamples: stream.silentConcealedSamples,
    jitterBufferDelay: stream.jitterBufferDelay, jitterBufferTargetDelay: stream.jitterBufferTargetDelay,
    jitterBufferEmittedCount: stream.jitterBufferEmittedCount, fecPacketsReceived: stream.fecPacketsReceived,
    codec,
});

const outbound = (stream, codec) => ({
    mid: stream.mid, kind: stream.kind, bytes: stream.bytesSent, packets: stream.packetsSent,
    framesEncoded: stream.framesEncoded, keyFramesEncoded: stream.keyFramesEncoded,
    pliCount: stream.pliCount, codec,
});

/** The `stats` of the protocol. */
export async function stats(connection) {
    const byId = new Map();
    (await connection.getStats()).forEach((entry) => byId.set(entry.id, entry));
    const all = [...byId.values()];
    const codec = (stream) => byId.get(stream.codecId)?.mimeType;
    const of = (type) => all.filter((entry) => entry.type === type);
    const transport = of("transport").find((entry) => entry.selectedCandidatePairId);
    return {
        iceConnectionState: connection.iceConnectionState,
        connectionState: connection.connectionState,
        signalingState: connection.signalingState,
        inbound: of("inbound-rtp").map((stream) => inbound(stream, codec(stream))),
        outbound: of("outbound-rtp").map((stream) => outbound(stream, codec(stream))),
        pair: transport ? pair(transport, byId) : null,
    };
}

/** The frequency with the most energy at this moment, in Hz. */
function strongest(analyser) {
    const levels = new Float32Array(analyser.frequencyBinCount);
    analyser.getFloatFrequencyData(levels);
    const bin = levels.reduce((best, level, at) => (level > levels[best] ? at : best), 0);
    return (bin * analyser.context.sampleRate) / analyser.fftSize;
}

/** Peak and RMS of the remote sound over `ms` from now on: whether sound comes, not only bytes; and
 * the tone at the end of it. */
export async function audioLevel(call, ms) {
    const feed = call.getRemoteFeeds().find((feed) => feed.stream.getAudioTracks().length);
    if (!feed) return { peak: 0, rms: 0, context: "no remote audio" };
    const context = new AudioContext();
    await context.resume();
    const analyser = new AnalyserNode(context, { fftSize: 16384 });
    const source = new MediaStream(feed.stream.getAudioTracks());
    context.createMediaStreamSource(source).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    let [peak, sum, count] = [0, 0, 0];
    for (const end = Date.now() + ms; Date.now() < end; ) {
        analyser.getFloatTimeDomainData(samples);
        for (const sample of samples) {
            peak = Math.max(peak, Math.abs(sample));
            sum += sample * sample;
        }
        count += samples.length;
        await new Promise((resolve) => setTimeout(resolve, 40));
    }
    const [state, tone] = [context.state, peak > 0.01 ? { hz: strongest(analyser) } : null];
    await context.close();
    return { peak, rms: Math.sqrt(sum / count), context: state, tone };
}

/** Samples a second of `hear`: enough for speech, and few enough for a line. */
const RATE = 16000;

/** What an AudioWorklet runs: it hands over all that comes. */
const TAPE = `registerProcessor("tape", class extends AudioWorkletProcessor {
    process([input]) {
        if (input[0]) this.port.postMessage(input[0]);
        return true;
    }
});`;

const base64 = (bytes) => {
    let text = "";
    for (let at = 0; at < bytes.length; at += 4096) {
        text += String.fromCharCode(...bytes.subarray(at, at + 4096));
    }
    return btoa(text);
};

/** The remote sound of the next `ms`: one channel, 16 bits, little endian, base64. */
export async function hear(call, ms) {
    const feed = call.getRemoteFeeds().find((feed) => feed.stream.getAudioTracks().length);
    if (!feed) throw new Error("no remote audio");
    const context = new AudioContext({ sampleRate: RATE });
    await context.resume();
    await context.audioWorklet.addModule(
        URL.createObjectURL(new Blob([TAPE], { type: "text/javascript" })));
    const tape = new AudioWorkletNode(context, "tape",
        { channelCount: 1, channelCountMode: "explicit" });
    const source = new MediaStream(feed.stream.getAudioTracks());
    // Only what leads to the end is run; it gives silence.
    context.createMediaStreamSource(source).connect(tape).connect(context.destination);
    const heard = new Int16Array(Math.round((RATE * ms) / 1000));
    let at = 0;
    tape.port.onmessage = ({ data }) => {
        for (const sample of data.subarray(0, heard.length - at)) {
            heard[at++] = Math.max(-1, Math.min(1, sample)) * 32767;
        }
    };
    try {
        await until(() => at === heard.length, 5 * ms, "sound");
    } finally {
        await context.close();
    }
    return { rate: RATE, pcm: base64(new Uint8Array(heard.buffer)) };
}

/** Plays a remote feed: Chromium decodes only what somebody plays. */
export function play(feed) {
    const id = "m" + feed.stream.id;
    let element = document.getElementById(id);
    if (!element) {
        element = Object.assign(document.createElement("video"),
            { id, autoplay: true, muted: true, playsInline: true });
        document.body.appendChild(element);
    }
    if (element.srcObject === feed.stream) return;
    element.srcObject = feed.stream;
    element.play().catch(() => {});
}

const watched = new WeakSet();

/** Tells once when the first decoded frame of sound has come out of `receiver`. */
export function watchFirstAudio(callId, receiver) {
    if (receiver.track.kind !== "audio" || watched.has(receiver)) return;
    watched.add(receiver);
    const look = () => {
        const [source] = receiver.getSynchronizationSources();
        // The time of the last frame, in ms since the Unix epoch: of the first, at this look.
        if (source) emit("firstAudio", { callId, at: Math.round(source.timestamp) });
        else if (receiver.track.readyState === "live") setTimeout(look, 5);
    };
    look();
}
