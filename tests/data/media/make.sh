#!/bin/sh
# Makes the clips in this folder: four seconds of ffmpeg's test picture and a tone, small, without B-frames, a key
# frame every two seconds. Made with Debian's ffmpeg 5.1.9.
set -eu
cd "$(dirname "$0")"
picture="-f lavfi -i testsrc2=size=320x180:rate=25:duration=4 -pix_fmt yuv420p -an -g 50 -flags +bitexact"
run() { ffmpeg -hide_banner -loglevel error -nostdin -y "$@"; }
run $picture -c:v libvpx -b:v 120k -deadline good -auto-alt-ref 0 vp8.ivf
run $picture -c:v libvpx-vp9 -b:v 100k -deadline good -auto-alt-ref 0 -lag-in-frames 0 vp9.ivf
run $picture -c:v libaom-av1 -b:v 100k -usage realtime -cpu-used 8 -lag-in-frames 0 av1.ivf
run $picture -c:v libx264 -profile:v baseline -level 3.1 -b:v 120k -bf 0 -f h264 clip.h264
run $picture -c:v libx265 -b:v 100k -x265-params bframes=0:keyint=50:repeat-headers=1:log-level=error -f hevc clip.h265
run -f lavfi -i "sine=frequency=440:duration=4" -c:a libopus -b:a 24k -ac 1 -flags +bitexact tone.ogg
