"""Known answers for tests/networks/vgg16.rs: a narrow VGG-16 made of torchvision's own layers under torchvision's names, on a crop
of 64 pixels, so that fc6 sees a 2×2 map and the order in which it is flattened matters.

vgg16_torch.safetensors holds the state dict, vgg16_answers.safetensors two pictures, the inputs that each convention makes
of them, and the logits for each.

    python scripts/oracles/vgg16.py
"""

import pathlib

import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models.vgg import make_layers
from torchvision.transforms.functional import normalize

# Configuration D with hueristic's channels at width 0.03.
D = [8, 8, "M", 8, 8, "M", 8, 8, 8, "M", 16, 16, 16, "M", 16, 16, 16, "M"]
CROP, FC, CLASSES = 64, 16, 9


class Vgg16(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = make_layers(D)
        self.classifier = nn.Sequential(
            nn.Linear(16 * 2 * 2, FC), nn.ReLU(True), nn.Dropout(),
            nn.Linear(FC, FC), nn.ReLU(True), nn.Dropout(),
            nn.Linear(FC, CLASSES),
        )

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


def pictures():
    """Two pictures: smooth waves with a little noise."""
    y, x = torch.meshgrid(torch.arange(CROP), torch.arange(CROP), indexing="ij")
    channels = [torch.sin(x / (5 + c) + b) * torch.cos(y / (9 - 2 * c) - b) for b in range(2) for c in range(3)]
    waves = torch.stack(channels).reshape(2, 3, CROP, CROP)
    return ((waves + 1) * 110 + torch.rand(waves.shape) * 30).round().clamp(0, 255).to(torch.uint8)


def main():
    torch.manual_seed(16)
    net = Vgg16().eval()
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.1)
    rgb = pictures()
    mean = torch.tensor([103.939, 116.779, 123.68]).reshape(1, 3, 1, 1)
    inputs = {
        "caffe": rgb.float().flip(1) - mean,
        "torchvision": normalize(rgb.float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    }
    answers = {"pictures": rgb}
    with torch.no_grad():
        for name, x in inputs.items():
            answers[f"{name}.corner"] = x[:, :, :4, :4].contiguous()
            answers[f"{name}.logits"] = net(x)
    out = pathlib.Path(__file__).parents[2] / "tests" / "oracles"
    about = {"made_by": "scripts/oracles/vgg16.py"}
    save_file(net.state_dict(), out / "vgg16_torch.safetensors", metadata=about)
    save_file(answers, out / "vgg16_answers.safetensors", metadata=about)
    for name in inputs:
        print(name, answers[f"{name}.logits"])


if __name__ == "__main__":
    main()
