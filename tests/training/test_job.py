"""What a job says of itself before it is trained."""

from types import SimpleNamespace

import pytest
import torch

from eulernet.features import History, Pretrained
from eulernet.models import make_model
from eulernet.python.models import model_defaults
from eulernet.training.job import Job

GIVEN = Pretrained(5, 2, frozen=True, vectors=torch.zeros(5, 2))
NO_VECTORS = "model={} has no embeddings: the vectors of the fields are not used"
NO_HISTORY = "model={}: no field is a history of another, so nothing is attended to"


@pytest.mark.parametrize(
    ("name", "changes", "sizes", "said"),
    [
        ("lr", {}, [4, GIVEN], [NO_VECTORS]),
        ("lr", {}, [4, 5], []),
        ("fm", {}, [4, GIVEN], []),
        ("din", {}, [4, 5], [NO_HISTORY]),
        ("din", {}, [4, History(4, 3, "mean", same_as=0)], []),
        ("eulernet", {"history": "attention"}, [4, 5], [NO_HISTORY]),
        ("eulernet", {}, [4, 5], []),
    ],
)
def test_what_a_model_does_without_is_said(name, changes, sizes, said):
    settings = {"name": name, **model_defaults(name), **changes}
    job = Job(make_model(settings, sizes), SimpleNamespace(field_sizes=sizes), None, None, {})
    assert job.unused(settings) == [line.format(name) for line in said]
