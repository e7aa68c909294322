// Peer connections for ../mod.rs. Commands come as lines of JSON, each is answered; news go the same
// way back. What is sent and what comes in passes through the worker (worker.js) as encoded frames:
// sound and pictures that are made here only keep Chromium's encoders going.
const worker = new Worker("/worker.js");
const context = new AudioContext({ sampleRate: 48000 });
const connections = new Map();
let lines = 0;

// ------------------------------------------------------------------------------- lines to Rust

const waiting = [];
let wake = () => {};
const say = (what) => { waiting.push(what); wake(); };

async function talk() {
  for (;;) {
    if (!waiting.length) await new Promise((done) => { wake = done; });
    const body = waiting.splice(0).map((line) => JSON.stringify(line)).join("\n");
    await fetch("/said", { method: "POST", body });
  }
}

// --------------------------------------------------------------------------------------- media

// Pictures to encode: large enough that what may be sent of them has room for frames of ours.
const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 240 });
const brush = canvas.getContext("2d");
let drawn = 0;
const draw = () => {
  drawn += 1;
  brush.fillStyle = `hsl(${drawn % 360} 50% 50%)`;
  brush.fillRect((drawn * 7) % 320, (drawn * 5) % 240, 40, 40);
};
draw();
const picture = canvas.captureStream().getVideoTracks()[0];
setInterval(draw, 40);

// A track for one line. Chromium measures by itself how loud sound is, and says so to the other side:
// each line has a tone that can be made as loud as our frames say that they are.
function source(kind) {
  if (kind === "video") return { track: picture.clone() };
  const gain = new GainNode(context, { gain: 0 });
  const out = new MediaStreamAudioDestinationNode(context, { channelCount: 1 });
  const tone = new OscillatorNode(context, { frequency: 500 });
  tone.connect(gain).connect(out);
  tone.start();
  return { track: out.stream.getAudioTracks()[0], gain, tone };
}

// ------------------------------------------------------------------------------------- m-lines

const SLOTS = { audio: ["audio", "screen-audio"], video: ["video", "screen"] };
const kind = (slot) => (SLOTS.audio.includes(slot) ? "audio" : "video");
const sends = (direction) => direction === "sendrecv" || direction === "sendonly";

function addLine(connection, transceiver, slot) {
  const id = ++lines;
  const stream = new MediaStream();
  const of = transceiver.receiver.track.kind;
  const options = { connection: connection.id, line: id, kind: of };
  // Before anything can flow: not one frame goes out that is not ours.
  transceiver.sender.transform = new RTCRtpScriptTransform(worker, { ...options, way: "out" });
  transceiver.receiver.transform = new RTCRtpScriptTransform(worker, { ...options, way: "in" });
  transceiver.sender.setStreams(stream);
  const line = { id, transceiver, slot, stream, kind: of, source: source(of), named: null };
  connection.lines.push(line);
  return line;
}

function endLine(line) {
  line.source.track.stop();
  line.source.tone?.stop();
  worker.postMessage({ end: line.id });
}

// What the plan wants of a line: its direction, and the name of its stream.
async function arrange(line, wanted) {
  line.transceiver.direction = wanted?.direction ?? "inactive";
  line.named = wanted?.stream ?? null;
  await line.transceiver.sender.replaceTrack(sends(wanted?.direction) ? line.source.track : null);
}

// Ids of streams cannot be chosen in a browser: those of the plan are written into the text that the
// other side gets.
function outward(connection, sdp) {
  for (const { stream, named } of connection.lines) sdp = sdp.replaceAll(stream.id, named ?? "-");
  return sdp.replace(/^a=msid-semantic:.*$/m, "a=msid-semantic: WMS *");
}

function offered(sdp) {
  const sections = sdp.split(/^m=/m).slice(1);
  const value = (text, name) => text.match(new RegExp(`^a=${name}:(\\S+)`, "m"))?.[1];
  const way = (text) => text.match(/^a=(sendrecv|sendonly|recvonly|inactive)\s*$/m)?.[1];
  return sections.map((text) => ({ mid: value(text, "mid"), direction: way(text) ?? "sendrecv" }));
}

// Each line of theirs that is in use gets the first free slot of its kind.
function adopt(connection) {
  const used = offered(connection.pc.remoteDescription.sdp);
  for (const { mid, direction } of used) {
    const transceiver = connection.pc.getTransceivers().find((one) => one.mid === mid);
    if (!transceiver) continue;
    const known = connection.lines.find((line) => line.transceiver === transceiver);
    const line = known ?? addLine(connection, transceiver, null);
    const isFree = (slot) => !connection.lines.some((other) => other.slot === slot);
    if (!line.slot && direction !== "inactive") line.slot = SLOTS[line.kind].find(isFree) ?? null;
  }
}

function agreed({ lines: all }) {
  return all.filter(({ transceiver }) => transceiver.mid !== null).map((line) => ({
    line: line.id, mid: line.transceiver.mid, kind: line.kind, slot: line.slot,
    direction: line.transceiver.currentDirection,
  }));
}

async function made(connection, description, plan) {
  const text = outward(connection, description.sdp);
  connection.made = { type: description.type, text, original: description.sdp };
  const sent = connection.lines.filter((line) => plan.some((one) => one.slot === line.slot));
  return { sdp: text, lines: sent.map(({ id, slot }) => ({ line: id, slot })) };
}

// Back to what was before an offer that nobody answered.
async function giveUp(connection) {
  const { pc, former } = connection;
  if (pc.signalingState === "have-local-offer") {
    await pc.setLocalDescription({ type: "rollback" });
  }
  connection.former = connection.made = null;
  if (!former) return;
  const isNew = (line) => !former.some((one) => one.line === line);
  for (const line of connection.lines.filter(isNew)) {
    line.transceiver.stop();
    endLine(line);
  }
  connection.lines = former.map((one) => one.line);
  for (const { line, direction, named, track } of former) {
    line.transceiver.direction = direction;
    line.named = named;
    await line.transceiver.sender.replaceTrack(track);
  }
}

// ------------------------------------------------------------------------------------ commands

const commands = {
  open({ id, config }) {
    const pc = new RTCPeerConnection({ ...config, bundlePolicy: "max-bundle" });
    connections.set(id, { id, pc, config, lines: [], former: null, made: null });
    pc.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) say({ news: id, candidate: candidate.toJSON() });
      else if (!candidate) say({ news: id, gathered: true });
    };
    pc.onconnectionstatechange = () => say({ news: id, state: pc.connectionState });
    return {};
  },

  async offer({ plan }, connection) {
    await giveUp(connection);
    connection.former = connection.lines.map((line) => ({
      line, direction: line.transceiver.direction, named: line.named,
      track: line.transceiver.sender.track,
    }));
    for (const { slot } of plan) {
      if (connection.lines.some((line) => line.slot === slot)) continue;
      addLine(connection, connection.pc.addTransceiver(kind(slot)), slot);
    }
    for (const line of connection.lines) {
      await arrange(line, plan.find((one) => one.slot === line.slot));
    }
    return made(connection, await connection.pc.createOffer(), plan);
  },

  async answer({ plan }, connection) {
    adopt(connection);
    for (const line of connection.lines) {
      await arrange(line, plan.find((one) => one.slot === line.slot));
    }
    return made(connection, await connection.pc.createAnswer(), plan);
  },

  async setLocal({ type, sdp }, connection) {
    const { made } = connection;
    if (made?.type !== type || made.text !== sdp) throw new Error("it was not made here");
    await connection.pc.setLocalDescription({ type, sdp: made.original });
    connection.made = null;
    return { agreed: type === "answer" ? agreed(connection) : null };
  },

  local(_, connection) {
    const { type, sdp } = connection.pc.localDescription ?? {};
    return { type, sdp: sdp && outward(connection, sdp) };
  },

  async setRemote({ type, sdp }, connection) {
    await connection.pc.setRemoteDescription({ type, sdp });
    if (type === "offer") {
      adopt(connection);
      return { agreed: null };
    }
    connection.former = null;
    return { agreed: agreed(connection) };
  },

  async rollback(_, connection) { await giveUp(connection); return {}; },

  async candidates({ candidates }, connection) {
    // Those that it cannot use are skipped.
    for (const one of candidates) await connection.pc.addIceCandidate(one).catch(() => {});
    return {};
  },

  restart(_, connection) { connection.pc.restartIce(); return {}; },

  servers({ iceServers }, connection) {
    connection.config = { ...connection.config, iceServers };
    connection.pc.setConfiguration({ ...connection.config, bundlePolicy: "max-bundle" });
    return {};
  },

  async stats(_, connection) {
    return { reports: [...(await connection.pc.getStats()).values()] };
  },

  // How loud the frames of a line say that they are, in dBov.
  level({ line, level }, connection) {
    const { gain } = connection.lines.find((one) => one.id === line)?.source ?? {};
    // Of a tone the effective value counts.
    if (gain) gain.gain.value = level <= -127 ? 0 : Math.SQRT2 * 10 ** (level / 20);
    return {};
  },

  tones({ line, tones, duration, gap }, connection) {
    const dtmf = connection.lines.find((one) => one.id === line)?.transceiver.sender.dtmf;
    if (!dtmf?.canInsertDTMF) throw new Error("the other side takes no tones");
    dtmf.insertDTMF(dtmf.toneBuffer + tones, duration, gap);
    return {};
  },

  keyFrame({ line }) { worker.postMessage({ keyFrame: line }); return {}; },

  close({ id }, connection) {
    connections.delete(id);
    connection?.pc.close();
    connection?.lines.forEach(endLine);
    return {};
  },
};

async function carryOut(command) {
  const connection = connections.get(command.id);
  try {
    if (!connection && command.do !== "open" && command.do !== "close") throw new Error("closed");
    say({ re: command.re, ...(await commands[command.do](command, connection)) });
  } catch (error) {
    say({ re: command.re, error: `${error}` });
  }
}

async function obey() {
  const reader = (await fetch("/commands")).body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (text + value).split("\n");
    text = parts.pop();
    parts.forEach((line) => carryOut(JSON.parse(line)));
  }
}

worker.onmessage = () => { say({ ready: true }); obey(); };
await context.resume();
talk();
