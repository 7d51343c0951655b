"""The peaks of recordings beside a run: written with each recording, and measured again where they are missing."""

import numpy as np

from fobench.storage import waveforms


def stereo(frames=4800, user=0.5, system=0.25):
    made = np.zeros((frames, 2), np.float32)
    made[: frames // 2, 0], made[frames // 2 :, 1] = user, -system
    return made


def test_peaks_stand_where_the_sound_is():
    user, system = waveforms.measure(stereo())
    assert user == bytes([128] * 120 + [0] * 120)
    assert system == bytes([0] * 120 + [64] * 120)


def test_a_recording_shorter_than_the_points_has_them_all():
    assert [len(side) for side in waveforms.measure(stereo(3))] == [waveforms.POINTS] * 2


def test_what_was_written_is_loaded_and_the_last_line_counts(tmp_path):
    waveforms.append(tmp_path, "audio/a.flac", stereo())
    waveforms.append(tmp_path, "audio/b.flac", stereo(system=1.5))
    waveforms.append(tmp_path, "audio/a.flac", stereo(user=0.1))
    waveforms.append(tmp_path, "audio/empty.flac", stereo(0))
    found = waveforms.load(tmp_path)
    assert found == {
        "audio/a.flac": waveforms.measure(stereo(user=0.1)),
        "audio/b.flac": waveforms.measure(stereo(system=1.0)),
    }


def test_torn_and_foreign_lines_are_passed_over(tmp_path):
    assert waveforms.load(tmp_path) == {}
    waveforms.append(tmp_path, "audio/a.flac", stereo())
    with (tmp_path / waveforms.NAME).open("ab") as file:
        file.write(
            b'{"recording": 3}\n[]\n\xff\n{"recording": "x", "user": "00", "system": "zz"}\n{"recording": "audio/b'
        )
    assert [*waveforms.load(tmp_path)] == ["audio/a.flac"]
