// WHIP and WHEP in a page: a connection by one POST, candidates and ICE restarts by PATCH, the end by DELETE.

/** Sends the tracks of a stream to a WHIP endpoint. `encodings` are those of the video. */
export const publish = (url, stream, options = {}) => {
  const session = new Session(url, options);
  for (const track of stream.getTracks()) {
    session.pc.addTransceiver(track, {
      direction: "sendonly", streams: [stream], sendEncodings: track.kind === "video" ? options.encodings : undefined,
    });
  }
  return session;
};

/** Receives from a WHEP endpoint; `session.stream` fills up with tracks. */
export const view = (url, options = {}) => {
  const session = new Session(url, options);
  for (const kind of options.kinds ?? ["audio", "video"]) session.pc.addTransceiver(kind, { direction: "recvonly" });
  return session;
};

class Session extends EventTarget {
  pc = new RTCPeerConnection();
  stream = new MediaStream();
  #url;
  #token;
  #resource = null;
  #etag = null;
  #candidates = [];
  #isPatching = false;
  #isOver = false;

  constructor(url, { token } = {}) {
    super();
    this.#url = new URL(url, location);
    this.#token = token;
    this.pc.ontrack = ({ track }) => this.stream.addTrack(track);
    this.pc.onconnectionstatechange = () => this.dispatchEvent(new Event("state"));
    this.pc.onicecandidate = ({ candidate }) => {
      this.#candidates.push(candidate);
      this.#trickle();
    };
  }

  /** "new", "connecting", "connected", "disconnected", "failed" or "closed". */
  get state() {
    return this.#isOver ? "closed" : this.pc.connectionState;
  }

  async start() {
    await this.pc.setLocalDescription();
    const response = await this.#fetch(this.#url, "POST", this.pc.localDescription.sdp, { "content-type": "application/sdp" });
    this.#resource = new URL(response.headers.get("location"), this.#url);
    this.#etag = response.headers.get("etag");
    await this.pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
    await this.#trickle();
    return this;
  }

  /** New credentials and candidates; nothing else changes, so the last answer holds with those of the server. */
  async restart() {
    // Candidates wait: they belong to an ICE session that the server does not know yet.
    this.#isPatching = true;
    try {
      await this.#renew();
    } finally {
      this.#isPatching = false;
    }
    await this.#trickle();
  }

  async #renew() {
    await this.pc.setLocalDescription(await this.pc.createOffer({ iceRestart: true }));
    const { sdp } = this.pc.localDescription;
    const response = await this.#patch(fragment(sdp, candidatesOf(sdp)), "*");
    this.#etag = response.headers.get("etag");
    const theirs = await response.text();
    const answer = this.pc.currentRemoteDescription.sdp
      .replace(/^a=(candidate:|end-of-candidates).*\r\n/gm, "")
      .replace(/^a=ice-ufrag:.*/gm, theirs.match(/^a=ice-ufrag:.*/m)[0].trim())
      .replace(/^a=ice-pwd:.*/gm, theirs.match(/^a=ice-pwd:.*/m)[0].trim())
      .replace(/^a=mid:.*\r\n/m, (mid) => mid + candidatesOf(theirs).map((line) => `${line}\r\n`).join(""));
    await this.pc.setRemoteDescription({ type: "answer", sdp: answer });
  }

  async stop() {
    this.#isOver = true;
    this.pc.close();
    this.dispatchEvent(new Event("state"));
    // On the way out of the page there is no time for more than this.
    if (this.#resource) await fetch(this.#resource, { method: "DELETE", headers: this.#headers(), keepalive: true }).catch(() => {});
  }

  /** Tells the server what has been gathered meanwhile, all in one request. */
  async #trickle() {
    if (!this.#resource || this.#isPatching || this.#candidates.length === 0) return;
    this.#isPatching = true;
    const lines = this.#candidates.splice(0)
      .map((candidate) => (candidate?.candidate ? `a=${candidate.candidate}` : "a=end-of-candidates"));
    await this.#patch(fragment(this.pc.localDescription.sdp, lines), this.#etag).catch((error) => console.warn(error));
    this.#isPatching = false;
    this.#trickle();
  }

  #patch(body, etag) {
    return this.#fetch(this.#resource, "PATCH", body, { "content-type": "application/trickle-ice-sdpfrag", "if-match": etag });
  }

  async #fetch(url, method, body, headers) {
    const response = await fetch(url, { method, body, headers: { ...headers, ...this.#headers() } });
    if (!response.ok) throw new Error(`${response.status}: ${(await response.text()).trim()}`);
    return response;
  }

  #headers() {
    return this.#token ? { authorization: `Bearer ${this.#token}` } : {};
  }
}

const candidatesOf = (sdp) => [...new Set(sdp.match(/^a=candidate:.*$/gm)?.map((line) => line.trim()))];

/** A description's first section, as far as it is about ICE (RFC 8840 §9). */
const fragment = (sdp, candidates) => [
  ...["ice-ufrag", "ice-pwd"].map((name) => sdp.match(new RegExp(`^a=${name}:.*`, "m"))[0].trim()),
  sdp.match(/^m=.*/m)[0].trim(), sdp.match(/^a=mid:.*/m)[0].trim(), ...candidates, "",
].join("\r\n");
