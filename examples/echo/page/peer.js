// One connection with the echo server: signalling, channels, figures. Nothing here touches the page.

/** The kinds of channel that the page offers, as options of `createDataChannel`. */
export const KINDS = {
  reliable: {},
  unordered: { ordered: false },
  retransmits: { maxRetransmits: 2 },
  lifetime: { ordered: false, maxPacketLifeTime: 200 },
};

/** Posts JSON and gives back JSON; what the server has to say against it becomes the error. */
export async function post(path, body) {
  const response = await fetch(path, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${response.status}: ${text.trim()}`);
  return JSON.parse(text);
}

export class Peer {
  /** Called with "connecting", "connected", "disconnected", "failed" or "closed". */
  onstate = () => {};
  /** Called with a channel that the server opened. */
  onchannel = () => {};
  onlog = () => {};
  /** What comes back of the camera and the microphone. */
  echo = new MediaStream();
  /** Names this connection to the server; null before the first answer. */
  session = null;

  /** `serverOffers`: the server makes the offer. `negotiated`: ids agreed before the connection is up. */
  constructor({ serverOffers = false, negotiated = [] } = {}) {
    this.serverOffers = serverOffers;
    this.negotiated = [...negotiated];
    this.pc = new RTCPeerConnection();
    this.pc.onconnectionstatechange = () => this.onstate(this.pc.connectionState);
    this.pc.ontrack = ({ track }) => this.echo.addTrack(track);
    this.pc.ondatachannel = ({ channel }) => {
      channel.binaryType = "arraybuffer";
      this.onchannel(channel);
    };
  }

  open(label, options = {}) {
    const channel = this.pc.createDataChannel(label, options);
    channel.binaryType = "arraybuffer";
    return channel;
  }

  /** A channel that both sides know by its id; the server learns of it by a new offer. */
  async openNegotiated(id, options = {}) {
    this.negotiated.push(id);
    const answer = await this.offer();
    if (!answer.negotiated?.includes(id)) throw new Error(`the server did not open channel ${id}`);
    return this.open(`agreed ${id}`, { ...options, negotiated: true, id });
  }

  async connect() {
    await (this.serverOffers ? this.answer() : this.offer());
  }

  /** Offers: the first time for a new session, later within it. Gives back the server's answer. */
  offer(options = {}) {
    // One at a time: the next one waits for the answer of this one, whatever it is.
    const answer = this.#last.then(() => this.#offer(options));
    this.#last = answer.catch(() => {});
    return answer;
  }

  #last = Promise.resolve();

  async #offer(options) {
    await this.pc.setLocalDescription(await this.pc.createOffer(options));
    await this.gathered();
    const path = this.session === null ? "/offer" : `/offer?session=${this.session}`;
    const answer = await post(path, { ...this.pc.localDescription.toJSON(), negotiated: this.negotiated });
    this.session = answer.session;
    await this.pc.setRemoteDescription({ type: answer.type, sdp: answer.sdp });
    return answer;
  }

  /** Asks the server for an offer and answers it. */
  async answer() {
    const offer = await post("/connect", { negotiated: this.negotiated });
    this.session = offer.session;
    await this.pc.setRemoteDescription({ type: offer.type, sdp: offer.sdp });
    await this.pc.setLocalDescription();
    await this.gathered();
    await post(`/answer?session=${this.session}`, this.pc.localDescription);
  }

  /** Sends camera and microphone, or whatever the stream holds; it comes back in `echo`. */
  async startMedia(stream) {
    for (const track of stream.getTracks()) this.pc.addTrack(track, stream);
    await this.offer();
  }

  /** Sends nothing of it any more. */
  async stopMedia() {
    const senders = this.pc.getSenders().filter(({ track }) => track);
    for (const sender of senders) this.pc.removeTrack(sender);
    for (const track of this.echo.getTracks()) this.echo.removeTrack(track);
    if (senders.length) await this.offer();
  }

  /** New credentials and candidates for the same connection; the channels live on. */
  restartIce() {
    return this.offer({ iceRestart: true });
  }

  /** Waits until the candidates are in the description, but not for long: the server learns late ones by itself. */
  gathered() {
    if (this.pc.iceGatheringState === "complete") return Promise.resolve();
    return new Promise((done) => {
      this.pc.addEventListener("icegatheringstatechange", () => this.pc.iceGatheringState === "complete" && done());
      setTimeout(done, 500);
    });
  }

  close() {
    if (this.pc.signalingState === "closed") return;
    this.pc.close();
    // The server notices by itself; this spares it the wait.
    if (this.session !== null) navigator.sendBeacon(`/close?session=${this.session}`);
    this.onstate("closed");
  }

  /** Bytes both ways and the selected pair in words, or null while there is none. */
  async figures() {
    const stats = await this.pc.getStats();
    const all = [...stats.values()];
    const transport = all.find((s) => s.type === "transport");
    const pair = stats.get(transport?.selectedCandidatePairId)
      ?? all.find((s) => s.type === "candidate-pair" && s.nominated && s.state === "succeeded");
    if (!pair) return null;
    const words = (c) => c && `${c.address || c.ip || "hidden address"} port ${c.port} (${c.candidateType}, ${c.protocol})`;
    return {
      peer: this, time: performance.now(),
      // The transport's counters go on when the pair changes; not every browser has them.
      bytesSent: transport?.bytesSent ?? pair.bytesSent,
      bytesReceived: transport?.bytesReceived ?? pair.bytesReceived,
      roundTrip: pair.currentRoundTripTime,
      local: words(stats.get(pair.localCandidateId)) ?? "–",
      remote: words(stats.get(pair.remoteCandidateId)) ?? "–",
    };
  }
}

// --- Bulk transfer ---------------------------------------------------------------------------------

const PIECE = 64 * 1024;

/** Two 32-bit FNV-1a lanes over little-endian words: enough to tell any difference, and there without HTTPS. */
export function hash(bytes) {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
  let [a, b] = [0x811c9dc5, 0x01234567];
  for (let i = 0; i < words.length; i++) {
    a = Math.imul(a ^ words[i], 0x01000193);
    b = Math.imul((b ^ words[i]) + i, 0x01000193);
  }
  return [a, b].map((x) => (x >>> 0).toString(16).padStart(8, "0")).join("");
}

/** Sends `size` bytes (a multiple of 4) through the channel and waits for them to come back. */
export async function bulkTransfer(channel, size, onprogress = () => {}) {
  const source = new Uint8Array(size);
  const words = new Uint32Array(source.buffer);
  for (let i = 0, x = 0x9e3779b9; i < words.length; i++) {
    x ^= x << 13; x ^= x >>> 17; x ^= x << 5;
    words[i] = x;
  }
  const back = new Uint8Array(size);
  let arrived = 0;

  await event(channel, "open", channel.readyState === "open");
  const start = performance.now();
  const finished = new Promise((done, fail) => {
    channel.addEventListener("message", ({ data }) => {
      if (arrived + data.byteLength > size) return fail(new Error("more came back than was sent"));
      back.set(new Uint8Array(data), arrived);
      arrived += data.byteLength;
      onprogress(arrived / size);
      if (arrived === size) done();
    });
    channel.addEventListener("close", () => fail(new Error("the channel closed")));
  });
  channel.bufferedAmountLowThreshold = 1 << 20;
  const send = async () => {
    for (let at = 0; at < size; at += PIECE) {
      if (channel.bufferedAmount > 4 << 20) await event(channel, "bufferedamountlow");
      channel.send(source.subarray(at, at + PIECE));
    }
  };
  await Promise.all([send(), finished]);
  const [expected, found] = [hash(source), hash(back)];
  return { seconds: (performance.now() - start) / 1000, expected, hash: found, same: expected === found };
}

/** Waits for an event of the channel, or fails when it closes first. */
function event(channel, name, already = false) {
  if (already) return Promise.resolve();
  return new Promise((done, fail) => {
    channel.addEventListener(name, done, { once: true });
    channel.addEventListener("close", () => fail(new Error("the channel closed")), { once: true });
  });
}
