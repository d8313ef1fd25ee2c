// What a connection sends and receives, in words.

/**
 * A line for each stream: layer, codec, picture, rate. `last` keeps the counters between two calls. With `type`, only
 * streams of one direction: "inbound-rtp" or "outbound-rtp".
 */
export async function figures(pc, last = new Map(), type = null) {
  const lines = [];
  const stats = await pc.getStats();
  for (const s of stats.values()) {
    if (s.type !== "inbound-rtp" && s.type !== "outbound-rtp") continue;
    if (type !== null && s.type !== type) continue;
    const isOut = s.type === "outbound-rtp";
    const bytes = isOut ? s.bytesSent : s.bytesReceived;
    const before = last.get(s.id);
    last.set(s.id, { bytes, time: s.timestamp });
    const rate = before ? Math.round(((bytes - before.bytes) * 8) / (s.timestamp - before.time)) : 0;
    const codec = stats.get(s.codecId)?.mimeType?.split("/")[1] ?? "";
    const picture = s.frameWidth ? `${s.frameWidth}×${s.frameHeight} ${Math.round(s.framesPerSecond ?? 0)} fps` : "";
    lines.push([s.rid, codec, picture, `${rate} kbit/s`].filter(Boolean).join(" · "));
  }
  return lines;
}
