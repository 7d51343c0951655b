"""The networks of DNSMOS (Reddy et al. 2022, arXiv 2110.01763) over a whole reply at once.

The `speechmos` package brings the weights. Its own code gives both networks one window of 9.01 s after another, a second apart, and averages:
eight ninths of what the layers before the first pooling compute (97 % of the work) has been computed for the window before.
Here those layers see each frame once, and only the frames at the ends of a window, whose neighbors are the zeros of the
padding, again for that window. The values are the package's up to rounding (below 0.001 MOS).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fobench import compute_threads
from fobench.api.types import Samples

RATE_HZ = 16_000
WINDOW_S = 9.01
HOP = 160  # samples between two frames
FRAME = 320  # samples of a frame of the P.835 network
FRAMES = 900  # of a window
SECOND = RATE_HZ // HOP  # frames between two windows
BLOCK = 100  # frames computed at once: their feature maps stay in the cache
REACH = 4  # frames on each side that the four layers before the first pooling see
POOLED_REACH = REACH // 2
# Of the graph of sig_bak_ovr.onnx: frames of samples [N, T, 320], the first pooling [N, 32, T / 2, 80], the scores [N, 3].
FRAMED, POOLED, SCORES = "mos_estimator_logpow/concat:0", "mos_estimator_logpow/conv2d_3/Relu:0_pooling0", "Identity:0"
POLYNOMIALS = (  # of SIG, BAK and OVRL: from the network's output to MOS
    (-0.08397278, 1.22083953, 0.0052439),
    (-0.13166888, 1.60915514, -0.39604546),
    (-0.06766283, 1.11546468, 0.04602535),
)
P808_FFT = 321  # samples, an odd number as in the authors' code
P808_MELS = 120

FloatArray = npt.NDArray[np.float32]


class DnsmosModel:
    """Raises ImportError without `speechmos`, `onnx` or `onnxruntime`."""

    rate_hz = RATE_HZ

    def __init__(self) -> None:
        import onnx
        import onnxruntime

        package = importlib.util.find_spec("speechmos")  # not imported: its modules import librosa, which takes seconds
        if package is None or package.origin is None:
            raise ModuleNotFoundError("No module named 'speechmos'", name="speechmos")
        folder, threads = Path(package.origin).parent / "dnsmos_models", compute_threads.count(whole_clips=True)
        graph = onnx.load(str(folder / "sig_bak_ovr.onnx"))
        for name, shape in ((FRAMED, ("N", "T", FRAME)), (POOLED, ("N", 32, "T / 2", 80))):
            graph.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
        p835 = onnx.utils.Extractor(graph)
        self._features, self._head = (
            compute_threads.onnx_session(
                onnxruntime, p835.extract_model([given], [wanted]).SerializeToString(), threads
            )
            for given, wanted in ((FRAMED, POOLED), (POOLED, SCORES))
        )
        self._p808 = compute_threads.onnx_session(onnxruntime, str(folder / "model_v8.onnx"), threads)
        self._mel = mel_filters()

    def __call__(self, samples: Samples) -> dict[str, float]:
        """{ovrl, sig, bak, p808} of samples [T] at 16 kHz in [-1, 1]: the means over the windows."""
        length = int(WINDOW_S * RATE_HZ)
        while len(samples) < length:  # as the package does: shorter audio is repeated, twice as long each time
            samples = np.append(samples, samples)
        starts = _window_starts(len(samples), length)
        raw = np.array([self._head.run(None, {POOLED: pooled})[0][0] for pooled in self._pooled(samples, starts)])
        sig, bak, ovrl = (np.polyval(p, column.astype(float)) for p, column in zip(POLYNOMIALS, raw.T, strict=True))
        p808 = [self._p808_mos(samples[start * HOP : start * HOP + length]) for start in starts]
        means = {"ovrl": ovrl.mean(), "sig": sig.mean(), "bak": bak.mean(), "p808": np.mean(p808)}
        return {name: float(value) for name, value in means.items()}

    def _pooled(self, samples: Samples, starts: list[int]) -> list[FloatArray]:
        """The first pooling of each window, [1, 32, 450, 80]. `starts`: the windows' first frames."""
        frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP].astype(np.float32)  # [T, 320]
        frames = frames[: starts[-1] + FRAMES]
        blocks = [self._block(frames, first) for first in range(0, len(frames), BLOCK)]
        whole = np.concatenate(blocks, axis=2)  # [1, 32, T / 2, 80]
        ends = 2 * REACH  # frames from which the layers compute the outermost POOLED_REACH values
        windows = []
        for start in starts:
            window = whole[:, :, start // 2 : (start + FRAMES) // 2].copy()
            window[:, :, :POOLED_REACH] = self._run(frames[start : start + ends])[:, :, :POOLED_REACH]
            window[:, :, -POOLED_REACH:] = self._run(frames[start + FRAMES - ends : start + FRAMES])[
                :, :, -POOLED_REACH:
            ]
            windows.append(window)
        return windows

    def _block(self, frames: FloatArray, first: int) -> FloatArray:
        """The first pooling of a block of frames that has its neighbors on both sides."""
        before, last = min(REACH, first), min(first + BLOCK, len(frames))
        pooled = self._run(frames[first - before : last + REACH])
        return pooled[:, :, before // 2 : (before + last - first) // 2]

    def _run(self, frames: FloatArray) -> FloatArray:
        pooled: FloatArray = self._features.run(None, {FRAMED: frames[np.newaxis]})[0]
        return pooled

    def _p808_mos(self, window: Samples) -> float:
        spectrogram = self._log_mel(window[:-HOP])
        return float(self._p808.run(None, {"input_1": spectrogram[np.newaxis]})[0][0, 0])

    def _log_mel(self, samples: Samples) -> FloatArray:
        """The log-mel spectrogram [900, 120] of 9 s, in units of 40 dB around 40 dB below its maximum."""
        padded = np.pad(samples, P808_FFT // 2)
        frames = np.lib.stride_tricks.sliding_window_view(padded, P808_FFT)[::HOP]
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(P808_FFT) / P808_FFT)
        power = np.abs(np.fft.rfft(frames * hann.astype(np.float32))) ** 2
        decibels = 10 * np.log10(np.maximum(power @ self._mel, 1e-10))
        relative = np.maximum(decibels - decibels.max(), -80.0)
        return ((relative + 40) / 40).astype(np.float32)


def _window_starts(samples: int, length: int) -> list[int]:
    """The first frames of the windows, a second apart; the package's own arithmetic, which leaves out some by rounding."""
    hops = int(np.floor(samples / RATE_HZ) - WINDOW_S) + 1
    ends = [min(samples, int((hop + WINDOW_S) * RATE_HZ)) for hop in range(hops)]
    return [hop * SECOND for hop, end in enumerate(ends) if end - hop * RATE_HZ >= length]


def mel_filters() -> FloatArray:
    """Triangular mel filters [161, 120] from 0 to 8 kHz of unit area (Slaney's scale: linear to 1 kHz, then logarithmic)."""
    linear_hz, step = 1000.0, np.log(6.4) / 27
    top = linear_hz * 3 / 200 + np.log(RATE_HZ / 2 / linear_hz) / step
    mels = np.linspace(0.0, top, P808_MELS + 2)
    below = mels * 200 / 3
    edges = np.where(below < linear_hz, below, linear_hz * np.exp(step * (mels - linear_hz * 3 / 200)))
    bins = np.fft.rfftfreq(P808_FFT, 1 / RATE_HZ)[:, np.newaxis]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])
    return filters.astype(np.float32)
