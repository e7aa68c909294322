// The client's HTTP: tells what really goes over it, and loses or delays it on command.
import { emit } from "./news.js";

const ROOM = String.raw`rooms\/[^/]+\/(send|state|redact|join|leave|invite)`;
const OTHER = String.raw`sendToDevice|voip\/turnServer|delayed_events|keys\/(upload|claim|query)`;
const TOLD = new RegExp(String.raw`\/_matrix\/client\/.*(${ROOM}|${OTHER})`);
const CALL = /call|rtc/;

/** Whether an event type has to do with calls. */
export const isCall = (type) => CALL.test(type);

function tellSync(sync) {
    for (const [roomId, room] of Object.entries(sync.rooms?.join ?? {})) {
        const lists = { timeline: room.timeline?.events, state: room.state?.events };
        for (const [where, events] of Object.entries(lists)) {
            for (const event of events ?? []) {
                if (!isCall(event.type) && event.type !== "m.room.encrypted") continue;
                emit("wireIn", { where, roomId, event });
            }
        }
    }
    for (const event of sync.to_device?.events ?? []) emit("wireIn", { where: "to_device", event });
}

const parsed = (text) => {
    try { return JSON.parse(text); } catch { return undefined; }
};

async function tell(url, init, response) {
    if (url.pathname.endsWith("/sync")) {
        if (response.ok) tellSync(await response.clone().json());
    } else if (TOLD.test(url.pathname)) {
        emit("wireOut", {
            method: init?.method ?? "GET",
            path: decodeURIComponent(url.pathname),
            query: Object.fromEntries(url.searchParams),
            status: response.status,
            body: parsed(init?.body),
            reply: parsed(await response.clone().text()),
        });
    }
}

let line; // An AbortController while online: what is under way fails, as a lost network does.
const lost = () => new TypeError("Failed to fetch");
window.peerOffline = (on) => {
    line?.abort();
    line = on ? undefined : new AbortController();
};
window.peerOffline(false);

let held; // To-device messages that the homeserver gets later, or undefined.

/** While on, what is sent to devices (room keys) seems sent and waits for `off`. */
export function holdToDevice(on) {
    const late = held ?? [];
    held = on ? late : undefined;
    if (!on) late.forEach((send) => send());
    return on ? 0 : late.length;
}

/** `fetch` as the client is given it. */
export async function fetchFn(input, init) {
    const url = new URL(String(input));
    if (held && url.pathname.includes("/sendToDevice/")) {
        held.push(() => fetch(input, { ...init, signal: undefined }));
        emit("held", { path: decodeURIComponent(url.pathname) });
        return new Response("{}", { headers: { "Content-Type": "application/json" } });
    }
    if (!line) throw lost();
    const online = line.signal;
    const signal = AbortSignal.any([online, init?.signal].filter(Boolean));
    const response = await fetch(input, { ...init, signal }).catch((error) => {
        throw online.aborted ? lost() : error;
    });
    await tell(url, init, response).catch((error) => emit("wireError", { message: String(error) }));
    return response;
}
