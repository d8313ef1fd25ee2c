// The page: a WebSocket to the signalling server, a Peer for everybody in the room, and what is seen of both.

import { Peer } from "./peer.js";

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
// What a test may ask of the browser: only relayed paths.
const iceTransportPolicy = query.get("policy") === "relay" ? "relay" : "all";

const peers = new Map();
// For tests and the console.
window.call = { peers, get id() { return session?.id; } };

let socket = null;
let session = null;  // { room, id, iceServers } while in a room
let wanted = null;   // the room to be in, also while the socket is away
let media = null;
let retry = 0;

// ----- signalling -----

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function connect() {
  const own = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  socket = own;
  own.onopen = () => {
    retry = 0;
    send({ type: "join", room: wanted });
  };
  // In order, one after the other: a candidate must not overtake its description.
  let queue = Promise.resolve();
  own.onmessage = ({ data }) => {
    queue = queue.then(() => handle(JSON.parse(data))).catch((error) => notice(error.message));
  };
  own.onclose = () => {
    if (socket !== own) return;
    socket = null;
    if (wanted === null) return;
    // Calls go on without the server; it is only needed for what is new.
    retry += 1;
    show("waiting", "server is away");
    setTimeout(() => wanted !== null && socket === null && connect(), Math.min(500 * 2 ** retry, 10000));
  };
}

async function handle(message) {
  switch (message.type) {
    case "joined":
      // After a lost socket everybody has a new name: begin anew.
      [...peers.keys()].forEach(remove);
      session = message;
      // Those who are there wait for our offers.
      message.peers.forEach((id) => peer(id, true));
      show("in", message.room);
      render();
      break;
    case "peer-joined":
      event(`${name(message.id)} is coming`);
      break;
    case "peer-left":
      if (peers.has(message.id)) event(`${name(message.id)} left`);
      remove(message.id);
      break;
    case "description":
      await peer(message.from, false).handleDescription(message.description);
      break;
    case "candidate":
      await peers.get(message.from)?.handleCandidate(message.candidate);
      break;
    case "error":
      notice(message.reason);
      if (session === null) leave();
      break;
  }
}

function peer(id, isPolite) {
  if (peers.has(id)) return peers.get(id);
  const made = new Peer({ id, isPolite, stream: media, iceServers: session.iceServers, iceTransportPolicy, send });
  peers.set(id, made);
  for (const type of ["state", "media"]) made.addEventListener(type, render);
  made.addEventListener("open", () => event(`${name(id)} is here`));
  made.addEventListener("chat", ({ detail }) => say(name(id), detail));
  made.addEventListener("error", ({ detail }) => notice(detail.message));
  render();
  return made;
}

function remove(id) {
  peers.get(id)?.close();
  peers.delete(id);
  $(`tile-${id}`)?.remove();
  render();
}

// ----- entering and leaving -----

async function enter(room, withCamera) {
  notice("");
  wanted = room;
  show("waiting", "entering");
  media = withCamera ? await devices() : null;
  // Leave was pressed while the browser asked for the camera.
  if (wanted !== room) return media?.getTracks().forEach((track) => track.stop());
  history.replaceState(null, "", `?${new URLSearchParams({ ...Object.fromEntries(query), room })}`);
  $("lobby").hidden = true;
  $("call").hidden = false;
  render();
  connect();
}

// Camera and microphone, or what there is of them; without any, one still chats.
async function devices() {
  const audio = { echoCancellation: true };
  const video = { width: { ideal: 640 }, height: { ideal: 480 } };
  for (const wish of [{ audio, video }, { audio }, { video }]) {
    try {
      return await navigator.mediaDevices.getUserMedia(wish);
    } catch {
      // The next wish is smaller.
    }
  }
  notice("No camera and no microphone: you can see, hear and chat.");
  return null;
}

function leave() {
  wanted = null;
  send({ type: "leave" });
  const old = socket;
  socket = null;
  old?.close();
  [...peers.keys()].forEach(remove);
  media?.getTracks().forEach((track) => track.stop());
  media = session = null;
  $("tiles").replaceChildren();
  $("messages").replaceChildren();
  $("call").hidden = true;
  $("lobby").hidden = false;
  show("out", "not in a room");
}

// ----- what is seen -----

const name = (id) => `guest ${id.slice(0, 4)}`;

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = text === "";
}

function show(state, text) {
  $("state").dataset.state = state;
  $("state").textContent = text;
}

function say(who, text, isMine = false) {
  const line = document.createElement("li");
  const small = document.createElement("small");
  small.textContent = who;
  line.append(small, text);
  line.classList.toggle("mine", isMine);
  append(line);
}

function event(text) {
  const line = document.createElement("li");
  line.className = "event";
  line.textContent = text;
  append(line);
}

function append(line) {
  const list = $("messages");
  list.append(line);
  while (list.childElementCount > 500) list.firstElementChild.remove();
  list.scrollTop = list.scrollHeight;
}

function tile(id, label, stream, detail) {
  let figure = $(`tile-${id}`);
  if (!figure) {
    figure = $("tile").content.firstElementChild.cloneNode(true);
    figure.id = `tile-${id}`;
    $("tiles").append(figure);
  }
  const video = figure.querySelector("video");
  if (video.srcObject !== stream) video.srcObject = stream;
  figure.classList.toggle("blank", !stream?.getVideoTracks().some((track) => track.enabled && !track.muted));
  figure.querySelector(".initial").textContent = label.at(-4) ?? "?";
  figure.querySelector("b").textContent = label;
  figure.querySelector("small").textContent = detail;
  return figure;
}

function render() {
  if ($("call").hidden) return;
  const own = tile("own", "you", media, "");
  own.classList.add("own");
  own.querySelector("video").muted = true;
  own.querySelector(".initial").textContent = "you";
  for (const [id, other] of peers) {
    const figure = tile(id, name(id), other.stream, other.state === "connected" ? "" : other.state);
    if (other.state === "connected") {
      other.path().then((path) => {
        if (path && other.state === "connected") figure.querySelector("small").textContent = `${path.local} – ${path.remote}`;
      });
    }
  }
  for (const [button, kind, label] of [["microphone", "audio", "Mic"], ["camera", "video", "Camera"]]) {
    const tracks = media?.getTracks().filter((track) => track.kind === kind) ?? [];
    const isOn = tracks.some((track) => track.enabled);
    $(button).disabled = tracks.length === 0;
    $(button).setAttribute("aria-pressed", String(isOn));
    $(button).textContent = `${label} ${isOn ? "on" : "off"}`;
  }
}

function toggle(kind) {
  for (const track of media?.getTracks() ?? []) if (track.kind === kind) track.enabled = !track.enabled;
  render();
}

$("join").onsubmit = (submit) => {
  submit.preventDefault();
  enter($("room").value.trim(), $("with-camera").checked);
};
$("compose").onsubmit = (submit) => {
  submit.preventDefault();
  const text = $("message").value.trim();
  if (text === "") return;
  const heard = [...peers.values()].filter((other) => other.say(text)).length;
  say(heard === 0 ? "you, heard by nobody" : "you", text, true);
  $("message").value = "";
};
$("microphone").onclick = () => toggle("audio");
$("camera").onclick = () => toggle("video");
$("leave").onclick = leave;
$("invite").onclick = async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    event("link copied");
  } catch {
    event(location.href);
  }
};
// Says goodbye at once; else the others would have to find out.
window.addEventListener("pagehide", () => wanted !== null && leave());

$("room").value = query.get("room") ?? `room-${Math.random().toString(36).slice(2, 6)}`;
