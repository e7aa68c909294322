// The browser peer: matrix-js-sdk clients in one headless Chromium, driven by JSON lines on stdin
// and stdout as ../PROTOCOL.md says. Each peer has a browser context of its own. This file
// is the process: it starts Chromium, serves the page, carries lines to and fro; the commands
// themselves are in page/commands.js.
//
// Environment: REAL_MODULES, the folder that holds node_modules; REAL_CHROMIUM, the program;
// REAL_TRUSTED_KEY, the SHA-256 of a TURN server's public key that Chromium shall trust (base64);
// REAL_SPEECH, a WAV file that its microphone hears again and again instead of a beep.
import { createRequire } from "node:module";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import readline from "node:readline";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const modules = path.join(process.env.REAL_MODULES, "node_modules");
const require = createRequire(path.join(modules, "any.js"));
const { chromium } = require("playwright-core");

const CAPABILITIES = [
    "voice", "video", "screenshare", "dtmf", "transfer", "iceRestart",
    "crypto", "forceTURN", "mesh", "screenshot", "manyPeers",
];

const FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    // Without it there is no candidate at all where loopback is the only interface.
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
];
if (process.env.REAL_TRUSTED_KEY) {
    FLAGS.push("--ignore-certificate-errors-spki-list=" + process.env.REAL_TRUSTED_KEY);
}

if (process.env.REAL_SPEECH) {
    FLAGS.push("--use-file-for-fake-audio-capture=" + process.env.REAL_SPEECH);
}

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

async function bundle() {
    const result = await require("esbuild").build({
        entryPoints: [path.join(here, "page/commands.js")],
        bundle: true, write: false, format: "esm", platform: "browser", target: "chrome120",
        nodePaths: [modules], define: { global: "window" }, logLevel: "silent",
    });
    return Buffer.from(result.outputFiles[0].contents);
}

// The page, its script, and the crypto's wasm file that the script asks for beside the page.
async function serve() {
    const script = await bundle();
    const wasm = path.join(modules, "@matrix-org/matrix-sdk-crypto-wasm/pkg");
    const server = http.createServer((request, response) => {
        const wanted = new URL(request.url, "http://127.0.0.1").pathname;
        if (wanted === "/") {
            response.setHeader("Content-Type", "text/html");
            response.end('<!doctype html><meta charset="utf-8"><title>peer</title><body></body>');
        } else if (wanted === "/page.js") {
            response.setHeader("Content-Type", "text/javascript");
            response.end(script);
        } else if (wanted.endsWith(".wasm")) {
            response.setHeader("Content-Type", "application/wasm");
            const file = fs.createReadStream(path.join(wasm, path.basename(wanted)));
            file.on("error", () => response.writeHead(404).end()).pipe(response);
        } else {
            response.writeHead(404).end();
        }
    });
    await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
    return `http://127.0.0.1:${server.address().port}`;
}

const [origin, browser] = await Promise.all([
    serve(),
    chromium.launch({ executablePath: process.env.REAL_CHROMIUM, headless: true, args: FLAGS }),
]);
const { version } = JSON.parse(fs.readFileSync(path.join(modules, "matrix-js-sdk/package.json")));
const name = `matrix-js-sdk ${version}, Chromium ${browser.version()}`;
say({ ev: "hello", protocol: 1, name, capabilities: CAPABILITIES });

async function open(name) {
    const context = await browser.newContext({ permissions: ["camera", "microphone"] });
    const page = await context.newPage();
    await page.exposeFunction("__emit", (event) => say({ peer: name, ...JSON.parse(event) }));
    page.on("console", (message) => {
        if (message.type() !== "error") return;
        const text = message.text().slice(0, 2000);
        say({ peer: name, ev: "console", at: Date.now(), level: message.type(), text });
    });
    page.on("pageerror", (error) => {
        say({ peer: name, ev: "pageerror", at: Date.now(), message: String(error) });
    });
    await page.goto(origin + "/");
    await page.addScriptTag({ url: "/page.js", type: "module" });
    await page.waitForFunction(() => !!window.peerCommand);
    return { context, page };
}

const peers = new Map();
function peer(name) {
    if (!peers.has(name)) peers.set(name, open(name));
    return peers.get(name);
}

async function obey({ peer: name = "main", cmd, args = {} }) {
    if (cmd === "quit") return {};
    const { page, context } = await peer(name);
    switch (cmd) {
        case "screenshot":
            await page.screenshot({ path: args.path });
            return {};
        case "offline": {
            // Chromium's own switch lets requests under way finish, and the long poll always is.
            const on = args.on ?? true;
            await context.setOffline(on);
            await page.evaluate((on) => window.peerOffline(on), on);
            return {};
        }
        case "close":
            await context.close();
            peers.delete(name);
            return {};
        default:
            return await page.evaluate(
                ([cmd, args]) => window.peerCommand(cmd, args), [cmd, args]);
    }
}

async function shutdown(status) {
    await browser.close().catch(() => {});
    process.exit(status);
}
process.on("SIGTERM", () => shutdown(143));
process.on("SIGINT", () => shutdown(130));

const oneLine = (error) => String(error.message || error)
    .split("\n")[0]
    .replace(/^page\.evaluate: (\w*Error: )?/, "");

async function answer(line) {
    let request;
    try {
        request = JSON.parse(line);
    } catch (error) {
        return say({ ok: false, error: "not JSON: " + error.message });
    }
    const to = { id: request.id, peer: request.peer ?? "main" };
    try {
        say({ ...to, ok: true, result: await obey(request) });
    } catch (error) {
        say({ ...to, ok: false, error: oneLine(error) });
    }
    if (request.cmd === "quit") await shutdown(0);
}

const pending = new Set();
const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
    if (!line.trim()) return;
    const answered = answer(line);
    pending.add(answered);
    answered.finally(() => pending.delete(answered));
});
lines.on("close", async () => {
    await Promise.allSettled([...pending]);
    await shutdown(0);
});
