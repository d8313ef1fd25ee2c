// The page: what is seen and pressed. The connection itself is in peer.js.
import { figures } from "./figures.js";
import { Peer, KINDS, bulkTransfer } from "./peer.js";

const $ = (id) => document.getElementById(id);
const STATES = {
  new: "not connected", connecting: "connecting", connected: "connected",
  disconnected: "interrupted", failed: "connection lost", closed: "not connected",
};

/** The connection in use, or null. */
let peer = null;
/** The channel that typed messages take. */
let chat = null;
/** Set while a lost connection waits for its next attempt. */
let retry = { timer: null, attempts: 0 };
let nextNegotiated = 200;

// --- Connecting ------------------------------------------------------------------------------------

async function connect() {
  disconnect();
  show(null);
  const mine = peer = new Peer({ serverOffers: $("server-offers").checked });
  peer.onstate = (state) => mine === peer && stateChanged(state);
  peer.onchannel = (channel) => mine === peer && (log(`the server opened “${channel.label}”`), adopt(channel));
  peer.onlog = log;
  $("connect").textContent = "Disconnect";
  stateChanged("connecting");
  chat = adopt(peer.open("chat"));
  chat.addEventListener("message", (event) => received(event.data));
  chat.addEventListener("open", () => { $("send").disabled = $("bulk").disabled = $("open").disabled = false; });
  startPing(adopt(peer.open("ping", { ordered: false, maxRetransmits: 0 })));
  try {
    await peer.connect();
    if (mine === peer && camera) await showMedia();
  } catch (error) {
    if (mine === peer) { show(error.message); stateChanged("failed"); }
  }
}

function disconnect() {
  clearTimeout(retry.timer);
  peer?.close();
  peer = chat = null;
  sent.length = 0;
  $("connect").textContent = "Connect";
  $("channels").replaceChildren();
  for (const id of ["send", "bulk", "open", "restart"]) $(id).disabled = true;
  $("echoed").srcObject = null;
  stateChanged("closed");
}

function stateChanged(state) {
  const pill = $("state");
  if (pill.dataset.state !== state) log(STATES[state]);
  pill.dataset.state = state;
  pill.textContent = STATES[state];
  $("restart").disabled = state !== "connected" && state !== "disconnected";
  // What is on can be switched off at any time.
  $("camera").disabled = state !== "connected" && !camera;
  if (state === "connected") { retry.attempts = 0; show(null); }
  if (state === "failed") {
    // A server that was started anew knows nothing of the old session: connect afresh, less and less often.
    const wait = Math.min(1000 * 2 ** retry.attempts++, 15000);
    log(`next attempt in ${wait / 1000} s`);
    clearTimeout(retry.timer);
    retry.timer = setTimeout(connect, wait);
  }
}

/** Shows `text` as the error of the moment, or clears it. */
function show(text) {
  $("notice").hidden = !text;
  $("notice").textContent = text ?? "";
  if (text) log(text);
}

function log(text) {
  const line = document.createElement("li");
  line.textContent = `${new Date().toLocaleTimeString()}  ${text}`;
  $("log").append(line);
  if ($("log").children.length > 200) $("log").firstChild.remove();
}

$("connect").onclick = () => (peer ? disconnect() : connect());
$("restart").onclick = async () => {
  try { await peer.restartIce(); log("ICE restarted"); } catch (error) { show(error.message); }
};
$("server-offers").onchange = () => peer && connect();
addEventListener("pagehide", () => peer?.close());

// --- Messages --------------------------------------------------------------------------------------

/** Times of the typed messages that are on their way. */
const sent = [];

function bubble(side, data, note) {
  const line = document.createElement("li");
  line.className = side;
  line.textContent = typeof data === "string" ? data || "(empty text)" : hex(data);
  const small = document.createElement("small");
  small.textContent = note;
  line.append(small);
  $("messages").append(line);
  if ($("messages").children.length > 200) $("messages").firstChild.remove();
  $("messages").scrollTop = $("messages").scrollHeight;
}

function hex(buffer) {
  const bytes = new Uint8Array(buffer);
  if (!bytes.length) return "(empty binary)";
  return Array.from(bytes.subarray(0, 32), (b) => b.toString(16).padStart(2, "0")).join(" ") + (bytes.length > 32 ? " …" : "");
}

function received(data) {
  const size = typeof data === "string" ? new TextEncoder().encode(data).length : data.byteLength;
  const time = sent.length ? `, ${(performance.now() - sent.shift()).toFixed(1)} ms` : "";
  bubble("theirs", data, `echo, ${typeof data === "string" ? "text" : "binary"}, ${size} bytes${time}`);
}

$("compose").onsubmit = (event) => {
  event.preventDefault();
  if (chat?.readyState !== "open") return;
  const text = $("message").value;
  const data = $("form").value === "text" ? text : new TextEncoder().encode(text).buffer;
  try {
    chat.send(data);
    sent.push(performance.now());
    bubble("mine", data, "sent");
    $("message").value = "";
  } catch (error) {
    show(error.message);
  }
};

// --- Channels --------------------------------------------------------------------------------------

/** Puts a channel on the list, and keeps its line up to date. */
function adopt(channel) {
  const line = document.createElement("li");
  const text = document.createElement("div");
  const close = document.createElement("button");
  close.textContent = "Close";
  close.onclick = () => channel.close();
  line.append(text, close);
  $("channels").append(line);
  const refresh = () => {
    const kind = document.createElement("small");
    kind.textContent = [
      channel.id === null ? "no id yet" : `id ${channel.id}`,
      channel.ordered ? "ordered" : "unordered",
      channel.maxRetransmits !== null && `${channel.maxRetransmits} retransmissions`,
      channel.maxPacketLifeTime !== null && `${channel.maxPacketLifeTime} ms`,
      channel.negotiated && "agreed by id",
      channel.readyState,
    ].filter(Boolean).join(", ");
    text.replaceChildren(channel.label || "(no label)", kind);
  };
  for (const event of ["open", "closing", "error"]) channel.addEventListener(event, refresh);
  channel.addEventListener("close", () => line.remove());
  refresh();
  return channel;
}

$("opener").onsubmit = async (event) => {
  event.preventDefault();
  const kind = $("kind").value;
  try {
    if (kind === "negotiated") adopt(await peer.openNegotiated(nextNegotiated++));
    else adopt(peer.open(kind, KINDS[kind]));
  } catch (error) {
    show(error.message);
  }
};

// --- Camera and microphone -------------------------------------------------------------------------

/** What is sent while the camera is on, or null. It outlives the connection: the next one sends it as well. */
let camera = null;

/** Sends the camera on the connection in use, and shows what comes back. */
async function showMedia() {
  await peer.startMedia(camera);
  $("echoed").srcObject = peer.echo;
  // Loudspeakers would feed the microphone.
  $("echoed").muted = true;
}

async function openCamera() {
  if (!navigator.mediaDevices) throw new Error("The browser gives the camera only to secure pages: use localhost, or --https.");
  const video = { width: { ideal: 1280 }, height: { ideal: 720 } };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: true, video });
  } catch (error) {
    if (error.name !== "NotFoundError") throw error;
    // A machine with one of them alone.
    return navigator.mediaDevices.getUserMedia({ audio: true });
  }
}

$("camera").onclick = async () => {
  $("camera").disabled = true;
  show(null);
  try {
    if (camera) {
      camera.getTracks().forEach((track) => track.stop());
      camera = $("sent").srcObject = $("echoed").srcObject = null;
      await peer?.stopMedia();
    } else {
      camera = $("sent").srcObject = await openCamera();
      if (peer) await showMedia();
    }
  } catch (error) {
    show(error.message);
  }
  $("pictures").hidden = !camera;
  $("camera").textContent = camera ? "Stop" : "Start";
  $("camera").disabled = !camera && $("state").dataset.state !== "connected";
};

let counters = new Map();
setInterval(async () => {
  if (!camera || !peer) return counters.clear();
  for (const [id, type] of [["sent", "outbound-rtp"], ["echoed", "inbound-rtp"]]) {
    const lines = await figures(peer.pc, counters, type);
    $(`${id}-figures`).replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  }
}, 1000);

// --- Bulk ------------------------------------------------------------------------------------------

$("bulk").onclick = async () => {
  const bytes = $("bulk-size").value * 2 ** 20;
  $("bulk").disabled = true;
  $("bulk-result").textContent = "";
  const channel = adopt(peer.open("bulk"));
  try {
    const result = await bulkTransfer(channel, bytes, (done) => { $("bulk-progress").value = done; });
    $("bulk-result").textContent = result.same
      ? `✓ ${(bytes / result.seconds / 1e6).toFixed(1)} MB/s each way, ${result.seconds.toFixed(2)} s, hash ${result.hash}`
      : `✗ the echo differs: hash ${result.hash} came back for ${result.expected}`;
  } catch (error) {
    $("bulk-result").textContent = `✗ ${error.message}`;
  } finally {
    channel.close();
    $("bulk").disabled = chat?.readyState !== "open";
  }
};

// --- Figures ---------------------------------------------------------------------------------------

const trips = [];

/** Sends a time stamp every second; its echo tells the round trip, application to application. */
function startPing(channel) {
  trips.length = 0;
  let timer;
  const ping = () => channel.readyState === "open" && channel.send(String(performance.now()));
  channel.addEventListener("open", () => { ping(); timer = setInterval(ping, 1000); });
  channel.addEventListener("close", () => clearInterval(timer));
  channel.addEventListener("message", (event) => {
    const trip = performance.now() - Number(event.data);
    trips.push(trip);
    if (trips.length > 60) trips.shift();
    $("rtt").textContent = trip.toFixed(trip < 10 ? 1 : 0);
    const top = Math.max(...trips, 5);
    $("spark").firstElementChild.setAttribute("points",
      trips.map((t, i) => `${120 - 2 * (trips.length - 1 - i)},${22 - 20 * (t / top)}`).join(" "));
  });
}

function rate(id, bytesPerSecond) {
  if (!Number.isFinite(bytesPerSecond)) return;
  const mega = bytesPerSecond >= 1e6;
  $(id).textContent = (bytesPerSecond / (mega ? 1e6 : 1e3)).toFixed(1);
  $(`${id}-unit`).textContent = mega ? "MB/s" : "kB/s";
}

function total(id, bytes) {
  $(id).textContent = bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB in all` : `${(bytes / 1e3).toFixed(1)} kB in all`;
}

let before = null;
setInterval(async () => {
  const now = await peer?.figures();
  if (!now) {
    before = null;
    for (const id of ["rtt", "tx", "rx", "pair-local", "pair-remote"]) $(id).textContent = "–";
    return;
  }
  if (before?.peer === now.peer) {
    const seconds = (now.time - before.time) / 1000;
    rate("tx", (now.bytesSent - before.bytesSent) / seconds);
    rate("rx", (now.bytesReceived - before.bytesReceived) / seconds);
  }
  total("tx-total", now.bytesSent);
  total("rx-total", now.bytesReceived);
  $("pair-local").textContent = now.local;
  $("pair-remote").textContent = now.remote;
  before = now;
}, 1000);

// `?manual` leaves the connecting to the button, or to whoever drives the page.
window.echo = { Peer, KINDS, bulkTransfer, get peer() { return peer; } };
if (!new URLSearchParams(location.search).has("manual")) connect();
