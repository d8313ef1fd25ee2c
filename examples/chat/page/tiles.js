// The tiles: one for everyone, one for each shared screen, laid out to fill the stage.

const GAP = 10;
/** Bounds of a tile's width over its height; the picture is cut to fit, except for screens. */
const WIDEST = 16 / 9, NARROWEST = 4 / 5;

/** The largest tiles with which `n` of them fit into the rectangle, as rows of { left, top, width, height }. */
export function grid(n, { left, top, width, height }, free = false) {
  let best = { area: -1 };
  for (let columns = 1; columns <= n; columns++) {
    const rows = Math.ceil(n / columns);
    let w = (width - GAP * (columns - 1)) / columns;
    let h = (height - GAP * (rows - 1)) / rows;
    if (!free) {
      if (w / h > WIDEST) w = h * WIDEST;
      if (w / h < NARROWEST) h = w / NARROWEST;
    }
    if (w > 0 && h > 0 && w * h > best.area) best = { area: w * h, columns, rows, w, h };
  }
  const { columns = 1, rows = 1, w = 0, h = 0 } = best;
  const y0 = top + (height - rows * h - (rows - 1) * GAP) / 2;
  return Array.from({ length: n }, (_, i) => {
    const row = Math.floor(i / columns);
    const inRow = Math.min(columns, n - row * columns);
    const x0 = left + (width - inRow * w - (inRow - 1) * GAP) / 2;
    return { left: x0 + (i % columns) * (w + GAP), top: y0 + row * (h + GAP), width: w, height: h };
  });
}

/** Screens take the stage, faces a strip beside or below it; without screens, faces fill it. */
export function arrange(screens, faces, { width, height }) {
  const all = { left: 0, top: 0, width, height };
  if (screens === 0) return { screens: [], faces: grid(faces, all) };
  const isWide = width > height * 1.1;
  const strip = isWide ? Math.min(220, width * 0.26) : Math.min(130, height * 0.26);
  const main = isWide ? { ...all, width: width - strip - GAP } : { ...all, height: height - strip - GAP };
  const side = isWide
    ? { left: width - strip, top: 0, width: strip, height }
    : { left: 0, top: height - strip, width, height: strip };
  return { screens: grid(screens, main, true), faces: grid(faces, side) };
}

const initials = (name) => name.split(/\s+/).slice(0, 2).map((word) => [...word][0] ?? "").join("").toUpperCase();
const hue = (id) => `hsl(${[...id].reduce((sum, c) => (sum * 31 + c.codePointAt(0)) % 360, 7)} 38% 42%)`;

export class Tiles {
  /** Called with what is shown how high, in device pixels: { mid: height }. */
  onview = () => {};

  #tiles = new Map();
  #stage;
  #template;
  #told = "";

  constructor(stage, template) {
    this.#stage = stage;
    this.#template = template;
    new ResizeObserver(() => this.layout()).observe(stage);
    document.addEventListener("visibilitychange", () => this.layout());
  }

  /** Shows these participants with these tracks; `own` are the tracks of the participant `me`. */
  show(participants, tracks, me, own) {
    const wanted = new Map();
    for (const person of participants) {
      wanted.set(`${person.id} camera`, { person, source: "camera", isOn: person.camera });
      if (person.screen) wanted.set(`${person.id} screen`, { person, source: "screen", isOn: true });
    }
    for (const [key, tile] of this.#tiles) {
      if (!wanted.has(key)) {
        tile.video.srcObject = null;
        tile.root.remove();
        this.#tiles.delete(key);
      }
    }
    for (const [key, { person, source, isOn }] of wanted) {
      const isOwn = person.id === me;
      const tile = this.#tiles.get(key) ?? this.#make(key, person, source, isOwn);
      const find = (wanted) => tracks.find((t) => t.participant === person.id && t.source === wanted);
      tile.picture = isOwn ? null : find(source) ?? null;
      tile.sound = isOwn || source === "screen" ? null : find("microphone") ?? null;
      tile.root.classList.toggle("dark", !isOn || !(isOwn ? own[source] : tile.picture));
      tile.root.classList.toggle("silent", source === "camera" && !person.microphone);
      const media = isOwn ? [own[source]] : [tile.picture?.track, tile.sound?.track];
      this.#attach(tile.video, media.filter(Boolean));
    }
    this.layout();
  }

  /** Marks who is speaking, by the loudness that came with the sound. */
  listen() {
    const now = performance.now();
    for (const tile of this.#tiles.values()) {
      const level = tile.sound?.receiver.getSynchronizationSources?.()[0]?.audioLevel ?? 0;
      if (level > 0.02 && !tile.root.classList.contains("silent")) tile.spoke = now;
      tile.root.classList.toggle("speaking", now - (tile.spoke ?? -1e9) < 600);
    }
  }

  /** The tiles with what they show, for figures. */
  each() {
    return [...this.#tiles.values()];
  }

  layout() {
    const box = { width: this.#stage.clientWidth, height: this.#stage.clientHeight };
    const tiles = [...this.#tiles.values()];
    const screens = tiles.filter((tile) => tile.source === "screen");
    const faces = tiles.filter((tile) => tile.source === "camera");
    const places = arrange(screens.length, faces.length, box);
    const heights = {};
    for (const [list, rects] of [[screens, places.screens], [faces, places.faces]]) {
      list.forEach((tile, i) => {
        for (const side of ["left", "top", "width", "height"]) tile.root.style[side] = `${rects[i][side]}px`;
        if (tile.picture) heights[tile.picture.mid] = document.hidden ? 0 : Math.round(rects[i].height * devicePixelRatio);
      });
    }
    const told = JSON.stringify(heights);
    if (told !== this.#told) {
      this.#told = told;
      this.onview(heights);
    }
  }

  /** Forgets what was told, after a new connection. */
  forget() {
    this.#told = "";
  }

  #make(key, person, source, isOwn) {
    const root = this.#template.content.firstElementChild.cloneNode(true);
    const video = root.querySelector("video");
    const tile = { root, video, source, figures: root.querySelector(".figures"), picture: null, sound: null };
    root.dataset.participant = person.id;
    root.dataset.source = source;
    root.classList.toggle("own", isOwn);
    root.classList.toggle("screen", source === "screen");
    video.muted = isOwn || source === "screen";
    const name = isOwn ? `${person.name} (you)` : person.name;
    root.querySelector("figcaption span").textContent = source === "screen" ? `${name}: screen` : name;
    const avatar = root.querySelector(".avatar");
    avatar.dataset.initials = initials(person.name);
    avatar.style.setProperty("--hue", hue(person.name));
    this.#stage.append(root);
    this.#tiles.set(key, tile);
    return tile;
  }

  /** Sets the element's tracks without a flicker when they are the same. */
  #attach(video, media) {
    const there = video.srcObject?.getTracks() ?? [];
    if (there.length === media.length && media.every((track) => there.includes(track))) return;
    video.srcObject = media.length > 0 ? new MediaStream(media) : null;
    if (media.length > 0) video.play().catch(() => {});
  }
}
