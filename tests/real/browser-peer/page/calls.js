// The calls of a client: all of them by id, what they went through, and news of them.
import { CallEvent } from "matrix-js-sdk/lib/webrtc/call.js";
import { emit } from "./news.js";
import { play, watchFirstAudio } from "./media.js";

const calls = new Map(); // callId -> MatrixCall, in the order in which they began
const history = new Map(); // callId -> the states it went through

export const all = () => [...calls.values()];

const track = (track) =>
    `${track.kind}:${track.readyState}:${track.enabled ? "on" : "off"}${track.muted ? ":muted" : ""}`;

const describeFeed = (feed) => ({
    local: feed.isLocal(), purpose: feed.purpose, userId: feed.userId, streamId: feed.stream.id,
    audioMuted: feed.isAudioMuted(), videoMuted: feed.isVideoMuted(),
    tracks: feed.stream.getTracks().map(track),
});

/** The call object of the protocol. */
export const describe = (call) => ({
    callId: call.callId,
    roomId: call.roomId,
    direction: call.direction,
    type: call.type,
    state: call.state,
    states: history.get(call.callId) ?? [],
    ourPartyId: call.ourPartyId,
    opponentPartyId: call.opponentPartyId ?? null,
    opponentUserId: call.getOpponentMember?.()?.userId ?? null,
    hangupParty: call.hangupParty ?? null,
    hangupReason: call.hangupReason ?? null,
    remoteOnHold: call.isRemoteOnHold(),
    localOnHold: call.isLocalOnHold(),
    micMuted: call.isMicrophoneMuted(),
    videoMuted: call.isLocalVideoMuted(),
    screensharing: call.isScreensharing(),
    opponentSupportsTransfer: call.opponentCanBeTransferred(),
    opponentSupportsDTMF: call.opponentSupportsDTMF(),
    feeds: call.getFeeds().map(describeFeed),
});

function watchConnection(callId, connection) {
    if (!connection || connection.watched) return;
    connection.watched = true;
    const on = (name, listener) => connection.addEventListener(name, listener);
    on("iceconnectionstatechange",
        () => emit("ice", { callId, state: connection.iceConnectionState }));
    on("connectionstatechange", () => emit("pc", { callId, state: connection.connectionState }));
    on("icecandidate", ({ candidate }) => emit("localCandidate", {
        callId, candidate: candidate?.candidate ?? null,
        sdpMid: candidate?.sdpMid, sdpMLineIndex: candidate?.sdpMLineIndex,
    }));
    on("icecandidateerror", ({ url, errorCode, errorText }) =>
        emit("candidateError", { callId, url, code: errorCode, text: errorText }));
    on("track", ({ track, streams, receiver }) => {
        emit("track", { callId, kind: track.kind, streams: streams.map((stream) => stream.id) });
        watchFirstAudio(callId, receiver);
    });
    // A call that rings has its tracks already.
    connection.getReceivers().forEach((receiver) => watchFirstAudio(callId, receiver));
}

/** Tells of each tone when it begins to sound, and with an empty one that there are no more. */
export function watchTones({ callId, peerConn }) {
    for (const { dtmf } of peerConn.getSenders()) {
        if (dtmf) dtmf.ontonechange = ({ tone }) => emit("tone", { callId, tone });
    }
}

/** Follows a call from now on. */
export function follow(call) {
    const { callId } = call;
    if (calls.has(callId)) return call;
    calls.set(callId, call);
    history.set(callId, [call.state]);
    call.on(CallEvent.State, (state, old) => {
        history.get(callId).push(state);
        emit("callState", { callId, state, old });
    });
    call.on(CallEvent.Hangup, () =>
        emit("callHangup", { callId, party: call.hangupParty, reason: call.hangupReason }));
    call.on(CallEvent.Error, ({ code, message }) => emit("callError", { callId, code, message }));
    call.on(CallEvent.Replaced, (by) => {
        follow(by);
        emit("callReplaced", { callId, by: by.callId });
    });
    call.on(CallEvent.LocalHoldUnhold, (on) => emit("localHold", { callId, on }));
    call.on(CallEvent.RemoteHoldUnhold, (on) => emit("remoteHold", { callId, on }));
    call.on(CallEvent.FeedsChanged, (feeds) => {
        emit("feeds", { callId, feeds: feeds.map(describeFeed) });
        feeds.filter((feed) => !feed.isLocal()).forEach(play);
    });
    call.on(CallEvent.PeerConnectionCreated, (connection) => watchConnection(callId, connection));
    watchConnection(callId, call.peerConn);
    // A call that replaces another may have its feeds already.
    call.getRemoteFeeds().forEach(play);
    return call;
}

/** The call of that id; without one the newest that has not ended, else the newest. */
export function pick(callId) {
    if (callId) {
        if (!calls.has(callId)) throw new Error("no call " + callId);
        return calls.get(callId);
    }
    const call = all().findLast((call) => call.state !== "ended") ?? all().at(-1);
    if (!call) throw new Error("no call");
    return call;
}
