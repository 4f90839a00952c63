"""An exported graph computes what the model does, where exporters are known to go wrong too."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from eulernet.exporting.graph import load_onnx, load_torch, save_onnx, save_torch, trace
from eulernet.features import Bag, Number
from eulernet.layers.euler import EulerInteractionLayer
from eulernet.models import MODELS
from eulernet.models.base import CTRModel

pytestmark = pytest.mark.usefixtures("quick_onnx")

ZEROS = [0.0, -0.0]
PARTS = [*ZEROS, *(sign * size for size in (1e-30, 1e-20, 1e-10, 1e-4, 0.7, 1.0, 1e4) for sign in (1, -1))]


class OneFeature(CTRModel):
    """A table of complex numbers z through one Euler layer: the sum of its outputs is the logit."""

    def __init__(self, r, p):
        super().__init__()
        self.table = torch.nn.Embedding.from_pretrained(torch.tensor([r, p]).T.contiguous())
        self.layer = EulerInteractionLayer(
            1, 1, 1, drop_explicit=0.1, drop_implicit=0.1, norm=False, init="sigir", without="implicit"
        )
        with torch.no_grad():
            self.layer.orders.fill_(0.5)  # i^0.5 and (-i)^0.5 differ: the branch cut shows

    def forward(self, x):
        z = self.table(x)  # [B, 1, 2]
        r, p = self.layer(z[..., :1], z[..., 1:])
        return (r + 2 * p).flatten()


@pytest.fixture(params=["onnx", pytest.param("torch_export", marks=pytest.mark.slow)])
def reload(request, tmp_path):
    """A model, exported and loaded again."""

    def again(model, columns):
        if request.param == "onnx":
            save_onnx(trace(model, columns), tmp_path / "model.onnx")
            return load_onnx(tmp_path / "model.onnx")
        save_torch(trace(model, columns), tmp_path / "model.pt2")
        return load_torch(tmp_path / "model.pt2")

    return again


def test_branch_cut_signed_zeros_and_moduli_near_zero(reload):
    r, p = zip(*itertools.product(PARTS, PARTS), strict=True)
    model = OneFeature(r, p).eval()
    x = np.arange(len(r), dtype=np.int32)[:, None]
    with torch.inference_mode():
        want = model(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(reload(model, 1)(x), want, rtol=1e-5, atol=1e-7)


def test_the_whole_model_on_the_branch_cut(reload):
    """Angles and moduli that put features on it, or near zero: im = +0 or -0, re < 0."""
    torch.manual_seed(6)
    angles = torch.tensor([0.0, -0.0, 1e-30, -1e-30, math.pi, -math.pi, 1e-8, 0.5])
    moduli = torch.tensor([-1.0, 1.0, -0.5, -1e-20, -0.0, 1e-20])
    settings = dict(drop_explicit=0.1, drop_implicit=0.1, norm=False, init="sigir", without="nothing", norm_penalty=0.0)
    model = MODELS["eulernet"]([len(angles)] * len(moduli), embedding_dim=2, orders=[2, 3], **settings)
    model.eval().requires_grad_(False)
    torch.nn.init.uniform_(model.layers[0].orders, -1, 1)  # whole orders would bring +pi and -pi to one place
    model.embedding.table.weight.copy_(angles.repeat(len(moduli))[:, None].expand(-1, 2))
    model.modulus.copy_(moduli[:, None])
    x = torch.randint(len(angles), (5000, len(moduli)), dtype=torch.int32)
    np.testing.assert_allclose(reload(model, len(moduli))(x.numpy()), model(x).numpy(), rtol=1e-5, atol=1e-5)


def test_numbers_and_bags_keep_their_bits(reload):
    torch.manual_seed(3)
    sizes = [11, Number(), Bag(4, 2, "mean"), Bag(5, 3, "sum")]
    settings = dict(drop_explicit=0.1, drop_implicit=0.1, norm=True, init="sigir", without="nothing", norm_penalty=0.0)
    model = MODELS["eulernet"](sizes, embedding_dim=4, orders=[3, 2], **settings).eval()
    torch.nn.init.normal_(model.modulus)  # negative ones turn what is zero onto the branch cut
    numbers = torch.tensor([0.0, -1.5, 3e-5, 7.0]).view(torch.int32)
    ids = [[3, 0, 0, -1, 4, -1, -1], [0, 0, -1, -1, -1, -1, -1], [10, 0, 3, 2, 0, 1, 2], [1, 0, 0, 0, 4, 4, -1]]
    x = torch.tensor(ids, dtype=torch.int32)
    x[:, 1] = numbers
    with torch.inference_mode():
        want = model(x).numpy()
    np.testing.assert_allclose(reload(model, 7)(x.numpy()), want, rtol=1e-5, atol=1e-5)


class Bits(CTRModel):
    def forward(self, x):
        return x.view(torch.float32).flatten()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
@example([0.0, -0.0, 1e-45, -1e-40, 3.4028234663852886e38, 1.17549435e-38])
def test_every_finite_number_survives_onnx(bits_to_numbers, numbers):
    """As a number equal to the one that went in; denormals may be flushed to zero by the processor's mode."""
    numbers = np.array(numbers, dtype=np.float32)
    found = bits_to_numbers(numbers.view(np.int32)[:, None])
    np.testing.assert_array_equal(found, numbers)


@pytest.fixture(scope="module")
def bits_to_numbers(tmp_path_factory):
    file = tmp_path_factory.mktemp("bits") / "model.onnx"
    save_onnx(trace(Bits(), 1), file)
    return load_onnx(file)
