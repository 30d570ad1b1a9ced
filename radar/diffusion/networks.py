"""The networks that predict noise: a U-Net for images and feature maps, an MLP and a transformer for feature maps.

The U-Net is diffusers' (Ho, Jain, Abbeel, NeurIPS 2020; self-attention where the paper asks for it). The transformer is
DiT with adaLN-Zero blocks (Peebles & Xie, "Scalable Diffusion Models with Transformers", ICCV 2023), which InvAD (arXiv
2504.05662) uses with patch 1, width 2048 and depth 16; its MLP is not specified publicly, ours is the same transformer
without attention. The last layer of both starts at zero, and so does the U-Net's where it predicts the velocity.
"""

import torch
from torch import Tensor, nn


def build(channels: int, settings: dict) -> nn.Module:
    """The network from and to [N, channels, patch, patch]; settings: see radar.diffusion.predictor.NoisePredictor."""
    if settings["network"] != "unet":
        heads = settings["heads"] if settings["network"] == "dit" else 0
        return Transformer(channels, settings["patch"], settings["width"], settings["depth"], heads)
    network = unet(channels, settings)
    if settings["predicts"] == "velocity":
        for parameter in network.get_submodule("conv_out").parameters():
            nn.init.zeros_(parameter)
    return network


def unet(channels: int, settings: dict) -> nn.Module:
    """diffusers' U-Net, in channels-last memory order; called as net(x, t, return_dict=False)[0].

    settings: patch (side of its input in px), channels (one width per level), layers_per_block, attention (sides of
    the feature maps that have self-attention, as the papers give them; [] = none, the middle of the U-Net included;
    ValueError for a side that none has), norm_groups.
    """
    from diffusers.models.unets.unet_2d import UNet2DModel  # seconds to import, and not every method has a U-Net

    widths, attention = tuple(settings["channels"]), set(settings["attention"])
    sides = [settings["patch"] // 2**level for level in range(len(widths))]
    if unknown := attention - set(sides):
        raise ValueError(f"attention: no feature map has a side of {min(unknown)}; the sides are {sides}")
    down = tuple("AttnDownBlock2D" if side in attention else "DownBlock2D" for side in sides)
    return UNet2DModel(
        sample_size=settings["patch"], in_channels=channels, out_channels=channels, block_out_channels=widths,
        layers_per_block=settings["layers_per_block"], norm_num_groups=settings["norm_groups"],
        add_attention=bool(attention), attention_head_dim=None, down_block_types=down,  # one head, as Ho et al.
        up_block_types=tuple(name.replace("Down", "Up") for name in reversed(down)),
    ).to(memory_format=torch.channels_last)


class Transformer(nn.Module):
    """DiT on feature maps [N, channels, side, side], patch 1; with heads = 0 an MLP on every position by itself.

    Called like diffusers' networks: net(x, t, return_dict=False)[0], t an int or [N].
    """

    def __init__(self, channels: int, side: int, width: int, depth: int, heads: int):
        super().__init__()
        self.embed = nn.Linear(channels, width)
        self.time = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.final_norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.final_modulation = nn.Linear(width, 2 * width)
        self.final = nn.Linear(width, channels)
        for layer in (self.final_modulation, self.final):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("position", grid_embedding(side, width), persistent=False)

    def forward(self, x: Tensor, t: Tensor | int, return_dict: bool = False) -> tuple[Tensor]:
        n, _, height, width = x.shape
        condition = self.time(time_embedding(torch.as_tensor(t, device=x.device).expand(n)).to(x.dtype))
        tokens = self.embed(x.flatten(2).transpose(1, 2)) + self.position
        condition = nn.functional.silu(condition)[:, None]
        for block in self.blocks:
            tokens = block(tokens, condition)
        shift, scale = self.final_modulation(condition).chunk(2, dim=2)
        tokens = self.final(self.final_norm(tokens) * (1 + scale) + shift)
        return (tokens.transpose(1, 2).reshape(n, -1, height, width),)


class Block(nn.Module):
    """adaLN-Zero: attention (unless heads = 0) and a two-layer perceptron, each modulated and gated by the timestep."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.parts = heads, 6 if heads else 3
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        if heads:
            self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"),
                                        nn.Linear(4 * width, width))
        self.modulation = nn.Linear(width, self.parts * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """tokens [N, L, width], condition [N, 1, width]."""
        *attention, shift, scale, gate = self.modulation(condition).chunk(self.parts, dim=2)
        if self.heads:
            tokens = tokens + attention[2] * self._attend(self.norm(tokens) * (1 + attention[1]) + attention[0])
        return tokens + gate * self.perceptron(self.norm(tokens) * (1 + scale) + shift)

    def _attend(self, tokens: Tensor) -> Tensor:
        n, length, width = tokens.shape
        q, k, v = self.qkv(tokens).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.project(attended.transpose(1, 2).reshape(n, length, width))


def time_embedding(t: Tensor, size: int = 256) -> Tensor:
    """Cosines and sines of timesteps [N] at geometric frequencies (Vaswani et al., 2017): [N, size]."""
    from diffusers.models.embeddings import get_timestep_embedding

    return get_timestep_embedding(t, size, flip_sin_to_cos=True, downscale_freq_shift=0)


def grid_embedding(side: int, width: int) -> Tensor:
    """Fixed two-dimensional position embedding of a side x side grid in reading order: [side^2, width]."""
    place = torch.arange(side)
    row = time_embedding(place.repeat_interleave(side), width // 2)
    return torch.cat([row, time_embedding(place.repeat(side), width - width // 2)], dim=1)
