// The client page: microphone to the server, replies to the loudspeaker, both transcripts, and the latency of each reply.
import { scenarioArchive } from "./scenario.js";

const RATE = 24000; // of the audio on the wire
const LOUD = 0.02; // level above which the microphone counts as a voice
const QUIET_MS = 120; // silence after which a voice has ended
const PAUSE_MS = 300; // and after which a reply is waited for

const $ = (id) => document.getElementById(id);
const state = { socket: null, context: null, stream: null, node: null, muted: false, replies: new Map(), turns: [], playing: [], end: 0, lastVoice: -QUIET_MS, voiceBegan: 0, latencies: [], sent: [], position: 0, response: null, asking: null, hearing: false };

function show(name, text) {
  if ($("state").textContent === text) return; // nothing to announce
  $("state").dataset.state = name;
  $("state").textContent = text;
}

function fail(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

// ---- audio ----------------------------------------------------------------------------------------------------------------

function toBase64(samples) {
  const view = new DataView(new ArrayBuffer(2 * samples.length));
  samples.forEach((value, i) => view.setInt16(2 * i, Math.max(-1, Math.min(1, value)) * 32767, true));
  let text = "";
  for (const byte of new Uint8Array(view.buffer)) text += String.fromCharCode(byte);
  return btoa(text);
}

function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length >> 1 }, (_, i) => view.getInt16(2 * i, true) / 32768);
}

function level(samples) {
  let sum = 0;
  for (const value of samples) sum += value * value;
  return Math.sqrt(sum / samples.length);
}

function send(samples) {
  if (!state.socket || state.socket.readyState !== WebSocket.OPEN) return;
  const loud = level(samples);
  $("level").style.width = `${Math.min(100, 300 * loud)}%`;
  state.sent.push(Int16Array.from(samples, (value) => Math.max(-1, Math.min(1, value)) * 32767));
  state.position += samples.length;
  if (loud > LOUD) {
    const now = performance.now();
    if (now - state.lastVoice > QUIET_MS) state.voiceBegan = now;
    state.lastVoice = now;
  }
  if (state.hearing) waiting() ? show("thinking", "Thinking") : show("listening", "Listening: I hear you");
  state.socket.send(JSON.stringify({ type: "input_audio_buffer.append", audio: toBase64(samples) }));
}

function waiting() {
  // Whether the user has said something and is silent now: the server tells the end of a turn when it has decided to reply.
  return performance.now() - state.lastVoice > PAUSE_MS;
}

function play(response, samples) {
  const { context } = state;
  const reply = state.replies.get(response);
  if (!reply || reply.stopped || !samples.length) return;
  const buffer = context.createBuffer(1, samples.length, RATE);
  buffer.copyToChannel(samples, 0);
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(context.destination);
  const at = Math.max(context.currentTime + 0.02, state.end);
  state.end = at + buffer.duration;
  source.start(at);
  state.playing.push(source);
  source.onended = () => {
    state.playing = state.playing.filter((other) => other !== source);
    if (!state.playing.length && reply.done) show("listening", "Listening");
  };
  if (reply.begun === null) {
    reply.begun = at;
    reply.beganMs = performance.now() + 1000 * (at - context.currentTime);
    show("speaking", "Speaking");
    measure(reply);
  }
  reply.samples += samples.length;
}

function stop() {
  // Stops the reply that is audible; returns whether there was one.
  const reply = [...state.replies.values()].pop();
  if (!reply || reply.stopped || reply.begun === null || state.context.currentTime >= state.end) return false;
  const heard = Math.max(0, Math.min(state.context.currentTime - reply.begun, reply.samples / RATE));
  for (const source of state.playing) source.stop();
  state.playing = [];
  state.end = 0;
  reply.stopped = true;
  reply.heardMs = Math.round(1000 * heard);
  window.dispatchEvent(new CustomEvent("fobench-stopped", { detail: { at: performance.now() } }));
  if (reply.item) {
    const position = { item_id: reply.item, content_index: 0, audio_end_ms: reply.heardMs };
    state.socket.send(JSON.stringify({ type: "conversation.item.truncate", ...position }));
  }
  return true;
}

// ---- what is shown ----------------------------------------------------------------------------------------------------------

function line(kind, who) {
  $("turns").querySelector(".hint")?.remove();
  const item = document.createElement("li");
  item.className = kind;
  const name = document.createElement("b");
  name.textContent = who;
  const text = document.createElement("span");
  item.append(name, text);
  $("turns").append(item);
  item.scrollIntoView({ block: "nearest" });
  return text;
}

function measure(reply) {
  const ms = Math.round(reply.beganMs - reply.voiceEnd);
  if (!(ms > 0 && ms < 60000)) return;
  state.latencies.push(ms);
  const most = Math.max(1500, ...state.latencies);
  $("bars").replaceChildren(...state.latencies.map((value, i) => {
    const item = document.createElement("li");
    item.innerHTML = '<span></span><div><div class="bar"></div></div><span class="value"></span>';
    item.children[0].textContent = i + 1;
    item.querySelector(".bar").style.width = `${(100 * value) / most}%`;
    item.querySelector(".value").textContent = `${value} ms`;
    item.setAttribute("aria-label", `Reply ${i + 1}: ${value} milliseconds`);
    return item;
  }));
}

// ---- the server's events ----------------------------------------------------------------------------------------------------

const handlers = {
  "session.created": (event) => {
    $("model").textContent = event.session.model;
    show("listening", "Listening");
  },
  "input_audio_buffer.speech_started": (event) => {
    const over = stop();
    state.turns.push({ startMs: event.audio_start_ms, endMs: null, over, item: event.item_id, at: performance.now() });
    show("listening", "Listening: I hear you");
    state.hearing = true;
  },
  "input_audio_buffer.speech_stopped": (event) => {
    state.hearing = false;
    const turn = state.turns.at(-1);
    if (turn) turn.endMs = event.audio_end_ms;
    show("thinking", "Thinking");
  },
  "conversation.item.input_audio_transcription.completed": (event) => {
    const turn = state.turns.findLast((one) => one.item === event.item_id);
    if (turn) turn.text = event.transcript;
    const text = line("user", "You, as it was heard");
    text.textContent = event.transcript || "(nothing)";
  },
  "response.created": (event) => {
    const reply = { begun: null, samples: 0, done: false, stopped: false, text: null, voiceEnd: state.lastVoice, item: null };
    state.replies.set(event.response.id, reply);
    show("thinking", "Thinking");
  },
  "response.output_audio_transcript.delta": (event) => write(event),
  "response.output_text.delta": (event) => write(event),
  "response.output_audio.delta": (event) => {
    const reply = state.replies.get(event.response_id);
    if (reply) reply.item = event.item_id;
    play(event.response_id, fromBase64(event.delta));
  },
  "response.done": (event) => {
    const reply = state.replies.get(event.response.id);
    if (!reply) return;
    reply.done = true;
    if (event.response.status === "cancelled" && reply.text) reply.text.append(" …");
    if (!state.playing.length) show("listening", "Listening");
    $("save").disabled = false;
  },
  error: (event) => fail(`The server reports: ${event.error.message}`),
};

function write(event) {
  const reply = state.replies.get(event.response_id);
  if (!reply) return;
  reply.text ??= line("system", "Reply");
  reply.text.append(event.delta);
}

// ---- connection -------------------------------------------------------------------------------------------------------------

function connect() {
  const key = $("key").value;
  const protocols = key ? ["realtime", `openai-insecure-api-key.${key}`] : ["realtime"];
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/realtime`, protocols);
  return new Promise((resolve, reject) => {
    socket.onopen = () => resolve(socket);
    socket.onerror = () => reject(new Error("unreachable"));
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      window.dispatchEvent(new CustomEvent("fobench-event", { detail: event }));
      handlers[event.type]?.(event);
    };
    socket.onclose = ({ code, reason }) => {
      if (state.socket === socket) hangUp(code === 1000 ? "" : ending(code, reason));
    };
  });
}

function ending(code, reason) {
  if (code === 1001) return "The server was stopped. Start again when it runs.";
  if (code === 1006) return "The connection to the server was lost: it may have been stopped. Start again when it runs.";
  return `The server ended the conversation: ${reason || `code ${code}`}.`;
}

async function microphone() {
  if (!navigator.mediaDevices?.getUserMedia) throw Object.assign(new Error(), { name: "Insecure" });
  const wanted = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
  if ($("device").value) wanted.deviceId = { exact: $("device").value };
  return navigator.mediaDevices.getUserMedia({ audio: wanted });
}

const REASONS = {
  NotFoundError: "No microphone was found. Plug one in, or play a question instead.",
  NotAllowedError: "This page may not use the microphone. Allow it beside the address, then start again.",
  NotReadableError: "The microphone is in use by another program.",
  OverconstrainedError: "This microphone is no longer there: choose another.",
  Insecure: "Browsers give the microphone to pages of this machine or by https only: open http://127.0.0.1.",
};

async function begin(withMicrophone) {
  fail("");
  Object.assign(state, { sent: [], turns: [], position: 0, lastVoice: -QUIET_MS, hearing: false });
  state.replies.clear();
  show("connecting", "Connecting");
  try {
    state.context = new AudioContext({ sampleRate: RATE });
    await state.context.resume();
    if (withMicrophone) {
      state.stream = await microphone();
      await state.context.audioWorklet.addModule("microphone.js").catch(() => { throw new Error("unreachable"); });
      await devices();
    }
    state.socket = await connect();
  } catch (error) {
    const why = error.message === "unreachable" ? await refusal() : REASONS[error.name];
    hangUp(why || `The microphone cannot be used: ${error.message}`);
    return false;
  }
  if (withMicrophone) {
    state.node = new AudioWorkletNode(state.context, "microphone");
    state.node.port.onmessage = ({ data }) => state.asking || send(state.muted ? new Float32Array(data.length) : data);
    listen();
  }
  $("talk").textContent = "End the conversation";
  $("talk").setAttribute("aria-pressed", "true");
  $("mute").disabled = !withMicrophone;
  return true;
}

function listen() {
  // Connects the microphone, and tells where it is unplugged.
  state.context.createMediaStreamSource(state.stream).connect(state.node);
  for (const track of state.stream.getTracks()) track.onended = () => state.socket && fail("The microphone is gone: choose another, or play a question.");
}

async function changeMicrophone() {
  // In a conversation the choice holds at once.
  if (!state.node) return;
  try {
    const stream = await microphone();
    state.stream.getTracks().forEach((track) => track.stop());
    state.stream = stream;
    listen();
    fail("");
  } catch (error) {
    fail(REASONS[error.name] || `The microphone cannot be used: ${error.message}`);
  }
}

async function refusal() {
  // Why a connection was refused: a browser does not tell the page.
  try {
    const answer = await fetch("/v1/realtime", { headers: { "X-Ask": "why" } });
    if (answer.status === 503 || answer.status === 403) return await answer.text();
    if (answer.status === 401) {
      $("key-box").hidden = false;
      $("key").focus();
      return "This server wants a key: enter it and start again.";
    }
  } catch {
    return "The server is not there any more.";
  }
  return "The server cannot be reached.";
}

function hangUp(why = "") {
  const { socket, stream, context } = state;
  Object.assign(state, { socket: null, stream: null, node: null, playing: [], end: 0 });
  socket?.close();
  stream?.getTracks().forEach((track) => track.stop());
  context?.close();
  silenceQuestion();
  mute(false);
  $("talk").textContent = "Start talking";
  $("talk").setAttribute("aria-pressed", "false");
  $("mute").disabled = true;
  $("level").style.width = "0";
  show("idle", "Not connected");
  fail(why);
}

async function devices() {
  if (!navigator.mediaDevices?.enumerateDevices) return;
  const all = (await navigator.mediaDevices.enumerateDevices()).filter((one) => one.kind === "audioinput");
  const chosen = $("device").value;
  $("device").replaceChildren(new Option("Default", ""), ...all.map((one, i) => new Option(one.label || `Microphone ${i + 1}`, one.deviceId)));
  $("device").value = chosen;
}

async function questions() {
  try {
    const list = await (await fetch("questions.json")).json();
    if (!list.length) return;
    $("question").replaceChildren(...list.map((one) => new Option(one.text, one.id)));
    $("replay-box").hidden = $("ask").hidden = false;
  } catch {
    // a server without questions
  }
}

function silenceQuestion() {
  clearInterval(state.asking);
  state.asking = null;
}

async function ask() {
  // Plays a shipped question into the conversation, in place of the microphone.
  if (!state.socket && !(await begin(false))) return;
  const bytes = await (await fetch(`questions/${$("question").value}.wav`)).arrayBuffer();
  const audio = (await state.context.decodeAudioData(bytes)).getChannelData(0);
  const piece = RATE / 50;
  let at = 0;
  silenceQuestion();
  const start = performance.now();
  state.asking = setInterval(() => {
    while (at * 1000 < (performance.now() - start) * RATE) {
      const samples = audio.slice(at, at + piece);
      at += piece;
      if (samples.length || state.node === null) send(samples.length ? samples : new Float32Array(piece));
      else return silenceQuestion();
    }
  }, 10);
}

function mute(muted) {
  state.muted = muted;
  $("mute").textContent = muted ? "Unmute" : "Mute";
  $("mute").setAttribute("aria-pressed", String(muted));
}

$("talk").onclick = () => (state.socket ? hangUp() : begin(true));
$("ask").onclick = ask;
$("mute").onclick = () => mute(!state.muted);
$("device").onchange = changeMicrophone;
navigator.mediaDevices?.addEventListener("devicechange", devices);
$("save").onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(scenarioArchive(state.sent, state.turns, RATE));
  link.download = "conversation.zip";
  link.click();
};
$("key-box").onsubmit = (event) => {
  event.preventDefault();
  begin(true);
};
questions();
devices();
window.voiceBegan = () => state.voiceBegan; // when the user's last sound began, of performance.now()
