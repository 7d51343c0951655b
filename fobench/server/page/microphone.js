// Runs in the audio thread: hands the microphone's samples on in pieces of 20 ms.
class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = Math.round(sampleRate / 50);
    this.piece = new Float32Array(this.size);
    this.used = 0;
  }

  process(inputs) {
    const samples = inputs[0][0];
    if (!samples) return true;
    for (const sample of samples) {
      this.piece[this.used++] = sample;
      if (this.used === this.size) {
        this.port.postMessage(this.piece, [this.piece.buffer]);
        this.piece = new Float32Array(this.size);
        this.used = 0;
      }
    }
    return true;
  }
}
registerProcessor("microphone", Microphone);
