"""A model of the package, and one of your own, in a training loop of your own: python examples/your_model.py

A model maps ids [B, F] to logits [B] and knows no data set, device or optimizer.
"""

import torch
from torch import Tensor, nn

import eulernet
from eulernet.features import FieldEmbedding

SIZES = [200, 100, 4]  # ids of each field, id 0 (missing or unknown) included


class TwoTowers(nn.Module):
    """logit = <u, v>: the first field's vector times the sum of the others'."""

    def __init__(self, field_sizes: list[int], embedding_dim: int) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        e = self.embedding(x)  # [B, F, D]
        return (e[:, 0] * e[:, 1:].sum(1)).sum(1)


torch.manual_seed(0)
x = torch.stack([torch.randint(size, (5000,)) for size in SIZES], dim=1)
taste, kind = torch.randn(SIZES[0], 4), torch.randn(SIZES[1], 4)
y = torch.bernoulli(torch.sigmoid((taste[x[:, 0]] * kind[x[:, 1]]).sum(1)))

for model in (eulernet.create_model("deepfm", field_sizes=SIZES, dropout=0.1), TwoTowers(SIZES, 16)):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        loss = nn.functional.binary_cross_entropy_with_logits(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"{type(model).__name__}: loss {loss.item():.3f}")
