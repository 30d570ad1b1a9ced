"""Surfaces of fused-filament 3D prints, simulated: a stand-in for the private photographs of the RADAR paper.

Each image is a height field of strands (beads) laid at +45 or -45 degrees over a crossing layer, lit by one lamp
(Lambert, Blinn-Phong highlight, occlusion in the grooves), seen by a camera with uneven light, blur, shot and read
noise. Strand width, flow, gloss, light and exposure differ from image to image as they do between real prints.

A defect changes the geometry or the reflectance, never the picture directly. Every defective image has a twin: the
same surface, light and noise without the defect. The mask is where the two differ before noise.
"""

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from radar.data import defects
from radar.data.defects import blob, changed, polyline_distance, ramp, smooth_noise, to_uint8
from radar.data.layout import Picture

FINE = 2  # the surface is computed on a grid this much finer than the image

Change = dict[str, np.ndarray | float]  # what a defect does to a scene; arrays are [size, size] on the fine grid
NOTHING: Change = {
    "flow": 1.0,         # extruded volume, share of the normal one
    "shift": 0.0,        # displacement across the strands, fine px
    "bump": 0.0,         # material on top, fine px
    "fill": 0.0,         # 0..1, how far that material levels strands and grooves
    "reflectance": 1.0,  # factor
    "thread": 0.0,       # coverage 0..1 by a thread in the air
}


def pictures(category: str, settings: dict) -> Iterator[Picture]:
    """The dataset; settings as in config/datasets/printed.yaml. There is one category, "all"."""
    for split in ("train", "test"):
        for number in range(settings[f"{split}_normal"]):
            yield Picture(normal_image(settings, split, number), split)
    for defect, severity, number in defects.planned(settings):
        image, mask, _ = defective_image(settings, defect, severity, number)
        yield Picture(image, "test", defect, mask, severity)


def normal_image(settings: dict, split: str, number: int) -> np.ndarray:
    """Normal image `number` of a split, uint8 [H, W]."""
    rng = defects.generator(settings, split, "good", number)
    scene = Scene(rng, settings)
    return scene.photograph(scene.render(NOTHING), rng.standard_normal((settings["size"],) * 2))


def defective_image(settings: dict, defect: str, severity: int,
                    number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(image uint8 [H, W], mask bool [H, W], defect-free twin uint8 [H, W]) of a defect at severity 1, 2 or 3."""
    rng = defects.generator(settings, "test", defect, severity, number)
    scene = Scene(rng, settings)
    noise = rng.standard_normal((settings["size"],) * 2)
    twin = scene.render(NOTHING)
    for _ in range(50):
        change = DEFECTS[defect](scene, rng, **defects.strength(settings, defect, severity))
        image = scene.render(change)
        mask = changed(twin, image, settings["mask_level"], scene.footprint(change))
        if mask.sum() >= settings["mask_minimum"]:
            return scene.photograph(image, noise), mask, scene.photograph(twin, noise)
    raise ValueError(f"{defect} of severity {severity} stays invisible: raise its strength or lower mask_level and "
                     "mask_minimum in config/datasets/printed.yaml")


class Scene:
    """One print under one lamp and camera, drawn from ranges; `render` shows it with or without a defect."""

    def __init__(self, rng: np.random.Generator, settings: dict):
        surface, light, camera = settings["surface"], settings["light"], settings["camera"]
        self.size = n = settings["size"] * FINE
        self.y, self.x = np.meshgrid(np.arange(n) - n / 2 + 0.5, np.arange(n) - n / 2 + 0.5, indexing="ij")

        # strands: u runs along, v across them, in fine px
        self.width = FINE * rng.uniform(*surface["bead_width"])
        self.height = self.width * rng.uniform(*surface["bead_height"])
        self.angle = np.deg2rad(rng.choice([-45.0, 45.0]) + rng.uniform(*surface["tilt"]))
        self.u = self.x * np.cos(self.angle) + self.y * np.sin(self.angle)
        self.v = -self.x * np.sin(self.angle) + self.y * np.cos(self.angle)
        self.v = self.v + FINE * rng.uniform(*surface["wander"]) * smooth_noise(rng, (n, n), 10.0 * FINE)
        self.top = self._layer(rng, surface, self.u, self.v)
        self.below = self._layer(rng, surface, self.v, self.u)
        self.roundness = rng.uniform(2.0, 2.8)

        # small things that good prints have, too
        self.zits = np.zeros((n, n))
        fewest, most = surface["zits"]
        for _ in range(rng.integers(fewest, most + 1)):
            cy, cx = rng.uniform(-n / 2, n / 2, 2)
            radius = FINE * rng.uniform(1.0, 2.0)
            self.zits += self.height * rng.uniform(0.05, 0.3) * np.exp(
                -((self.y - cy) ** 2 + (self.x - cx) ** 2) / (2 * (radius / 2) ** 2))
        self.reflectance = 1 + rng.uniform(*surface["pigment"]) * (
            smooth_noise(rng, (n, n), 1.0 * FINE) + smooth_noise(rng, (n, n), 8.0 * FINE))

        # the lamp; y points down in the image
        azimuth, elevation = np.deg2rad(rng.uniform(*light["azimuth"])), np.deg2rad(rng.uniform(*light["elevation"]))
        self.lamp = np.array([np.cos(elevation) * np.cos(azimuth), -np.cos(elevation) * np.sin(azimuth),
                              np.sin(elevation)])
        self.ambient = rng.uniform(*light["ambient"])
        self.gloss = rng.uniform(*light["gloss"])
        self.shininess = rng.uniform(*light["shininess"])
        direction, fall = rng.uniform(0, 2 * np.pi), rng.uniform(*light["gradient"])
        slope = (self.x * np.cos(direction) + self.y * np.sin(direction)) / n
        self.evenness = 1 + fall * slope - 0.3 * fall * (self.x**2 + self.y**2) / (n / 2) ** 2

        self.blur = FINE * rng.uniform(*camera["blur"])
        self.shot_noise, self.read_noise = camera["shot_noise"], camera["read_noise"]
        self.exposure = 1.0
        self.exposure = rng.uniform(*camera["mean"]) / self.render(NOTHING).mean()

    def _layer(self, rng: np.random.Generator, surface: dict, along: np.ndarray, across: np.ndarray) -> dict:
        """Random widths of a layer's strands, and the flow along each: [strands, fine px]."""
        reach = self.size  # half the diagonal and room for a shift
        widths = self.width * (1 + surface["bead_jitter"] * rng.standard_normal(int(2 * reach / self.width) + 4))
        edges = np.cumsum(widths) - reach - self.width * rng.uniform(1, 2)
        ripple = rng.uniform(*surface["flow_ripple"])
        slow, fast = (ndimage.gaussian_filter1d(rng.standard_normal((len(widths), 2 * reach)), sigma * FINE, axis=1)
                      for sigma in (12.0, 3.0))
        flow = 1 + ripple * (slow / slow.std() + 0.6 * fast / fast.std())
        return {"along": along, "across": across, "edges": edges, "flow": flow}

    def strand(self, layer: dict, shift: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """(number of the strand, place across it in -1..1) at every point of the fine grid."""
        across = layer["across"] - shift
        edges = layer["edges"]
        number = np.clip(np.searchsorted(edges, across) - 1, 0, len(edges) - 2)
        left, right = edges[number], edges[number + 1]
        return number, np.clip(2 * (across - left) / (right - left) - 1, -1.0, 1.0)

    def _profile(self, layer: dict, change: Change) -> tuple[np.ndarray, np.ndarray]:
        """(height over the groove in fine px, whether there is a strand) of a layer."""
        number, place = self.strand(layer, change["shift"])
        column = np.clip(np.rint(layer["along"]).astype(int) + self.size, 0, 2 * self.size - 1)
        flow = layer["flow"][number, column] * change["flow"]
        # a strand with less material is narrower and lower; one with more cannot be wider than its place
        spread = np.minimum(np.sqrt(np.maximum(flow, 0.0)) * 1.06, 1.0)
        ratio = np.abs(place) / np.maximum(spread, 1e-6)
        crown = self.height * np.maximum(flow, 0.0) * (1 - np.minimum(ratio, 1.0) ** self.roundness)
        return crown, (ratio < 1.0) & (flow > 0.02)

    def render(self, change: Change) -> np.ndarray:
        """The photograph without noise, grey values [H, W] around 0..255, not rounded."""
        change = NOTHING | change
        top, present = self._profile(self.top, change)
        below, _ = self._profile(self.below, NOTHING)
        surface = np.where(present, top, np.minimum(below - 1.1 * self.height, 0.0)) + self.zits
        surface = surface * (1 - change["fill"]) + self.height * 0.8 * change["fill"] + change["bump"]
        surface = ndimage.gaussian_filter(surface, 0.5 * FINE, truncate=3.0)  # molten plastic has no sharp edges

        down, right = np.gradient(surface)
        length = np.sqrt(1 + down**2 + right**2)
        normal = np.stack([-right, -down, np.ones_like(surface)]) / length
        halfway = self.lamp + [0.0, 0.0, 1.0]
        halfway = halfway / np.sqrt((halfway**2).sum())
        diffuse = np.maximum((normal * self.lamp[:, None, None]).sum(0), 0.0)
        highlight = np.maximum((normal * halfway[:, None, None]).sum(0), 0.0) ** self.shininess
        around = ndimage.gaussian_filter(surface, self.width / 2, truncate=3.0)
        open_sky = 1 - 0.6 * np.clip((around - surface) / (1.5 * self.height), 0.0, 1.0)
        light = open_sky * (self.ambient + (1 - self.ambient) * diffuse)
        radiance = self.reflectance * change["reflectance"] * light + self.gloss * highlight * open_sky

        # a thread hangs in the air: it shines by itself, and throws a faint shadow away from the lamp
        offset = -2.0 * FINE * self.lamp[[1, 0]]
        thread = np.broadcast_to(change["thread"], radiance.shape)
        shadow = ndimage.shift(thread, offset, order=1, mode="nearest")
        radiance = radiance * (1 - 0.35 * shadow)
        radiance = radiance * (1 - thread) + (0.9 + self.gloss) * thread

        seen = ndimage.gaussian_filter(radiance * self.evenness, self.blur, truncate=4.0)
        return self.exposure * self._pixels(seen).mean((1, 3))

    def _pixels(self, fine: np.ndarray) -> np.ndarray:
        """The fine grid [size, size] by image px: [H, FINE, W, FINE]."""
        return fine.reshape(self.size // FINE, FINE, self.size // FINE, FINE)

    def photograph(self, image: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """A rendered image with sensor noise, uint8 [H, W]; noise: standard normal [H, W]."""
        return to_uint8(image + noise * np.sqrt(self.shot_noise * np.maximum(image, 0.0) + self.read_noise**2))

    def footprint(self, change: Change) -> np.ndarray:
        """Where the change is, bool [H, W], and the two pixels around it that blur reaches."""
        fine = np.any([np.not_equal(values, NOTHING[name]) for name, values in change.items()], axis=0)
        return ndimage.binary_dilation(self._pixels(fine).any((1, 3)), iterations=2)

    def somewhere(self, rng: np.random.Generator, margin: float) -> np.ndarray:
        """(y, x) in fine px from the centre, at least `margin` image px inside the border."""
        room = self.size / 2 - margin * FINE
        return rng.uniform(-room, room, 2)

    def patch(self, rng: np.random.Generator, centre: np.ndarray, radii: tuple[float, float], angle: float, edge: float,
              irregular: float, sigma: float) -> np.ndarray:
        """A `blob` in fine px, whose outline varies by twice `irregular` at most, correlated over `sigma` image px."""
        wobble = irregular * np.clip(smooth_noise(rng, (self.size, self.size), sigma * FINE), -2, 2)
        return blob(self.y - centre[0], self.x - centre[1], radii, angle, edge, wobble)


def missing_strand(scene: Scene, rng: np.random.Generator, flow: float, length: float) -> Change:
    """The nozzle was clogged for a while: one strand thins out or breaks off, the layer below shows."""
    number, _ = scene.strand(scene.top)
    row, column = (scene.somewhere(rng, 20) + scene.size / 2).astype(int)
    here = number == number[row, column]
    window = ramp(np.abs(scene.u - scene.u[row, column]) - FINE * length / 2, 3.0 * FINE) * here
    return {"flow": 1 - (1 - flow) * window}


def under_extrusion(scene: Scene, rng: np.random.Generator, flow: float, length: float, strands: float) -> Change:
    """Too little material over several strands: they get thin and gaps open."""
    window = scene.patch(rng, scene.somewhere(rng, 20), (FINE * length / 2, scene.width * strands / 2), scene.angle,
                         5.0 * FINE, 0.1, 8)
    return {"flow": 1 - (1 - flow) * window}


def over_extrusion(scene: Scene, rng: np.random.Generator, height: float, radius: float) -> Change:
    """A blob of surplus material that buries strands and grooves."""
    radius = radius * FINE
    window = scene.patch(rng, scene.somewhere(rng, 14), (radius * rng.uniform(1.0, 1.6), radius), scene.angle, radius,
                         0.12, 6)
    return {"bump": scene.height * height * window, "fill": np.minimum(0.6 * height, 0.9) * window}


def stringing(scene: Scene, rng: np.random.Generator, opacity: float, width: float, length: float) -> Change:
    """A thread of molten plastic drawn across the surface by a travelling nozzle."""
    cy, cx = scene.somewhere(rng, 24)
    angle = scene.angle + np.deg2rad(rng.uniform(25, 155))  # along a strand it would be one
    t = np.linspace(-0.5, 0.5, 17)
    sag = length * FINE * rng.uniform(-0.15, 0.15) * (1 - 4 * t**2)
    wave = FINE * 0.8 * smooth_noise(rng, (17,), 3.0)
    along = t * length * FINE
    points = np.stack([cy + along * np.sin(angle) + (sag + wave) * np.cos(angle),
                       cx + along * np.cos(angle) - (sag + wave) * np.sin(angle)], axis=1)
    distance = polyline_distance(scene.y, scene.x, points)
    return {"thread": opacity * ramp(distance - width * FINE, width * FINE)}


def layer_shift(scene: Scene, rng: np.random.Generator, shift: float, length: float, strands: int) -> Change:
    """The head lost steps for a while: a stretch of several strands lies beside its place."""
    number, _ = scene.strand(scene.top)
    row, column = (scene.somewhere(rng, 24) + scene.size / 2).astype(int)
    centre = scene.top["edges"][number[row, column] - (strands - 1) // 2] + strands * scene.width / 2
    along = ramp(np.abs(scene.u - scene.u[row, column]) - FINE * length / 2, 2.5 * FINE)
    across = ramp(np.abs(scene.v - centre) - strands * scene.width / 2, 0.5 * scene.width)
    return {"shift": rng.choice([-1.0, 1.0]) * shift * scene.width * along * across}


def foreign_particle(scene: Scene, rng: np.random.Generator, contrast: float, radius: float) -> Change:
    """Burnt filament or dust: a darker or lighter speck that stands up a little."""
    radius = radius * FINE
    window = scene.patch(rng, scene.somewhere(rng, 10), (radius * rng.uniform(1.0, 1.7), radius),
                         rng.uniform(0, np.pi), 0.4 * radius, 0.2, 2.5)
    sign = rng.choice([-1.0, -1.0, 1.0])  # mostly dark
    return {"reflectance": 1 + sign * contrast * window, "bump": 0.4 * contrast * scene.height * window}


DEFECTS = {function.__name__: function for function in (
    missing_strand, under_extrusion, over_extrusion, stringing, layer_shift, foreign_particle)}
