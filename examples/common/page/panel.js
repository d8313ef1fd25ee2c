// A card with a picture, a button and figures, around a session of whip.js.
import { figures } from "./figures.js";
import { publish, view } from "./whip.js";

const LAYERS = [
  { rid: "q", scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: "h", scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: "f", scaleResolutionDownBy: 1, maxBitrate: 1_700_000 },
];

/** Wires the card up. `start(card)` gives a session, which the button starts and stops. */
function panel(card, words, start) {
  const $ = (selector) => card.querySelector(selector);
  const [button, state, problem, list] = [".go", ".pill", ".problem", ".figures"].map($);
  let session = null;
  let timer = null;

  const show = () => {
    const now = session?.state ?? "new";
    state.dataset.state = now;
    state.textContent = { new: "idle", failed: "no way through" }[now] ?? now;
    button.textContent = session ? words.stop : words.start;
    if (now === "failed" || now === "closed") end();
  };
  const end = async () => {
    clearInterval(timer);
    const over = session;
    session = null;
    list.replaceChildren();
    for (const track of over?.pc.getSenders().map(({ track }) => track) ?? []) track?.stop();
    $("video").srcObject = null;
    await over?.stop();
    show();
  };
  button.onclick = async () => {
    if (session) return end();
    problem.textContent = "";
    button.disabled = true;
    try {
      session = await start($);
      card.session = session;
      session.addEventListener("state", show);
      const last = new Map();
      timer = setInterval(async () => {
        const lines = session ? await figures(session.pc, last) : [];
        list.replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
      }, 1000);
      await session.start();
    } catch (error) {
      problem.textContent = error.message;
      await end();
    }
    button.disabled = false;
    show();
  };
  addEventListener("pagehide", () => session?.stop());
  show();
}

/** A card that publishes camera and microphone. */
export const publisher = (card, url, words) => panel(card, words, async ($) => {
  if (!navigator.mediaDevices) throw new Error("The browser gives the camera only to secure pages: use localhost, or --https.");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: { ideal: 1280 }, height: { ideal: 720 } } });
  $("video").srcObject = stream;
  const session = publish(url(), stream, { encodings: $(".simulcast")?.checked ? LAYERS : undefined });
  prefer(session.pc, $(".codec")?.value);
  return session;
});

/** A card that watches. */
export const viewer = (card, url, words) => panel(card, words, async ($) => {
  const session = view(url());
  $("video").srcObject = session.stream;
  return session;
});

/** Puts a codec before all others. */
function prefer(pc, name) {
  if (!name) return;
  for (const transceiver of pc.getTransceivers().filter(({ sender }) => sender.track?.kind === "video")) {
    const { codecs } = RTCRtpReceiver.getCapabilities("video");
    const is = ({ mimeType }) => mimeType.toLowerCase() === `video/${name.toLowerCase()}`;
    if (!codecs.some(is)) throw new Error(`This browser does not speak ${name}.`);
    transceiver.setCodecPreferences([...codecs.filter(is), ...codecs.filter((codec) => /rtx|red|fec/.test(codec.mimeType))]);
  }
}
