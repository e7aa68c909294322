// Group calls of matrix-js-sdk: a mesh as MSC3401 was first. One at a time.
import { GroupCallEvent, GroupCallType } from "matrix-js-sdk/lib/webrtc/groupCall.js";
import { GroupCallEventHandlerEvent } from "matrix-js-sdk/lib/webrtc/groupCallEventHandler.js";
import { emit, until } from "./news.js";
import { audioLevel, play, stats } from "./media.js";

let group; // The one that was entered last.

/** Tells of group calls that others begin. */
export function tellOfGroups(client) {
    client.on(GroupCallEventHandlerEvent.Incoming, ({ groupCallId, room, type, intent }) =>
        emit("groupIncoming", { groupCallId, roomId: room.roomId, type, intent }));
}

function follow(call) {
    if (call === group) return;
    group = call;
    const { groupCallId } = call;
    call.on(GroupCallEvent.GroupCallStateChanged, (state, old) =>
        emit("groupState", { groupCallId, state, old }));
    call.on(GroupCallEvent.Error, (error) =>
        emit("groupError", { groupCallId, message: String(error) }));
    call.on(GroupCallEvent.UserMediaFeedsChanged, (feeds) => {
        feeds.filter((feed) => !feed.isLocal()).forEach(play);
        const who = ({ userId, deviceId }) => `${userId}:${deviceId}`;
        emit("groupFeeds", { groupCallId, feeds: feeds.map(who) });
    });
}

async function leg(call, ms) {
    const { callId, state, peerConn } = call;
    const sound = ms ? await audioLevel(call, ms) : undefined;
    return {
        user: call.getOpponentMember()?.userId, device: call.getOpponentDeviceId(), callId, state,
        sound, stats: peerConn ? await stats(peerConn) : null,
    };
}

/** The commands, of the client that `client()` gives. */
export const groupCommands = (client) => ({
    async groupCreate({ roomId, kind = "video", isPtt = false, intent = "m.prompt" }) {
        const type = kind === "voice" ? GroupCallType.Voice : GroupCallType.Video;
        const { groupCallId } = await client().createGroupCall(roomId, type, isPtt, intent);
        return { groupCallId };
    },
    async groupEnter({ roomId }) {
        const found = () => client().getGroupCallForRoom(roomId);
        follow(await until(found, 10000, "a group call"));
        await group.enter();
        return { groupCallId: group.groupCallId };
    },
    async groupState({ ms = 0 }) {
        const legs = [];
        group?.forEachCall((call) => legs.push(leg(call, ms)));
        return { state: group?.state, groupCallId: group?.groupCallId, calls: await Promise.all(legs) };
    },
    async groupLeave() {
        group?.leave();
    },
});
