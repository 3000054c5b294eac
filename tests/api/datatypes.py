"""One of each data type, as programs make them."""

import contextlib
import datetime
import warnings

import bokeh.plotting
import numpy as np
import soundfile
import wandb
import wandb.data_types
from PIL import Image as Pillow

LABELS = {0: "sky", 1: "tree"}


def pixels(seed=0, shape=(6, 5, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def image_file(place, name="photo.png", seed=7):
    file = place / name
    file.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels(seed)).save(file)
    return file


def classes():
    return wandb.Classes([{"id": key, "name": name} for key, name in LABELS.items()])


def mask(seed=1):
    return {"mask_data": pixels(seed, (6, 5)) % 2, "class_labels": LABELS}


def boxes():
    position = {"minX": 0.1, "maxX": 0.2, "minY": 0.3, "maxY": 0.4}
    return {"box_data": [{"position": position, "class_id": 1, "scores": {"acc": 0.5}}], "class_labels": LABELS}


def annotated(seed=0):
    return wandb.Image(
        pixels(seed), caption="a scene", classes=classes(), masks={"truth": mask(seed)}, boxes={"guess": boxes()}
    )


def audio(place):
    file = place / "beep.wav"
    soundfile.write(file, np.sin(np.arange(400) / 7), 8000)
    return wandb.Audio(str(file), caption="beep")


def video(place):
    file = place / "clip.gif"
    frames = [Pillow.fromarray(pixels(seed)) for seed in range(3)]
    frames[0].save(file, save_all=True, append_images=frames[1:])
    return wandb.Video(str(file))


def html(place):
    file = place / "page.html"
    file.write_text("<html><body>hello</body></html>")
    return wandb.Html(str(file), inject=False)


def plot(place):
    figure = bokeh.plotting.figure(width=300, height=200)
    figure.line([1, 2, 3], [3, 1, 2])
    return wandb.data_types.Bokeh(figure)


def table(place):
    when = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
    return wandb.Table(["n", "x", "word", "when"], [[1, 0.5, "one", when], [2, None, "two", when]])


def table_of_images(place):
    return wandb.Table(["id", "image"], [[seed, wandb.Image(pixels(seed))] for seed in range(3)])


def table_of_media(place):
    made = wandb.Table(["class", "image", "sound", "page"])
    made.cast("class", classes().get_type())
    made.add_data(0, annotated(), audio(place), wandb.Html("<p>one</p>"))
    made.add_data(1, annotated(3), audio(place), wandb.Html("<p>two</p>"))
    return made


def table_of_arrays(place):
    made = wandb.Table(["vector", "matrix"])
    for seed in range(3):
        made.add_data(pixels(seed, (4,)).astype(float), pixels(seed, (2, 3)).astype(float))
    return made


def table_of_keys(place):
    people = wandb.Table(["name", "age"], [["ann", 30], ["bob", 40]])
    people.set_pk("name")
    visits = wandb.Table(["who", "day"], [["ann", 1], ["bob", 2], ["ann", 3]])
    visits.set_fk("who", people, "name")
    return visits


def joined(place):
    left = wandb.Table(["id", "image"], [["a", wandb.Image(pixels(1))], ["b", wandb.Image(pixels(2))]])
    right = wandb.Table(["id", "score"], [["a", 0.1], ["b", 0.2]])
    return wandb.JoinedTable(left, right, "id")


DETERMINISTIC = {
    "Audio": audio,
    "Audio from data": lambda place: wandb.Audio(np.sin(np.arange(400) / 7), sample_rate=8000),
    "Bokeh": plot,
    "BoundingBoxes2D": lambda place: wandb.data_types.BoundingBoxes2D(boxes(), "guess"),
    "Classes": lambda place: classes(),
    "Html": lambda place: wandb.Html("<p>hello</p>"),
    "Html from a file": html,
    "Image": lambda place: wandb.Image(pixels(), caption="noise"),
    "Image from a file": lambda place: wandb.Image(str(image_file(place))),
    "Image with masks, boxes and classes": lambda place: annotated(),
    "ImageMask": lambda place: wandb.data_types.ImageMask(mask(), "truth"),
    "Molecule": lambda place: wandb.Molecule(_written(place / "water.pdb", b"ATOM")),
    "Object3D": lambda place: wandb.Object3D(pixels(0, (9, 3)).astype(float)),
    "PartitionedTable": lambda place: wandb.data_types.PartitionedTable("parts"),
    "Table": table,
    "Table of images": table_of_images,
    "Table of media": table_of_media,
    "Table of arrays": table_of_arrays,
    "Table of keys": table_of_keys,
    "Table that increases": lambda place: wandb.Table(["a"], [[1]], log_mode="INCREMENTAL"),
    "Video": video,
}
"""What has no random names in it: the same paths and digests whoever adds it."""


def _written(file, data):
    file.write_bytes(data)
    return str(file)


@contextlib.contextmanager
def quiet_pillow():
    """Compare images as the SDK does, with a method that Pillow deprecates."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*getdata.*", category=DeprecationWarning)
        yield
