// One stay in a room: signalling, the connection, chat. Nothing here touches the page.
//
// The browser makes the first offer, with all that it may ever send: microphone, camera, screen, and the chat
// channel. A track comes and goes in its sender without a word to the server. From then on only the server offers,
// as others come and go, so that offers never cross.

/** The layers of the camera, from small to large. */
const LAYERS = [
  { rid: "q", scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: "h", scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: "f", scaleResolutionDownBy: 1, maxBitrate: 1_700_000 },
];

/** What is sent, in the order of the first offer. */
export const SOURCES = ["microphone", "camera", "screen"];

export class Room extends EventTarget {
  /** Our name among the participants; null while there is no connection. */
  id = null;
  /** Everyone, ourselves included: { id, name, microphone, camera, screen }. */
  participants = [];
  /** What is received: { participant, source, mid, track, receiver }. */
  tracks = [];
  /** "connecting", "connected", "disconnected", "failed" or "closed". */
  state = "connecting";

  #socket = null;
  #channel = null;
  #senders = {};
  #sending = { microphone: null, camera: null, screen: null };
  #mute = false;
  #attempts = 0;
  #retry = null;
  #over = false;

  constructor({ room, name }) {
    super();
    this.room = room;
    this.name = name;
  }

  /** Enters the room; comes back by itself when the connection is lost. */
  enter() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    this.#socket = socket;
    socket.onopen = () => this.#begin().catch((error) => this.#tell("problem", `${error.message ?? error}`));
    // One after the other: a description takes time, and what comes behind it builds on it. The next connection has a
    // queue of its own: what a closed one was about to do is never done (W3C WebRTC §4.4.1.2), so nothing may wait for it.
    let work = Promise.resolve();
    socket.onmessage = ({ data }) => {
      work = work.then(() => socket === this.#socket && this.#hear(JSON.parse(data)))
        .catch((error) => socket === this.#socket && this.#fail(error));
    };
    socket.onclose = () => socket === this.#socket && this.#lost();
  }

  leave() {
    this.#over = true;
    clearTimeout(this.#retry);
    this.#drop();
    this.#become("closed");
  }

  /** Sends a track, or nothing, as one of the SOURCES. */
  async send(source, track) {
    this.#sending[source] = track;
    await this.#senders[source]?.replaceTrack(track);
    this.#announce();
  }

  /** Stops and resumes the microphone's sound; its track stays. */
  mute(muted) {
    this.#mute = muted;
    this.#announce();
  }

  /** How high each track is shown, in device pixels, by its mid; 0 for one that nobody sees. */
  view(heights) {
    this.#post({ type: "view", heights });
  }

  /** Says something to everyone. */
  say(text) {
    if (this.#channel?.readyState !== "open") return false;
    this.#channel.send(text);
    return true;
  }

  /** New credentials and paths for the connection; nothing is lost with it. */
  restart() {
    this.#post({ type: "restart" });
  }

  // --- Inside ---------------------------------------------------------------------------------------

  async #begin() {
    const pc = new RTCPeerConnection();
    this.pc = pc;
    const audio = pc.addTransceiver("audio", { direction: "sendonly" });
    const camera = pc.addTransceiver("video", { direction: "sendonly", sendEncodings: LAYERS });
    const screen = pc.addTransceiver("video", { direction: "sendonly", sendEncodings: [{ maxBitrate: 2_500_000 }] });
    this.#senders = { microphone: audio.sender, camera: camera.sender, screen: screen.sender };
    await Promise.all(SOURCES.map((source) => this.#senders[source].replaceTrack(this.#sending[source])));
    this.#channel = pc.createDataChannel("chat");
    this.#channel.onmessage = ({ data }) => this.#tell("chat", JSON.parse(data));
    pc.onconnectionstatechange = () => pc === this.pc && this.#moved();
    pc.onicecandidate = ({ candidate }) => candidate?.candidate && this.#post({
      type: "candidate", candidate: candidate.candidate, mid: candidate.sdpMid, ufrag: candidate.usernameFragment,
    });
    await pc.setLocalDescription();
    this.#post({ type: "join", room: this.room, name: this.name, sdp: pc.localDescription.sdp, ...this.#flags() });
  }

  async #hear(message) {
    const { pc } = this;
    switch (message.type) {
      case "joined":
        this.id = message.id;
        await pc.setRemoteDescription({ type: "answer", sdp: message.sdp });
        // Something may have changed while the answer was on its way.
        this.#announce();
        break;
      case "candidate":
        // All sections share one transport: the candidate may name any that is there.
        await pc.addIceCandidate({ candidate: message.candidate, sdpMLineIndex: 0 });
        break;
      case "participants":
        this.participants = message.participants;
        this.#tell("participants");
        break;
      case "offer":
        await pc.setRemoteDescription({ type: "offer", sdp: message.sdp });
        await pc.setLocalDescription();
        this.#post({ type: "answer", sdp: pc.localDescription.sdp });
        break;
      case "tracks":
        this.tracks = message.tracks.flatMap((wanted) => {
          const { receiver } = pc.getTransceivers().find(({ mid }) => mid === wanted.mid) ?? {};
          return receiver ? [{ ...wanted, receiver, track: receiver.track }] : [];
        });
        this.#tell("tracks");
        break;
      case "refused":
        this.#over = true;
        this.#drop();
        this.#tell("refused", message.why);
        break;
    }
  }

  #moved() {
    const state = this.pc.connectionState;
    if (state === "connected") this.#attempts = 0;
    if (state === "disconnected") {
      // The way is gone, it seems. Look for another one, unless the old one comes back soon.
      setTimeout(() => this.pc?.connectionState === "disconnected" && this.restart(), 2000);
    }
    if (state === "failed") return this.#lost();
    this.#become(state === "new" ? "connecting" : state);
  }

  /** Tries again, a little later each time. */
  #lost() {
    this.#drop();
    if (this.#over) return;
    this.#become("disconnected");
    const wait = Math.min(500 * 2 ** this.#attempts++, 8000) * (0.75 + Math.random() / 2);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      this.#become("connecting");
      this.enter();
    }, wait);
  }

  #fail(error) {
    console.error(error);
    this.#tell("problem", `${error.message ?? error}`);
    this.#lost();
  }

  #drop() {
    const { pc } = this;
    this.pc = null;
    const socket = this.#socket;
    this.#socket = null;
    this.#channel = null;
    this.#senders = {};
    pc?.close();
    socket?.close();
    this.id = null;
    this.tracks = [];
    this.participants = [];
    this.#tell("tracks");
    this.#tell("participants");
  }

  #flags() {
    const { microphone, camera, screen } = this.#sending;
    return { microphone: Boolean(microphone) && !this.#mute, camera: Boolean(camera), screen: Boolean(screen) };
  }

  #announce() {
    if (this.id !== null) this.#post({ type: "state", ...this.#flags() });
  }

  #post(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #become(state) {
    this.state = state;
    this.#tell("state", state);
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
