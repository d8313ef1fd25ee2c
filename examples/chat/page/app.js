// The page: lobby, controls, chat. What happens in a room is in room.js, what it looks like in tiles.js.
import { Room } from "./room.js";
import { Tiles } from "./tiles.js";

const $ = (id) => document.getElementById(id);
const tiles = new Tiles($("stage"), $("tile"));
/** Our tracks, by source. */
const own = { microphone: null, camera: null, screen: null };
let room = null;
let muted = false;

// --- Camera, microphone, screen --------------------------------------------------------------------

/** Lines of the camera's picture: 720, or what `?height=` says, for machines that are slow at encoding. */
const HEIGHT = Number(new URLSearchParams(location.search).get("height")) || 720;

const WISHES = {
  microphone: { audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true } },
  camera: { video: { width: { ideal: (HEIGHT * 16) / 9 }, height: { ideal: HEIGHT }, frameRate: { ideal: 30 } } },
};

async function open(source) {
  if (!navigator.mediaDevices) {
    throw new Error("The browser gives camera and microphone only to secure pages: use localhost, or start the server with --https.");
  }
  const stream = source === "screen"
    ? await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 15 } } })
    : await navigator.mediaDevices.getUserMedia(WISHES[source]);
  const [track] = stream.getTracks();
  if (source === "screen") track.contentHint = "detail";
  // Unplugged, or the browser's own button.
  track.onended = () => own[source] === track && set(source, false);
  return track;
}

/** Switches a source on or off; says what is wrong when it does not work. */
async function set(source, on) {
  try {
    if (on === Boolean(own[source])) return;
    own[source]?.stop();
    own[source] = on ? await open(source) : null;
    await room?.send(source, own[source]);
    notice("");
  } catch (error) {
    // Who closes the dialogue does not want to be told.
    if (!(source === "screen" && error.name === "NotAllowedError")) notice(problem(source, error));
  }
  refresh();
}

function problem(source, error) {
  switch (error.name) {
    case "NotAllowedError": return `The browser does not allow the ${source}. Allow it in the address bar.`;
    case "NotFoundError": return `There is no ${source}.`;
    case "NotReadableError": return `The ${source} is in use elsewhere.`;
    default: return error.message;
  }
}

/** The microphone stays open while it is mute, so that it is there at once. */
async function toggleMicrophone() {
  if (!own.microphone) {
    muted = false;
    await set("microphone", true);
  } else {
    muted = !muted;
    own.microphone.enabled = !muted;
  }
  room?.mute(muted);
  refresh();
}

// --- What is shown ---------------------------------------------------------------------------------

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = text === "";
  $("lobby-note").textContent = text || "Whoever opens the same link is in the same room.";
  $("lobby-note").classList.toggle("bad", text !== "");
}

function press(id, on, icon, words) {
  $(id).setAttribute("aria-pressed", on);
  $(id).title = words;
  $(id).setAttribute("aria-label", words);
  if (icon) $(id).querySelector("use").setAttribute("href", `#i-${icon}`);
}

function refresh() {
  const hears = Boolean(own.microphone) && !muted;
  for (const id of ["mic", "pre-mic"]) press(id, hears, hears ? "mic" : "mic-off", hears ? "Mute the microphone" : "Unmute the microphone");
  const sees = Boolean(own.camera);
  for (const id of ["cam", "pre-cam"]) press(id, sees, sees ? "cam" : "cam-off", sees ? "Switch the camera off" : "Switch the camera on");
  press("screen", Boolean(own.screen), null, own.screen ? "Stop sharing the screen" : "Share the screen");
  $("screen").hidden = !navigator.mediaDevices?.getDisplayMedia;
  $("preview-off").hidden = sees;
  const preview = $("preview");
  if (preview.srcObject?.getTracks()[0] !== (own.camera ?? undefined)) {
    preview.srcObject = own.camera ? new MediaStream([own.camera]) : null;
  }
  if (!room) return;
  const people = room.participants;
  $("count").textContent = people.length === 1 ? "only you" : people.length > 1 ? `${people.length} people` : "";
  tiles.show(people, room.tracks, room.id, own);
}

function show(view) {
  document.body.dataset.view = view;
  document.title = view === "call" ? `${room.room} · sansrtc chat` : "sansrtc chat";
}

const WORDS = { connecting: "connecting", connected: "connected", disconnected: "reconnecting", failed: "failed", closed: "left" };

// --- Joining and leaving ---------------------------------------------------------------------------

function enter(name, where) {
  room = new Room({ room: where, name });
  Object.assign(chat, { room });
  for (const source of ["microphone", "camera"]) room.send(source, own[source]);
  room.mute(muted);
  room.addEventListener("participants", refresh);
  room.addEventListener("tracks", refresh);
  room.addEventListener("chat", ({ detail }) => say(detail));
  room.addEventListener("problem", ({ detail }) => notice(detail));
  room.addEventListener("refused", ({ detail }) => {
    leave();
    notice(detail);
  });
  room.addEventListener("state", ({ detail }) => {
    $("state").dataset.state = detail;
    $("state").textContent = WORDS[detail] ?? detail;
    if (detail === "connected") {
      notice("");
      tiles.forget();
      tiles.layout();
    }
  });
  $("room-name").textContent = where;
  $("messages").replaceChildren();
  show("call");
  room.enter();
  refresh();
}

function leave() {
  set("screen", false);
  room?.leave();
  room = null;
  tiles.show([], [], null, own);
  openChat(false);
  show("lobby");
  refresh();
}

// --- Chat ------------------------------------------------------------------------------------------

function openChat(open) {
  $("chat").hidden = !open;
  press("chat-open", open, null, open ? "Close the chat" : "Open the chat");
  if (open) {
    $("unread").hidden = true;
    $("messages").scrollTop = $("messages").scrollHeight;
    if (matchMedia("(min-width: 761px)").matches) $("message").focus();
  }
}

function say({ from, name, text, time, seq }) {
  const list = $("messages");
  // What was said before is told again after a reconnection.
  if (list.querySelector(`[data-seq="${seq}"]`)) return;
  const line = document.createElement("li");
  line.dataset.seq = seq;
  line.className = from === room?.id ? "mine" : "";
  const head = document.createElement("small");
  const clock = new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  head.textContent = from === room?.id ? clock : `${name} · ${clock}`;
  line.append(head, text);
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  list.append(line);
  while (list.children.length > 500) list.firstChild.remove();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
  if ($("chat").hidden && from !== room?.id) $("unread").hidden = false;
}

// --- Figures ---------------------------------------------------------------------------------------

let figures = null;

async function measure() {
  const pc = room?.pc;
  if (!pc) return;
  for (const tile of tiles.each()) {
    const { receiver } = tile.picture ?? {};
    tile.figures.hidden = !receiver;
    if (!receiver) continue;
    const report = await receiver.getStats();
    const inbound = [...report.values()].find((s) => s.type === "inbound-rtp");
    if (!inbound) continue;
    const last = tile.last;
    tile.last = inbound;
    const seconds = last ? (inbound.timestamp - last.timestamp) / 1000 : 0;
    const rate = seconds > 0 ? Math.round(((inbound.bytesReceived - last.bytesReceived) * 8) / seconds / 1000) : 0;
    const codec = report.get(inbound.codecId)?.mimeType?.split("/")[1] ?? "";
    tile.figures.textContent =
      `${inbound.frameWidth ?? 0}×${inbound.frameHeight ?? 0} ${codec}\n${Math.round(inbound.framesPerSecond ?? 0)} fps, ${rate} kbit/s\n`
      + `${inbound.packetsLost ?? 0} lost, ${inbound.freezeCount ?? 0} freezes`;
  }
}

function toggleFigures() {
  if (figures) {
    clearInterval(figures);
    figures = null;
    for (const tile of tiles.each()) tile.figures.hidden = true;
  } else {
    figures = setInterval(measure, 1000);
    measure();
  }
  press("stats", Boolean(figures), null, figures ? "Hide the figures" : "Show the figures");
}

// --- Start -----------------------------------------------------------------------------------------

const PLACES = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbour", "island", "juniper", "lagoon", "meadow", "north", "orchard", "prairie", "quarry", "river", "summit", "tundra", "valley"];
const pick = () => PLACES[Math.floor(Math.random() * PLACES.length)];

const roomOfLink = () => decodeURIComponent(location.hash.slice(1));
$("room").value = roomOfLink() || `${pick()}-${pick()}`;
$("name").value = sessionStorage.name ?? localStorage.name ?? "";

$("join-form").onsubmit = (event) => {
  event.preventDefault();
  const [name, where] = [$("name").value.trim(), $("room").value.trim()];
  if (!name || !where) return;
  sessionStorage.name = localStorage.name = name;
  history.replaceState(null, "", `#${encodeURIComponent(where)}`);
  enter(name, where);
};
addEventListener("hashchange", () => {
  const where = roomOfLink();
  $("room").value = where || $("room").value;
  if (room && where && where !== room.room) leave();
});
// The server notices by itself; this spares the others the wait.
addEventListener("pagehide", () => room?.leave());
addEventListener("pageshow", (event) => event.persisted && room && location.reload());

$("mic").onclick = $("pre-mic").onclick = toggleMicrophone;
$("cam").onclick = $("pre-cam").onclick = () => set("camera", !own.camera);
$("screen").onclick = () => set("screen", !own.screen);
$("leave").onclick = leave;
$("stats").onclick = toggleFigures;
$("chat-open").onclick = () => openChat($("chat").hidden);
$("chat-close").onclick = () => openChat(false);
$("compose").onsubmit = (event) => {
  event.preventDefault();
  const text = $("message").value.trim();
  if (text && room?.say(text)) $("message").value = "";
};
$("copy").onclick = async () => {
  await navigator.clipboard?.writeText(location.href).catch(() => {});
  $("copy").querySelector("span").textContent = "Copied";
  setTimeout(() => ($("copy").querySelector("span").textContent = "Copy link"), 1500);
};

tiles.onview = (heights) => room?.view(heights);
setInterval(() => room && tiles.listen(), 150);
/** For a look from the console, and for the tests. */
const chat = { tiles, own };
Object.assign(window, { chat });

refresh();
// A preview of what the others will see; who refuses can still join.
await Promise.allSettled([set("camera", true), set("microphone", true)]);
