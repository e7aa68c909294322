"""Makes the files beside it with libopus, libvpx and libx264 (`pip install av numpy`).

Not run by the tests: the files are checked in. What they hold is a sine of 523.25 Hz and amplitude
0.25 for half a second, and 25 pictures of 320 x 240 with a key picture every ten.
"""
from fractions import Fraction

import av
import numpy as np


def sound(path):
    file = av.open(path, "w", format="ogg")
    stream = file.add_stream("libopus", rate=48_000, layout="stereo")
    time = np.arange(24_000) / 48_000
    sine = (0.25 * np.sin(2 * np.pi * 523.25 * time)).astype(np.float32)
    for start in range(0, len(sine), 960):
        both = np.tile(sine[start : start + 960], (2, 1))
        frame = av.AudioFrame.from_ndarray(both, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
        packed = av.AudioResampler(format="flt", layout="stereo", rate=48_000)
        for part in packed.resample(frame):
            file.mux(stream.encode(part))
    file.mux(stream.encode(None))
    file.close()


def film(path, codec, container, options):
    file = av.open(path, "w", format=container)
    stream = file.add_stream(codec, rate=25, options=options)
    stream.width, stream.height, stream.pix_fmt, stream.gop_size = 320, 240, "yuv420p", 10
    for number in range(25):
        picture = np.zeros((240, 320, 3), np.uint8)
        picture[:, :, 0] = np.arange(320) * 0.8
        picture[100:140, number * 4 : number * 4 + 60] = 255
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = number
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))
    file.close()


sound("foreign.opus")
film("foreign.ivf", "libvpx", "ivf", {"deadline": "realtime", "cpu-used": "8"})
slices = {"preset": "medium", "x264-params": "slices=4:aud=1", "bf": "0"}
film("foreign.h264", "libx264", "h264", slices)
