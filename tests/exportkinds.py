"""Small networks of every kind, for tests of exports."""

from typing import Any

from slidemask.models.build import ModelSpec

KINDS: dict[str, dict[str, Any]] = {
    "unet": {"spec": ModelSpec(width=4, depth=2), "tile": 40},
    "sigmoid": {"spec": ModelSpec(width=4, depth=1, activation="sigmoid"), "tile": 32},
    "smp": {
        "spec": ModelSpec(
            architecture="Unet",
            encoder="tu-mobilenetv3_small_050",
            depth=3,
            decoder_channels=(8, 8, 4),
        ),
        "tile": 48,
    },
    "half": {
        "spec": ModelSpec(
            architecture="Unet",
            encoder="tu-mobilenetv3_small_050",
            depth=3,
            decoder_channels=(8, 4),
        ),
        "tile": 48,
    },
    "votes": {
        "spec": ModelSpec(architecture="tile", filters=(8, 8), activation="softmax"),
        "tile": 32,
    },
    "refined": {
        "spec": ModelSpec(
            architecture="tile", filters=(8, 8, 8), head="pool", refine=4, activation="softmax"
        ),
        "tile": 40,
    },
    "fcn": {"spec": ModelSpec(architecture="fcn", encoder="resnet18"), "tile": 40},
    "context": {"spec": ModelSpec(width=4, depth=2), "tile": 40, "context": 4.0},
}
