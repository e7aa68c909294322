// The page: matrix-js-sdk behind the commands of ../../PROTOCOL.md, each a function of its
// arguments. Commands of the process itself (quit, close, offline, screenshot) are in peer.mjs.
import * as sdk from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";
import { CallErrorCode } from "matrix-js-sdk/lib/webrtc/call.js";
import { CallEventHandlerEvent } from "matrix-js-sdk/lib/webrtc/callEventHandler.js";
import { emit, until } from "./news.js";
import { fetchFn, holdToDevice, isCall } from "./http.js";
import { audioLevel, hear, openPeerConnections, stats } from "./media.js";
import { all, describe, follow, pick, watchTones } from "./calls.js";
import { groupCommands, tellOfGroups } from "./groups.js";

let client;
let storageKey; // Id and key of the secret storage that `recoveryKey` made.

async function credentials({ hs, user, password, deviceId, register }) {
    const post = (path, body) => fetch(hs + "/_matrix/client/v3" + path, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
    });
    if (register) {
        const auth = { type: "m.login.dummy" };
        await post("/register", { username: user, password, inhibit_login: true, auth });
    }
    const response = await post("/login", {
        type: "m.login.password", identifier: { type: "m.id.user", user }, password,
        device_id: deviceId, initial_device_display_name: "browser peer",
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(JSON.stringify(answer));
    return { accessToken: answer.access_token, userId: answer.user_id, deviceId: answer.device_id };
}

function tellNews(client) {
    tellOfGroups(client);
    client.on(CallEventHandlerEvent.Incoming, (call) =>
        emit("incoming", { call: describe(follow(call)) }));
    client.on(sdk.RoomEvent.MyMembership, ({ roomId }, membership) =>
        emit("membership", { roomId, membership }));
    client.on(sdk.ClientEvent.Sync, (state, old) => {
        if (state !== old) emit("sync", { state });
    });
    client.on(sdk.MatrixEventEvent.Decrypted, (event) => {
        if (!isCall(event.getType())) return;
        emit("decrypted", { roomId: event.getRoomId(), event: event.getEffectiveEvent() });
    });
}

const seen = (callId) => () => {
    try {
        const { state, hangupReason } = pick(callId);
        return ` (is ${state}${hangupReason ? ", " + hangupReason : ""})`;
    } catch {
        return " (no such call)";
    }
};

const received = (measured, kind) => measured.inbound
    .filter((stream) => stream.kind === kind)
    .reduce((sum, stream) => sum + stream.bytes, 0);

const room = (roomId) => client.getRoom(roomId);

const commands = {
    // --- account and rooms

    async login({ forceTURN = false, crypto = false, displayName, ...account }) {
        logger.setLevel?.("warn");
        const { accessToken, userId, deviceId } =
            account.accessToken ? account : await credentials(account);
        client = sdk.createClient({
            baseUrl: account.hs, accessToken, userId, deviceId, fetchFn, forceTURN,
            supportsCallTransfer: true, timelineSupport: true, useE2eForGroupCall: crypto,
            // Or js-sdk asks a public STUN server when there is no TURN.
            fallbackICEServerAllowed: false,
            cryptoCallbacks: {
                cacheSecretStorageKey: (id, info, key) => { storageKey = [id, key]; },
                getSecretStorageKey: async () => storageKey,
            },
        });
        if (crypto) await client.initRustCrypto({ useIndexedDB: false });
        tellNews(client);
        await client.startClient({ initialSyncLimit: 5, lazyLoadMembers: false });
        await until(() => client.isInitialSyncComplete(), 20000, "the first sync");
        if (displayName) await client.setDisplayName(displayName);
        await until(() => client.getTurnServers().length > 0, 5000, "TURN").catch(() => {});
        const turnServers = client.getTurnServers().map((server) => server.urls);
        return { userId, deviceId, sessionId: client.getSessionId(), turnServers };
    },
    async createRoom({ invite = [], encrypted = false, name, roomVersion, powerLevels, ...other }) {
        const algorithm = "m.megolm.v1.aes-sha2";
        const encryption = { type: "m.room.encryption", state_key: "", content: { algorithm } };
        const { room_id: roomId } = await client.createRoom({
            invite, name, room_version: roomVersion, power_level_content_override: powerLevels,
            preset: other.preset ?? "trusted_private_chat", is_direct: other.isDirect ?? true,
            initial_state: encrypted ? [encryption] : [],
        });
        await until(() => room(roomId), 10000, "the room");
        return { roomId };
    },
    async invite({ roomId, userId }) {
        await client.invite(roomId, userId);
    },
    async join({ roomId, waitInvite = true }) {
        if (waitInvite) await until(() => room(roomId), 10000, "the invitation").catch(() => {});
        await client.joinRoom(roomId);
        await until(() => room(roomId)?.getMyMembership() === "join", 10000, "the room");
    },
    async leave({ roomId }) {
        await client.leave(roomId);
    },
    async members({ roomId, count = 0, timeoutMs = 10000 }) {
        const joined = () => room(roomId)?.getJoinedMembers().map((member) => member.userId) ?? [];
        await until(() => joined().length >= count, timeoutMs, `${count} members`);
        return { members: joined() };
    },
    async turnServers() {
        return { servers: client.getTurnServers() };
    },
    async send({ roomId, type, content }) {
        return await client.sendEvent(roomId, type, content);
    },
    async sendState({ roomId, type, content, stateKey = "" }) {
        return await client.sendStateEvent(roomId, type, content, stateKey);
    },
    async http({ method = "GET", path, query, body, prefix = "/_matrix/client/v3" }) {
        return await client.http.authedRequest(method, path, query, body, { prefix });
    },
    async holdToDevice({ on = true }) {
        return { released: holdToDevice(on) };
    },
    async recoveryKey() {
        const crypto = client.getCrypto();
        const key = await crypto.createRecoveryKeyFromPassphrase();
        const authUploadDeviceSigningKeys = (makeRequest) => makeRequest(null);
        await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys });
        const createSecretStorageKey = async () => key;
        await crypto.bootstrapSecretStorage({ createSecretStorageKey, setupNewSecretStorage: true });
        return { recoveryKey: key.encodedPrivateKey };
    },
    async logout() {
        client.stopClient();
        await client.logout(true).catch(() => {});
    },
    async stop() {
        client.stopClient();
    },

    // --- calls

    async call({ roomId, kind = "video", invitee, wait = false }) {
        const call = client.createCall(roomId);
        if (invitee) call.invitee = invitee;
        follow(call);
        const placed = kind === "voice" ? call.placeVoiceCall() : call.placeVideoCall();
        if (wait) await placed;
        else placed.catch((error) => emit("placeError", { message: String(error) }));
        return { callId: call.callId };
    },
    async answer({ callId, audio, video }) {
        const call = pick(callId);
        await call.answer(audio, video);
        return { callId: call.callId };
    },
    async reject({ callId }) {
        const call = pick(callId);
        call.reject();
        return { callId: call.callId };
    },
    async hangup({ callId, reason = CallErrorCode.UserHangup }) {
        const call = pick(callId);
        call.hangup(reason, false);
        return { callId: call.callId };
    },
    async hold({ callId, on = true }) {
        const call = pick(callId);
        call.setRemoteOnHold(on);
        return { remoteOnHold: call.isRemoteOnHold() };
    },
    async muteAudio({ callId, on = true }) {
        return { muted: await pick(callId).setMicrophoneMuted(on) };
    },
    async muteVideo({ callId, on = true }) {
        return { muted: await pick(callId).setLocalVideoMuted(on) };
    },
    async screenshare({ callId, on = true, audio = false }) {
        return { sharing: await pick(callId).setScreensharingEnabled(on, { audio }) };
    },
    async dtmf({ callId, digit = "5" }) {
        const call = pick(callId);
        watchTones(call);
        call.sendDtmfDigit(digit);
    },
    async transfer({ callId, userId, toCallId }) {
        const call = pick(callId);
        if (toCallId) await call.transferToCall(pick(toCallId));
        else await call.transfer(userId);
    },
    async iceRestart({ callId }) {
        pick(callId).peerConn.restartIce();
    },

    ...groupCommands(() => client),

    // --- looking at calls

    async state({ callId }) {
        if (callId) return describe(pick(callId));
        return { calls: all().map(describe), openPeerConnections: openPeerConnections() };
    },
    async stats({ callId }) {
        const call = pick(callId);
        const measured = call.peerConn ? await stats(call.peerConn) : {};
        return { callId: call.callId, state: call.state, ...measured };
    },
    async audioLevel({ callId, ms = 2500 }) {
        return await audioLevel(pick(callId), ms);
    },
    async hear({ callId, ms = 2500 }) {
        return await hear(pick(callId), ms);
    },
    async sdp({ callId }) {
        const connection = pick(callId).peerConn;
        return { local: connection?.localDescription, remote: connection?.remoteDescription };
    },
    async waitFor({ callId, timeoutMs = 20000, ...what }) {
        const wait = (test, name) => until(test, timeoutMs, () => name + seen(callId)());
        if (what.incoming) {
            return describe(await wait(() => all().find((call) =>
                call.direction === "inbound" && call.state === "ringing" &&
                (!callId || call.callId === callId)), "an incoming call"));
        }
        if (what.state) {
            return describe(await wait(() => [pick(callId)].find((call) =>
                call.state === what.state &&
                (!what.hangupReason || call.hangupReason === what.hangupReason)),
            "state " + what.state));
        }
        if (what.remoteFeeds !== undefined) {
            return describe(await wait(() => [pick(callId)].find((call) =>
                call.getRemoteFeeds().length === what.remoteFeeds), "remote feeds"));
        }
        if (what.minInboundBytes) {
            return await wait(async () => {
                const measured = await stats(pick(callId).peerConn);
                const kinds = what.kinds ?? ["audio"];
                const enough = (kind) => received(measured, kind) >= what.minInboundBytes;
                return kinds.every(enough) && measured;
            }, "inbound bytes");
        }
        throw new Error("unsupported: waitFor " + JSON.stringify(what));
    },
};

window.peerCommand = async (cmd, args) => {
    if (!Object.hasOwn(commands, cmd)) throw new Error("unsupported: " + cmd);
    if (!client && cmd !== "login") throw new Error("not logged in");
    return (await commands[cmd](args)) ?? {};
};

emit("ready", { ua: navigator.userAgent });
