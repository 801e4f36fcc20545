"""Photos changed at random in training, so that a few hundred of a class are enough to learn from."""

from keras import layers


def augmented(photos):
    """The photos mirrored, moved by up to a tenth and zoomed by up to a fifth; unchanged outside of training."""
    changes = [
        layers.RandomFlip("horizontal"),
        layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
        layers.RandomZoom(0.2, fill_mode="nearest"),
    ]
    for change in changes:
        photos = change(photos)
    return photos
