"""The echo: the system's playback in what it hears, at the level and delay that were set."""

import numpy as np
import pytest
from click.testing import CliRunner

from fobench.api import registry
from fobench.api.types import NS_PER_MS as MS
from fobench.cli.main import main
from fobench.errors import FobenchError
from fobench.execution.system_driver import LocalDriver
from fobench.simulation import replay as runner
from fobench.simulation.clock import VirtualClock
from fobench.simulation.costs import CostTable
from fobench.simulation.echo import Echo
from fobench.simulation.playback import PlaybackBuffer

OUT, IN = 24_000, 16_000
pytestmark = pytest.mark.usefixtures("home")


def band_limited(seconds, rate, seed=0):
    """Noise below 3 kHz, which resampling leaves as it is."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(seconds * rate))
    spectrum[3000 * seconds :] = 0
    wave = np.fft.irfft(spectrum, seconds * rate)
    return (0.2 * wave / np.abs(wave).max()).astype(np.float32)


@pytest.mark.parametrize("chunk", [320, 512, 1024])
@pytest.mark.parametrize("delay_ms", [10, 80, 250])
def test_frame_by_frame_it_is_the_playback_softer_and_later(chunk, delay_ms):
    playback = PlaybackBuffer(OUT)
    wave = band_limited(2, OUT)
    playback.add(0, wave, 500 * MS)
    echo = Echo(-20.0, delay_ms * MS)
    heard = np.concatenate(
        [echo.render(playback, start, chunk, IN) for start in range(0, 3 * IN // chunk * chunk, chunk)]
    )
    lag = (500 + delay_ms) * IN // 1000
    assert np.abs(heard[: lag - 200]).max() < 1e-3
    expected = 0.1 * np.interp(np.arange(2 * IN) / IN, np.arange(2 * OUT) / OUT, wave)
    inside = slice(lag + 400, lag + 2 * IN - 400)
    error = heard[inside] - expected[400:-400]
    assert np.sqrt(np.mean(error**2)) < 0.05 * np.sqrt(np.mean(expected**2))


def test_what_a_stop_dropped_has_no_echo():
    playback = PlaybackBuffer(OUT)
    playback.add(0, band_limited(2, OUT), 0)
    playback.flush(500 * MS)
    assert np.abs(Echo(0.0, 100 * MS).render(playback, IN, IN // 2, IN)).max() < 1e-3
    assert np.abs(Echo(0.0, 100 * MS).render(playback, 0, IN // 2, IN)).max() > 0.1


@pytest.mark.parametrize(("level", "delay", "message"), [(3, 80, "0 dB"), (np.nan, 80, "0 dB"), (-30, 5, "10 ms")])
def test_what_no_room_does_is_refused(level, delay, message):
    with pytest.raises(FobenchError, match=message):
        Echo(level, delay * MS)


def test_a_run_refuses_it_before_anything_is_computed(tmp_path):
    folder = tmp_path / "run"
    told = CliRunner().invoke(
        main, ["run", "--system", "scripted:late", "--judge", "none", "--echo", "6", "-o", str(folder)]
    )
    assert (told.exit_code, folder.exists()) == (2, False)
    assert "--echo 6" in told.output


def replay(name, echo, **options):
    suite = registry.create(
        "suites", "duplex", {"sound": "tones", "count": 1, "families": "turn_taking", "controls": False}
    )
    (scenario,) = suite.scenarios(0)
    driver = LocalDriver(registry.spec("systems", f"scripted:{name}", options))
    return runner.replay(scenario, driver, VirtualClock(CostTable()), echo=echo)


def test_a_system_that_hears_itself_stops_itself():
    """`scripted:yields` cannot tell its own voice from the user's: a planted victim of echo."""
    clear, loud, faint = (replay("yields", echo, reply_ms=3000).trace for echo in (None, Echo(-10), Echo(-60)))
    assert not clear.decisions("yield")
    assert not faint.decisions("yield")  # below what it hears
    first = loud.decisions("yield")[0]
    assert first.compute_ns - loud.replies[0].audible_start_ns == pytest.approx((80 + 400) * MS, abs=20 * MS)


def test_the_recording_holds_what_the_microphone_heard():
    recording = replay("late", Echo(-6, 100 * MS), reply_ms=1000)
    reply = recording.trace.replies[0]
    begin = (reply.audible_start_ns + 100 * MS) * IN // 10**9
    echoed = recording.user.samples[begin + 160 : begin + IN - 320]
    assert np.std(echoed) == pytest.approx(0.5 * 0.2 / np.sqrt(2), rel=0.05)
