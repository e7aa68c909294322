// What the page tells: events, as lines of the protocol.

const start = performance.timeOrigin;

export function emit(ev, fields = {}) {
    window.__emit(JSON.stringify({ ev, at: Math.round(start + performance.now()), ...fields }));
}

/** Tries every 50 ms until `test` gives something true; an error means "not yet". */
export async function until(test, ms, what) {
    for (const end = Date.now() + ms; ; ) {
        const value = await Promise.resolve().then(test).catch(() => undefined);
        if (value) return value;
        if (Date.now() > end) {
            throw new Error("timed out waiting for " + (typeof what === "function" ? what() : what));
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}
