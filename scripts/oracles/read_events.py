"""Prints what TensorBoard reads from the event files in a folder, as JSON.

    python3 scripts/oracles/read_events.py FOLDER

    {"scalars": {tag: [[step, value], ...]}, "images": {tag: [[step, width, height, [r, g, b, ...]], ...]}}

Pixels need Pillow; without it the list is empty. Exits with 3 where the tensorboard package is missing.
"""

import io
import json
import sys

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    sys.exit(3)


def pixels(png):
    try:
        from PIL import Image
    except ImportError:
        return []
    return list(Image.open(io.BytesIO(png)).convert("RGB").tobytes())


events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "images": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
print(
    json.dumps(
        {
            "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
            "images": {
                tag: [[e.step, e.width, e.height, pixels(e.encoded_image_string)] for e in events.Images(tag)]
                for tag in tags["images"]
            },
        }
    )
)
