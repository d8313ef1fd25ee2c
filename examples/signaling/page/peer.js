// One other browser: a connection to it, by the pattern of perfect negotiation (W3C WebRTC §10.7): both sides run the
// same code, may change things at any time, and when two offers cross, the polite side gives way.

export class Peer extends EventTarget {
  #makingOffer = false;
  #ignoresOffer = false;
  #chat;

  constructor({ id, isPolite, stream, iceServers, iceTransportPolicy, send }) {
    super();
    this.id = id;
    this.stream = new MediaStream();
    this.pc = new RTCPeerConnection({ iceServers, iceTransportPolicy });
    this.isPolite = isPolite;
    this.send = send;
    // Agreed by id: no side has to wait for the other's.
    this.#chat = this.pc.createDataChannel("chat", { negotiated: true, id: 0 });
    this.#chat.onopen = () => this.#tell("open");
    this.#chat.onmessage = ({ data }) => this.#tell("chat", data);
    for (const track of stream?.getTracks() ?? []) this.pc.addTrack(track, stream);
    this.pc.ontrack = ({ track }) => {
      this.stream.addTrack(track);
      track.onunmute = track.onmute = () => this.#tell("media");
      this.#tell("media");
    };
    this.pc.onicecandidate = ({ candidate }) => this.send({ type: "candidate", to: id, candidate });
    this.pc.onnegotiationneeded = () => this.#offer();
    this.pc.onconnectionstatechange = () => {
      if (this.pc.connectionState === "failed") this.pc.restartIce();
      this.#tell("state");
    };
  }

  get state() {
    return this.pc.connectionState;
  }

  // Whether it was heard: false until the channel is open.
  say(text) {
    if (this.#chat.readyState !== "open") return false;
    this.#chat.send(text);
    return true;
  }

  async #offer() {
    try {
      this.#makingOffer = true;
      await this.pc.setLocalDescription();
      this.send({ type: "description", to: this.id, description: this.pc.localDescription });
    } catch (error) {
      this.#tell("error", error);
    } finally {
      this.#makingOffer = false;
    }
  }

  async handleDescription(description) {
    const { pc } = this;
    const collides = description.type === "offer" && (this.#makingOffer || pc.signalingState !== "stable");
    this.#ignoresOffer = !this.isPolite && collides;
    if (this.#ignoresOffer) return;
    await pc.setRemoteDescription(description);
    if (description.type === "offer") {
      await pc.setLocalDescription();
      this.send({ type: "description", to: this.id, description: pc.localDescription });
    }
  }

  async handleCandidate(candidate) {
    try {
      await this.pc.addIceCandidate(candidate ?? undefined);
    } catch (error) {
      // Candidates of an offer that was ignored fit nothing here.
      if (!this.#ignoresOffer) throw error;
    }
  }

  // How the two ends reach each other, such as "host" or "relay".
  async path() {
    const stats = [...(await this.pc.getStats()).values()];
    const transport = stats.find((entry) => entry.type === "transport");
    const pair = stats.find((entry) => entry.id === transport?.selectedCandidatePairId);
    const kind = (id) => stats.find((entry) => entry.id === id)?.candidateType;
    return pair && { local: kind(pair.localCandidateId), remote: kind(pair.remoteCandidateId) };
  }

  close() {
    this.pc.onconnectionstatechange = this.pc.onnegotiationneeded = this.pc.onicecandidate = null;
    this.pc.close();
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
