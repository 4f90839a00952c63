"""AFN (Cheng et al., "Adaptive Factorization Network: Learning Adaptive-Order Feature Interactions", AAAI 2020)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require_count, require_rate
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.head import Head
from eulernet.layers.mlp import BatchNorm, LogitMLP
from eulernet.models.base import CTRModel
from eulernet.models.dnn import DNN

EPS = 1e-7  # the paper's: keeps ln |e| finite


class AFN(CTRModel):
    """logit = LogitMLP([y_1 .. y_M]), y_m = exp(sum_f w_mf ln ``|e_f|``): M products of learned orders w.

    Batch normalisation follows the logarithm and the exponential, per field and per neuron, as in the authors' code.

    AFN+ with ``dnn_hidden_units``: logit = w_1 AFN(x) + w_2 DNN(x) + b, each with embeddings of its own.
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        logarithmic_neurons: int,
        hidden_units: Sequence[int],
        dnn_hidden_units: Sequence[int] | None,
        activation: str,
        norm: str,
        dropout: float,
        dnn_dropout: float,
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require_count(logarithmic_neurons, "logarithmic_neurons")
        require_rate(dnn_dropout, "dnn_dropout")
        fields, n_in = len(field_sizes), logarithmic_neurons * embedding_dim
        self.embedding = FieldEmbedding(field_sizes, embedding_dim)
        self.orders = nn.Parameter(nn.init.xavier_normal_(torch.empty(logarithmic_neurons, fields)))  # w
        self.norm_log = BatchNorm(fields)
        self.norm_exp = BatchNorm(logarithmic_neurons)
        self.deep = LogitMLP(n_in, hidden_units, activation=activation, norm=norm, dropout=dropout, bias=True)
        self.dnn = None
        if dnn_hidden_units is not None:
            self.dnn = DNN(
                field_sizes,
                embedding_dim=embedding_dim,
                hidden_units=dnn_hidden_units,
                activation=activation,
                norm=norm,
                dropout=dnn_dropout,
            )
            self.mix = Head(2, 1)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        log = self.norm_log(self.embedding(x).abs().clamp_min(EPS).log())
        y = self.norm_exp(torch.exp(self.orders @ log))  # [B, M, D]
        logit = self.deep(y.flatten(1))
        if self.dnn is None:
            return logit
        return self.mix(torch.stack([logit, self.dnn(x)], dim=1)).squeeze(1)
