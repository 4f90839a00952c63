"""Fi-GNN (Li et al., "Fi-GNN: Modeling Feature Interactions via Graph Neural Networks", CIKM 2019)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require, require_count
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.models.base import CTRModel


class FiGNN(CTRModel):
    """A gated graph network whose nodes are the fields.

    * states start as h^1 = relu(multi-head self-attention of the embeddings e);
    * edges A[i, j] = softmax_j LeakyReLU(w' [e_i, e_j]), and A[i, i] = 0;
    * each step a_i = sum_j A[j, i] W_in^i W_out^j h_j + b, h_i <- GRU(h_i, a_i) + h^1_i, the same weights in all steps;
    * logit = sum_i sigmoid(U [h_1 .. h_F])_i <u, h_i>.

    This follows the paper, except for U: it makes the weight of a node from the states of all nodes, as other ports do;
    the paper makes it from the state of that node, MLP(h_i). Other ports also leave the self-attention out, sum over
    A[i, j] instead of A[j, i], take the softmax over j != i, and may have weights for each step.
    """

    others: Float[Tensor, "F F"]

    def __init__(self, field_sizes: Sequence[FieldSize], *, embedding_dim: int, heads: int, steps: int) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_count(heads, "heads")
        require_count(steps, "steps")
        require(embedding_dim % heads == 0, f"model.heads={heads} must divide model.embedding_dim={embedding_dim}")
        fields, shape = len(field_sizes), (len(field_sizes), embedding_dim, embedding_dim)
        self.heads, self.steps = heads, steps
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.project = nn.Linear(embedding_dim, 3 * embedding_dim, bias=False)  # queries, keys, values
        self.edge = nn.Linear(embedding_dim, 2, bias=False)  # w' [e_i, e_j] = w_1' e_i + w_2' e_j
        self.w_out = nn.Parameter(nn.init.normal_(torch.empty(shape), std=embedding_dim**-0.5))
        self.w_in = nn.Parameter(nn.init.normal_(torch.empty(shape), std=embedding_dim**-0.5))
        self.bias = nn.Parameter(torch.zeros(embedding_dim))
        self.gru = nn.GRUCell(embedding_dim, embedding_dim)
        self.score = nn.Linear(embedding_dim, 1, bias=False)  # u
        self.attend = nn.Linear(fields * embedding_dim, fields, bias=False)  # U
        self.register_buffer("others", 1 - torch.eye(fields), persistent=False)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        e = self.embedding(x)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.project(e).chunk(3, dim=2))
        h = first = torch.relu(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))  # [B, F, D]

        source, target = self.edge(e).unbind(2)
        edges = torch.softmax(F.leaky_relu(source.unsqueeze(2) + target.unsqueeze(1)), dim=2) * self.others

        for _ in range(self.steps):
            sent = torch.einsum("bfd,fde->bfe", h, self.w_out)
            received = torch.einsum("bfd,fde->bfe", edges.mT @ sent, self.w_in) + self.bias
            h = self.gru(received.flatten(0, 1), h.flatten(0, 1)).unflatten(0, (-1, h.shape[1])) + first
        return (torch.sigmoid(self.attend(h.flatten(1))) * self.score(h).squeeze(2)).sum(1)
