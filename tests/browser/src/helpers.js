// In the page of every case: short ways to connect, send and wait. `window.echo` comes from the page itself.
const within = (promise, what, ms = 60000) => Promise.race([
  promise, new Promise((_, fail) => setTimeout(() => fail(new Error(`waited too long for ${what}`)), ms)),
]);
const happens = (target, name) => within(new Promise((done) => target.addEventListener(name, done, { once: true })), name);

/** Waits until a channel may be used. */
const opened = async (channel) => {
  if (channel.readyState === "connecting") await happens(channel, "open");
  if (channel.readyState !== "open") throw new Error(`the channel is ${channel.readyState}`);
  return channel;
};

/** Closes a channel and waits until it is gone. */
const finish = async (channel) => {
  const gone = happens(channel, "close");
  channel.close();
  await gone;
};

/** A connection with one reliable channel that is open. */
const connect = async (options = {}) => {
  const peer = new echo.Peer(options);
  const channel = peer.open("main");
  await peer.connect();
  await opened(channel);
  return { peer, channel };
};

/** Sends, and gives back the next message on the channel. */
const echoed = async (channel, data) => {
  const answer = happens(channel, "message");
  channel.send(data);
  return (await answer).data;
};

/** Bytes that look random and are the same every time. */
const noise = (size, seed = 1) => {
  const bytes = new Uint8Array(size);
  for (let i = 0, x = seed * 2654435761 >>> 0 || 1; i < size; i++) {
    x ^= x << 13; x ^= x >>> 17; x ^= x << 5;
    bytes[i] = x;
  }
  return bytes;
};

const same = (a, b) => {
  const [x, y] = [a, b].map((v) => new Uint8Array(v.buffer ?? v, v.byteOffset ?? 0, v.byteLength));
  return x.length === y.length && x.every((byte, i) => byte === y[i]);
};

const sha256 = async (bytes) =>
  Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)), (b) => b.toString(16).padStart(2, "0")).join("");

Object.assign(window, { within, happens, opened, finish, connect, echoed, noise, same, sha256 });
