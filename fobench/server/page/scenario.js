// A conversation as a scenario of fobench: one WAV file a turn and scenario.toml, in a zip archive without compression.

const MARGIN_MS = 300; // kept before and after each turn

export function scenarioArchive(pieces, turns, rate) {
  const audio = new Int16Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  pieces.reduce((at, piece) => (audio.set(piece, at), at + piece.length), 0);
  const files = [];
  let text = "version = 1\n\n[[scenario]]\nid = \"conversation\"\n";
  turns.filter((turn) => turn.endMs !== null).forEach((turn, i) => {
    const [from, to] = [turn.startMs - MARGIN_MS, turn.endMs + MARGIN_MS].map((ms) => Math.max(0, Math.round((ms * rate) / 1000)));
    const name = `turn-${i + 1}.wav`;
    files.push([name, wav(audio.subarray(from, Math.min(to, audio.length)), rate)]);
    text += `\n[[scenario.turns]]\naudio = "${name}"\n`;
    if (turn.text) text += `text = ${JSON.stringify(turn.text)}\n`;
    if (i) text += turn.over ? 'role = "interrupt"\nanchor = { event = "reply_audible", delay_s = 1.0 }\n' : 'anchor = { event = "reply_end", delay_s = 1.0 }\n';
  });
  files.unshift(["scenario.toml", new TextEncoder().encode(text)]);
  return new Blob(zip(files), { type: "application/zip" });
}

function wav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const word = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  word(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  word(8, "WAVEfmt ");
  [[16, 16, 4], [20, 1, 2], [22, 1, 2], [24, rate, 4], [28, 2 * rate, 4], [32, 2, 2], [34, 16, 2]].forEach(([at, value, size]) =>
    size === 4 ? view.setUint32(at, value, true) : view.setUint16(at, value, true));
  word(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => view.setInt16(44 + 2 * i, value, true));
  return new Uint8Array(view.buffer);
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

function zip(files) {
  const parts = [], directory = [];
  let at = 0;
  for (const [name, bytes] of files) {
    const title = new TextEncoder().encode(name), sum = crc32(bytes);
    const fields = (local) => {
      const view = new DataView(new ArrayBuffer(local ? 30 : 46));
      const shift = local ? 0 : 2;
      view.setUint32(0, local ? 0x04034b50 : 0x02014b50, true);
      if (!local) view.setUint16(4, 20, true);
      view.setUint16(4 + shift, 20, true);
      view.setUint32(14 + shift, sum, true);
      view.setUint32(18 + shift, bytes.length, true);
      view.setUint32(22 + shift, bytes.length, true);
      view.setUint16(26 + shift, title.length, true);
      if (!local) view.setUint32(42, at, true);
      return new Uint8Array(view.buffer);
    };
    directory.push(fields(false), title);
    parts.push(fields(true), title, bytes);
    at += 30 + title.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, at, true);
  return [...parts, ...directory, new Uint8Array(end.buffer)];
}
